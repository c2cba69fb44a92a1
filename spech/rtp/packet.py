"""RTP packets, read and written (RFC 3550 section 5.1)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from spech.errors import RemoteProtocolError

_HEADER = struct.Struct("!BBHII")
_VERSION = 0x80
_PADDING = 0x20
_EXTENSION = 0x10

FIRST_RTCP_TYPE = 192
LAST_RTCP_TYPE = 223


class Unauthentic(Exception):
    """A packet was not made with the negotiated key, or was changed on its way."""


class Replayed(Exception):
    """A packet was received before, or is too old to tell."""


class RtpPacket(NamedTuple):
    """One RTP packet, without its contributing sources, extension and padding.

    ``timestamp`` counts the payload's clock modulo 2**32, ``sequence`` packets modulo 2**16.
    """

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def parse(data: bytes | memoryview) -> RtpPacket:
    """Read one datagram.

    Raises:
        RemoteProtocolError: it is not an RTP packet of version 2, or its lengths are wrong.
    """
    if len(data) < 12:
        raise RemoteProtocolError(f"an RTP packet of {len(data)} bytes is too short")
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    if first & 0xC0 != _VERSION:
        raise RemoteProtocolError(f"RTP version {first >> 6}, expected 2")
    start = 12
    end = len(data)
    if first != _VERSION:  # the rare packet with CSRCs, extension or padding
        start += 4 * (first & 0x0F)
        if first & _EXTENSION:
            if end < start + 4:
                raise RemoteProtocolError("the RTP header extension is cut off")
            start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
        if first & _PADDING:
            if data[end - 1] == 0:
                raise RemoteProtocolError("RTP padding of no length")
            end -= data[end - 1]
        if end < start:
            raise RemoteProtocolError("the RTP header is longer than its packet")
    return RtpPacket(
        second & 0x7F, second >= 0x80, sequence, timestamp, ssrc, bytes(data[start:end])
    )


def build(
    payload_type: int, marker: bool, sequence: int, timestamp: int, ssrc: int, payload: bytes
) -> bytes:
    """Write one packet; ``sequence``, ``timestamp`` and ``ssrc`` are already within their bits."""
    second = payload_type | 0x80 if marker else payload_type
    return _HEADER.pack(_VERSION, second, sequence, timestamp, ssrc) + payload


def is_dtls(data: bytes | memoryview) -> bool:
    """Whether a datagram on a media port is DTLS (RFC 7983 section 7)."""
    return len(data) > 0 and 20 <= data[0] <= 63


def is_rtcp(data: bytes | memoryview) -> bool:
    """Whether a datagram on a shared port is RTCP (RFC 5761 section 4)."""
    return len(data) >= 2 and FIRST_RTCP_TYPE <= data[1] <= LAST_RTCP_TYPE
