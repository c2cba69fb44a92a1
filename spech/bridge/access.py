"""How a bridge proves to a bot's server who it is, and which server it trusts."""

from __future__ import annotations

import hmac
import re
import ssl
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

import trio

from spech.bridge.url import VISIBLE, WebSocketUrl
from spech.errors import LocalProtocolError

#: Header fields that belong to the handshake.
_OURS: Final = re.compile(r"host|upgrade|connection|origin|content-.*|sec-websocket-.*", re.I)
_FIELD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[!-~]([ -~]*[!-~])?")
#: Bytes of a file with a secret.
_LARGEST_SECRET: Final = 8192


@dataclass(frozen=True)
class Access:
    """What a bridge shows to the servers of bots, and asks from them.

    Attributes:
        headers: fields of each handshake.
        token_file: holds what is sent as ``Authorization: Bearer``. It is read at each connection,
            so that the token can be replaced meanwhile.
        signing_key_file: holds the key that signs each handshake; read at each connection too.
        twilio: whether to sign as Twilio does, or as :func:`signature` does.
        ca: certificates (PEM) that are trusted in place of the system's.
        certificate: our own certificate and its key, in one file (PEM).
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    token_file: Path | None = None
    signing_key_file: Path | None = None
    twilio: bool = False
    ca: Path | None = None
    certificate: Path | None = None

    def check(self) -> None:
        """Check all that can be checked before the first call.

        Raises:
            LocalProtocolError: a header field is not possible, or a file is of no use.
        """
        for name, value in self.headers.items():
            if not _FIELD.fullmatch(name) or not _VALUE.fullmatch(value):
                raise LocalProtocolError(f"{name!r} is no header field, or its value is none")
            if _OURS.fullmatch(name) or (name.lower() == "authorization" and self.token_file):
                raise LocalProtocolError(f"the header field {name} is set by Spech")
        for file in (self.token_file, self.signing_key_file):
            if file is not None:
                read_secret(file)
        _ = self.tls

    @cached_property
    def public(self) -> Access:
        """The same without secrets, for servers that the operator has not named.

        A signature is none: it fits one URL, and does not tell the key.
        """
        return Access(signing_key_file=self.signing_key_file, twilio=self.twilio, ca=self.ca)

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """TLS with these certificates.

        Raises:
            LocalProtocolError: a file has none.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise LocalProtocolError(f"{self.ca} has no certificates (PEM): {error}") from error
        if self.certificate is not None:
            try:
                # Without a password here, OpenSSL would ask the terminal for one.
                context.load_cert_chain(self.certificate, password="")
            except (OSError, ValueError) as error:
                raise LocalProtocolError(
                    f"{self.certificate} has no certificate with its key, not encrypted (PEM): "
                    f"{error}"
                ) from error
        return context

    async def fields(self, url: WebSocketUrl) -> list[tuple[bytes, bytes]]:
        """The header fields of a handshake.

        Raises:
            LocalProtocolError: a file cannot be read now.
        """
        fields = list(self.headers.items())
        if self.token_file is not None:
            token = await trio.to_thread.run_sync(read_secret, self.token_file)
            fields.append(("Authorization", f"Bearer {token}"))
        if self.signing_key_file is not None:
            key = await trio.to_thread.run_sync(read_secret, self.signing_key_file)
            if self.twilio:
                fields.append(("X-Twilio-Signature", twilio_signature(key, str(url))))
            else:
                signed = signature(key, str(url).encode(), time.time())
                fields.append(("X-Spech-Signature", signed))
        return [(name.encode(), value.encode()) for name, value in fields]


def read_secret(file: Path) -> str:
    """The only line of a file: a token or a key.

    Raises:
        LocalProtocolError: there is none.
    """
    try:
        with file.open("rb") as opened:
            found = opened.read(_LARGEST_SECRET + 1)
    except OSError as error:
        raise LocalProtocolError(f"{file} cannot be read: {error.strerror}") from error
    secret = found.decode("ascii", errors="replace").strip()
    if len(found) > _LARGEST_SECRET or not VISIBLE.fullmatch(secret):
        raise LocalProtocolError(f"{file} is not one line of ASCII characters without blanks")
    return secret


def signature(key: str, content: bytes, now: float) -> str:
    """``t=TIME,v1=HEX``: HMAC-SHA256 (RFC 2104) of the time, a full stop, and the content.

    Args:
        key: the secret.
        content: what is signed.
        now: seconds since 1970, by which the receiver recognizes what is sent again.
    """
    moment = str(int(now))
    digest = hmac.digest(key.encode(), f"{moment}.".encode() + content, "sha256")
    return f"t={moment},v1={digest.hex()}"


def twilio_signature(key: str, content: str) -> str:
    """What Twilio calls X-Twilio-Signature: HMAC-SHA1 of the URL (and, of a form, its sorted names
    and values), in base64.

    https://www.twilio.com/docs/usage/security
    """
    return b64encode(hmac.digest(key.encode(), content.encode(), "sha1")).decode()
