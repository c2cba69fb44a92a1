"""RTCP packets: sender and receiver reports, source description, farewell, extended reports.

RFC 3550 section 6. What is written is a compound that begins with a report; what is read may be any
packets in any order, because telephones send them so, and reduced-size RTCP allows it (RFC 5506).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from spech.errors import RemoteProtocolError
from spech.rtp import xr
from spech.rtp.packet import FIRST_RTCP_TYPE, LAST_RTCP_TYPE
from spech.rtp.xr import ExtendedReport

_SR = 200
_RR = 201
_SDES = 202
_BYE = 203
_XR = 207
_CNAME = 1
MAX_RTCP = 4096
"""The longest datagram that is read, in bytes. Two parties need a few hundred."""

_NTP_EPOCH = 2208988800

_REPORT_BLOCK = struct.Struct("!IIIIII")
_SENDER_INFO = struct.Struct("!IIIII")


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """How one source is received (section 6.4.1).

    ``fraction_lost`` is in 1/256 since the last report, ``jitter`` in clock units, ``last_report``
    the middle 32 bits of the NTP time of the last SR, ``delay`` the time since then in 1/65536 s.
    """

    ssrc: int
    fraction_lost: int
    lost: int
    highest: int
    jitter: int
    last_report: int
    delay: int


@dataclass(frozen=True, slots=True)
class SenderInfo:
    """Sender information: NTP time (64 bits), RTP timestamp, packets and octets sent."""

    ntp: int
    timestamp: int
    packets: int
    octets: int


@dataclass(frozen=True, slots=True)
class Report:
    """An SR, or an RR when ``sender`` is None."""

    ssrc: int
    sender: SenderInfo | None
    blocks: tuple[ReportBlock, ...]


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """The canonical name of a source."""

    ssrc: int
    cname: str


@dataclass(frozen=True, slots=True)
class Goodbye:
    """A BYE: the source sends no more (section 6.6)."""

    ssrc: int


RtcpPacket = Report | SourceDescription | Goodbye | ExtendedReport


def ntp_time(seconds: float) -> int:
    """Seconds since 1970 as a 64-bit NTP timestamp (section 4)."""
    return int((seconds + _NTP_EPOCH) * 65536) << 16 & 0xFFFFFFFFFFFFFFFF


def middle(ntp: int) -> int:
    """The middle 32 bits of an NTP timestamp, in 1/65536 s: LSR of section 6.4.1."""
    return ntp >> 16 & 0xFFFFFFFF


def round_trip(arrival: int, last_report: int, delay: int) -> float:
    """The round trip in seconds (section 6.4.1), never below zero.

    All three are in 1/65536 s, modulo 2**32.
    """
    difference = (arrival - last_report - delay) & 0xFFFFFFFF
    return 0.0 if difference & 0x80000000 else difference / 65536


def _packet(kind: int, count: int, body: bytes) -> bytes:
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


def build(packet: RtcpPacket) -> bytes:
    """Write one packet of a compound."""
    if isinstance(packet, Report):
        body = packet.ssrc.to_bytes(4, "big")
        if packet.sender is not None:
            sender = packet.sender
            body += _SENDER_INFO.pack(
                sender.ntp >> 32,
                sender.ntp & 0xFFFFFFFF,
                sender.timestamp,
                sender.packets & 0xFFFFFFFF,
                sender.octets & 0xFFFFFFFF,
            )
        for block in packet.blocks:
            lost = max(-0x800000, min(0x7FFFFF, block.lost)) & 0xFFFFFF
            body += _REPORT_BLOCK.pack(
                block.ssrc,
                block.fraction_lost << 24 | lost,
                block.highest & 0xFFFFFFFF,
                block.jitter,
                block.last_report,
                block.delay,
            )
        return _packet(_RR if packet.sender is None else _SR, len(packet.blocks), body)
    if isinstance(packet, SourceDescription):
        name = packet.cname.encode()[:255]
        chunk = packet.ssrc.to_bytes(4, "big") + bytes((_CNAME, len(name))) + name
        # The list of items ends with at least one zero, up to the next word (section 6.5).
        return _packet(_SDES, 1, chunk + bytes(4 - len(chunk) % 4))
    if isinstance(packet, ExtendedReport):
        return _packet(_XR, 0, xr.build(packet))
    return _packet(_BYE, 1, packet.ssrc.to_bytes(4, "big"))


def parse(data: bytes | memoryview) -> tuple[RtcpPacket, ...]:
    """Read the packets of a datagram. Types that are not used here (APP, feedback) are ignored.

    Raises:
        RemoteProtocolError: it is not RTCP of version 2, truncated, or too long.
    """
    if len(data) > MAX_RTCP:
        raise RemoteProtocolError("an RTCP datagram is too long")
    data = bytes(data)
    packets: list[RtcpPacket] = []
    offset = 0
    while offset < len(data):
        if len(data) - offset < 4:
            raise RemoteProtocolError("an RTCP packet is cut off")
        first, kind, words = struct.unpack_from("!BBH", data, offset)
        if first & 0xC0 != 0x80 or not FIRST_RTCP_TYPE <= kind <= LAST_RTCP_TYPE:
            raise RemoteProtocolError("not an RTCP packet of version 2")
        end = offset + 4 + 4 * words
        if end > len(data):
            raise RemoteProtocolError("an RTCP packet is longer than its datagram")
        body = data[offset + 4 : end]
        if first & 0x20:
            if end != len(data) or not body or not 0 < body[-1] <= len(body):
                raise RemoteProtocolError("RTCP padding is wrong")
            body = body[: -body[-1]]
        try:
            packets.extend(_read(kind, first & 0x1F, body))
        except struct.error as error:
            raise RemoteProtocolError("an RTCP packet is shorter than its contents") from error
        offset = end
    if not data:
        raise RemoteProtocolError("an empty RTCP datagram")
    return tuple(packets)


def _read(kind: int, count: int, body: bytes) -> list[RtcpPacket]:
    if kind in (_SR, _RR):
        (ssrc,) = struct.unpack_from("!I", body)
        sender = None
        offset = 4
        if kind == _SR:
            high, low, timestamp, sent, octets = _SENDER_INFO.unpack_from(body, offset)
            sender = SenderInfo(high << 32 | low, timestamp, sent, octets)
            offset += _SENDER_INFO.size
        blocks = []
        for _ in range(count):
            source, losses, highest, jitter, last_report, delay = _REPORT_BLOCK.unpack_from(
                body, offset
            )
            lost = ((losses & 0xFFFFFF) ^ 0x800000) - 0x800000
            blocks.append(
                ReportBlock(source, losses >> 24, lost, highest, jitter, last_report, delay)
            )
            offset += _REPORT_BLOCK.size
        return [Report(ssrc, sender, tuple(blocks))]
    if kind == _SDES and count:
        return _read_description(body)
    if kind == _XR:
        return [xr.read(body)]
    if kind == _BYE:
        return [Goodbye(ssrc) for ssrc in struct.unpack_from(f"!{count}I", body)]
    return []


def _read_description(body: bytes) -> list[RtcpPacket]:
    """The CNAME of the first chunk; the others are of contributing sources."""
    (ssrc,) = struct.unpack_from("!I", body)
    offset = 4
    while offset + 2 <= len(body) and body[offset]:
        kind, length = body[offset], body[offset + 1]
        if kind == _CNAME:
            name = body[offset + 2 : offset + 2 + length]
            return [SourceDescription(ssrc, name.decode("utf-8", "replace"))]
        offset += 2 + length
    return []
