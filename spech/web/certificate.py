"""The certificate of a web phone that serves its page over TLS itself."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Final

import trio

from spech.errors import SpechError

_log: Final = logging.getLogger(__name__)

#: How often the files are looked at, seconds.
_RENEWAL_SECONDS: Final = 60.0


class PageCertificate:
    """A certificate with its key, in PEM files.

    Args:
        certificate: the certificate, with those that lead to its root.
        key: its key, without a password.

    Attributes:
        context: for connections from now on. It is another one after the files have changed.

    Raises:
        SpechError: they cannot be read, or do not belong together.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._seen = self._stamps()
        self.context = self._load()

    async def follow_files(self) -> None:
        """Use renewed files, until cancelled. Where they cannot be used, the old ones are kept."""
        while True:
            await trio.sleep(_RENEWAL_SECONDS)
            try:
                await trio.to_thread.run_sync(self.renew)
            except SpechError as error:
                _log.warning("the certificate was not renewed: %s", error)

    def renew(self) -> None:
        """Read the files again if they have changed.

        Raises:
            SpechError: they cannot be used. This is not raised again until they change again.
        """
        stamps = self._stamps()
        if stamps != self._seen:
            self._seen = stamps
            self.context = self._load()
            _log.info("the certificate %s was renewed", self._certificate)

    def _stamps(self) -> tuple[int, int]:
        """When each of the files was written last."""
        try:
            return self._certificate.stat().st_mtime_ns, self._key.stat().st_mtime_ns
        except OSError as error:
            raise SpechError(f"Cannot read {error.filename}: {error.strerror}.") from error

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            # With a password, OpenSSL does not ask for one on the terminal.
            context.load_cert_chain(self._certificate, self._key, password="")
        except ssl.SSLError as error:
            reason = error.reason.lower().replace("_", " ") if error.reason else "not PEM"
            files = " and ".join(dict.fromkeys((str(self._certificate), str(self._key))))
            raise SpechError(f"No certificate and its key in {files}: {reason}.") from error
        except OSError as error:
            raise SpechError(
                f"Cannot read {self._certificate} and {self._key}: {error.strerror}."
            ) from error
        return context
