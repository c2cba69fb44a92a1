"""SRTP and SRTCP in one direction (RFC 3711, RFC 7714), around libsrtp.

The rollover counter lives in the context: whoever keeps the context keeps the counter, and a new
key begins at zero.
"""

from __future__ import annotations

from typing import Final

import cffi
import pylibsrtp
from pylibsrtp import Policy

#: Crypto suites by their names in session descriptions (RFC 4568 6.2, RFC 7714 14.2).
PROFILES: Final = {
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
}

_BUFFER: Final = 16_384
_ffi: Final = cffi.FFI()


class Unauthentic(Exception):
    """A packet was not made with the key that was agreed on, or it was changed on its way."""


class Replayed(Exception):
    """A packet came before, or is too old to tell."""


class _Session(pylibsrtp.Session):
    """A session that takes packets of any length.

    The library's buffer holds 1,500 bytes; 20 ms of L16 at 48 kHz are longer, and so are 200 ms
    of G.711.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self._cdata = _ffi.new("char[]", _BUFFER)
        self._buffer = _ffi.buffer(self._cdata)


class Sealer:
    """Encrypts what we send."""

    def __init__(self, suite: str, key: bytes) -> None:
        self._session = _session(suite, key, Policy.SSRC_ANY_OUTBOUND)

    def seal(self, packet: bytes) -> bytes:
        """An RTP packet as SRTP; each sequence number must be sealed once only."""
        return self._session.protect(packet)

    def seal_rtcp(self, packet: bytes) -> bytes:
        """An RTCP compound as SRTCP."""
        return self._session.protect_rtcp(packet)


class Opener:
    """Decrypts what comes, from any number of sources of one peer."""

    def __init__(self, suite: str, key: bytes) -> None:
        self._session = _session(suite, key, Policy.SSRC_ANY_INBOUND)

    def open(self, packet: bytes) -> bytes:
        """The RTP packet inside.

        Raises:
            Unauthentic: it is none of the peer's.
            Replayed: it is, but came before.
        """
        try:
            return self._session.unprotect(packet)
        except (pylibsrtp.Error, ValueError) as error:
            raise _refusal(error) from None

    def open_rtcp(self, packet: bytes) -> bytes:
        """The RTCP compound inside.

        Raises:
            Unauthentic: it is none of the peer's.
            Replayed: it is, but came before.
        """
        try:
            return self._session.unprotect_rtcp(packet)
        except (pylibsrtp.Error, ValueError) as error:
            raise _refusal(error) from None


def _session(suite: str, key: bytes, direction: int) -> pylibsrtp.Session:
    return _Session(Policy(key, direction, srtp_profile=PROFILES[suite]))


def _refusal(error: Exception) -> Unauthentic | Replayed:
    return Replayed() if str(error).startswith("replay") else Unauthentic()
