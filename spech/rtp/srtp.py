"""SRTP and SRTCP in one direction (RFC 3711, RFC 7714), around libsrtp.

The context holds the rollover counter, so that it must live as long as the key.
"""

from __future__ import annotations

from typing import Final

import cffi
import pylibsrtp
from pylibsrtp import Policy

from spech.rtp.packet import Replayed, Unauthentic, build
from spech.rtp.sequence import SEQUENCE_MASK

#: Crypto suites by their names in session descriptions (RFC 4568 6.2, RFC 7714 14.2).
PROFILES: Final = {
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
}

#: The longest packet that we send, 0.2 s of L16 at 48 kHz, with some room.
_BUFFER: Final = 20_480
#: A step that is certainly taken as forwards (RFC 3711 section 3.3.1).
_STRIDE: Final = 0x4000
#: The highest sequence number from which rollovers are continued: a day of packets of 20 ms. Each
#: rollover costs time, and the peer chooses the number.
_FARTHEST: Final = 64 << 16
_ffi: Final = cffi.FFI()


class _SrtpSession(pylibsrtp.Session):
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
    """Decrypts what arrives, from any number of SSRCs of one peer.

    Args:
        heard: SSRC and extended highest sequence number of what another key opened before. A peer
            that changes its key should keep its rollover counter (RFC 3711 section 3.3.1), but many
            reset it; the first packet shows which.
    """

    def __init__(self, suite: str, key: bytes, heard: tuple[int, int] | None = None) -> None:
        self._session = _session(suite, key, Policy.SSRC_ANY_INBOUND)
        self._other: pylibsrtp.Session | None = None
        if heard is not None and SEQUENCE_MASK < heard[1] <= _FARTHEST:
            self._other = _wound(suite, key, *heard)

    def open(self, packet: bytes) -> bytes:
        """The RTP packet inside.

        Raises:
            Unauthentic: the peer's key did not make it.
            Replayed: it was received before.
        """
        try:
            opened = self._session.unprotect(packet)
        except (pylibsrtp.Error, ValueError) as error:
            if self._other is None:
                raise _refusal(error) from None
            try:
                opened = self._other.unprotect(packet)
            except (pylibsrtp.Error, ValueError):
                raise _refusal(error) from None
            self._session = self._other
        self._other = None
        return opened

    def open_rtcp(self, packet: bytes) -> bytes:
        """The RTCP compound inside.

        Raises:
            Unauthentic: the peer's key did not make it.
            Replayed: it was received before.
        """
        try:
            return self._session.unprotect_rtcp(packet)
        except (pylibsrtp.Error, ValueError) as error:
            raise _refusal(error) from None


def _session(suite: str, key: bytes, direction: int) -> pylibsrtp.Session:
    return _SrtpSession(Policy(key, direction, srtp_profile=PROFILES[suite]))


def _wound(suite: str, key: bytes, ssrc: int, highest: int) -> pylibsrtp.Session:
    """A receiving session that stands at ``highest``.

    The library has no way to set its counter, but it follows packets; these never leave.
    """
    sealing = _session(suite, key, Policy.SSRC_ANY_OUTBOUND)
    opening = _session(suite, key, Policy.SSRC_ANY_INBOUND)
    for index in (*range(0, highest, _STRIDE), highest):
        opening.unprotect(sealing.protect(build(0, False, index & SEQUENCE_MASK, 0, ssrc, b"")))
    return opening


def _refusal(error: Exception) -> Unauthentic | Replayed:
    return Replayed() if str(error).startswith("replay") else Unauthentic()
