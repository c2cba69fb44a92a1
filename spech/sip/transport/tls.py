"""SIP over TLS: trusted authorities and our own certificate (RFC 3261 26.3.1, RFC 5922)."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from spech.errors import LocalProtocolError
from spech.sip.transaction.flow import Flow
from spech.sip.transport.connections import Link
from spech.sip.transport.stream import CONNECT_SECONDS, StreamLink, connect

_CLOSE_SECONDS: Final = 1.0
_FINGERPRINT: Final = hashlib.sha256().digest_size * 2

TlsStream = trio.SSLStream[trio.SocketStream]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """The authorities to trust, and our own certificate.

    Without any of it, the server's certificate must come from an authority that this machine
    trusts, and hold the host name (or address) of the SIP URI.

    Args:
        ca_file: PEM file of the authorities to trust in place of the machine's.
        fingerprint: SHA-256 of the one certificate to accept, in hexadecimal, colons allowed. Its
            names, dates and issuer do not matter then.
        certificate_file: PEM file of our own certificate, with the chain behind it. With it we
            take connections over TLS as well, on the port behind that for UDP and TCP (5061), or on
            any free one. Whoever opens one need not show a certificate; one that is shown must
            come from ``ca_file``.
        key_file: PEM file of its key, where ``certificate_file`` does not hold it.

    Raises:
        LocalProtocolError: ``fingerprint`` is not one.
    """

    ca_file: str | Path | None = None
    fingerprint: str | None = None
    certificate_file: str | Path | None = None
    key_file: str | Path | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.fingerprint is not None:
            digits = _pinned(self)
            if len(digits) != _FINGERPRINT or not set(digits) <= set("0123456789abcdef"):
                raise LocalProtocolError("a fingerprint is a SHA-256: 64 hexadecimal digits")


def _pinned(settings: TlsSettings) -> str:
    """The fingerprint in lower case without colons, "" where there is none."""
    return (settings.fingerprint or "").replace(":", "").strip().lower()


def _client_context(settings: TlsSettings) -> ssl.SSLContext:
    """The settings as a context of Python's ``ssl``. Reads the files.

    Raises:
        LocalProtocolError: a file cannot be read, or does not hold what it should.
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.certificate_file is not None:
            context.load_cert_chain(settings.certificate_file, settings.key_file)
    except OSError as error:  # ssl.SSLError is one.
        raise LocalProtocolError(f"The TLS files cannot be used: {error}.") from error
    if _pinned(settings):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # The fingerprint decides.
    return context


class TlsAcceptor:
    """Accepts TLS connections with our certificate. The files are read once.

    Raises:
        LocalProtocolError: a file cannot be read, or does not hold what it should.
    """

    def __init__(self, settings: TlsSettings) -> None:
        try:
            self._context = ssl.create_default_context(
                ssl.Purpose.CLIENT_AUTH, cafile=settings.ca_file
            )
            self._context.load_cert_chain(settings.certificate_file or "", settings.key_file)
        except OSError as error:
            raise LocalProtocolError(f"The TLS files cannot be used: {error}.") from error
        if settings.ca_file is not None:
            self._context.verify_mode = ssl.CERT_OPTIONAL

    @asynccontextmanager
    async def accept(self, raw: trio.SocketStream) -> AsyncIterator[Link]:
        """A link over an accepted stream.

        Raises:
            trio.BrokenResourceError: TLS failed.
            trio.TooSlowError: the handshake took more than 5 s.
        """
        stream = trio.SSLStream(raw, self._context, server_side=True, https_compatible=True)
        async with raw:
            with trio.fail_after(CONNECT_SECONDS):
                await stream.do_handshake()
            certificate = stream.getpeercert() or {}
            names = certificate.get("subjectAltName", ())
            try:
                yield StreamLink(stream, frozenset(name.lower() for _, name in names))
            finally:
                with trio.move_on_after(_CLOSE_SECONDS):
                    await stream.aclose()


class TlsConnector:
    """Connects with one set of settings. Their files are read once, when it is made.

    Raises:
        LocalProtocolError: a file cannot be read, or does not hold what it should.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        # The machine's own authorities take a while to read, and most phones never need them.
        self._context = None if settings == TlsSettings() else _client_context(settings)
        self._pinned = _pinned(settings)

    @asynccontextmanager
    async def open_stream(self, flow: Flow) -> AsyncIterator[TlsStream]:
        """A TLS connection to an end whose certificate names the host of the flow.

        Raises:
            OSError: the connection was refused, or is not possible.
            trio.BrokenResourceError: TLS failed, or the certificate is not accepted.
            trio.TooSlowError: no answer came for 5 s.
        """
        if self._context is None:
            self._context = _client_context(self._settings)
        async with connect(flow) as raw:
            stream = trio.SSLStream(
                raw, self._context, server_hostname=flow.host, https_compatible=True
            )
            with trio.fail_after(CONNECT_SECONDS):
                await stream.do_handshake()
            if self._pinned:
                certificate = stream.getpeercert(binary_form=True)
                if hashlib.sha256(certificate).hexdigest() != self._pinned:
                    raise ConnectionError("its certificate is not the pinned one")
            try:
                yield stream
            finally:
                with trio.move_on_after(_CLOSE_SECONDS):
                    await stream.aclose()

    @asynccontextmanager
    async def open_link(self, flow: Flow) -> AsyncIterator[Link]:
        """Connect over TLS."""
        async with self.open_stream(flow) as stream:
            yield StreamLink(stream)
