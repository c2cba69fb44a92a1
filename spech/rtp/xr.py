"""Extended reports (RFC 3611): VoIP metrics, and the round trip of receivers."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from spech.rtp.bursts import GMIN

RECEIVER_ROUND_TRIP: Final = "rcvr-rtt"
VOIP_METRICS: Final = "voip-metrics"
"""The two block types that are supported, as ``a=rtcp-xr`` names them (section 5.1)."""

_REFERENCE: Final = 4
_DELAYS: Final = 5
_METRICS: Final = 7
_UNKNOWN: Final = 127
# Standard concealment, an adaptive jitter buffer (section 4.7.6).
_CONFIGURATION: Final = 0b11_11_0000
_METRICS_BLOCK: Final = struct.Struct("!I4B4H4B4BBx3H")


@dataclass(frozen=True, slots=True)
class ReceiverReference:
    """The NTP time (64 bits) at which this was sent, to be answered with the delay since (4.4)."""

    ntp: int


@dataclass(frozen=True, slots=True)
class Delay:
    """The answer: the middle of the reference's NTP time, and 1/65536 s since it came (4.5)."""

    ssrc: int
    last: int
    delay: int


@dataclass(frozen=True, slots=True)
class Delays:
    """The answers to all references that came."""

    delays: tuple[Delay, ...]


@dataclass(frozen=True, slots=True)
class VoipMetrics:
    """How one source sounds at the reporting end (section 4.7).

    Losses, discards and densities are shares, 0 to 1; times are in seconds. ``rating`` is R of the
    E-model, 0 to 100; it and the marks are None where they are not known.
    """

    ssrc: int
    loss: float
    discard: float
    burst_density: float
    gap_density: float
    burst: float
    gap: float
    round_trip: float
    end_system_delay: float
    rating: float | None
    mos_listening: float | None
    mos_conversational: float | None
    buffer: float
    most_buffer: float


XrBlock = ReceiverReference | Delays | VoipMetrics


@dataclass(frozen=True, slots=True)
class ExtendedReport:
    """An XR packet; blocks of other types are ignored."""

    ssrc: int
    blocks: tuple[XrBlock, ...]


def build(report: ExtendedReport) -> bytes:
    """The body of an XR packet, behind its RTCP header."""
    return report.ssrc.to_bytes(4, "big") + b"".join(map(_build_block, report.blocks))


def read(body: bytes) -> ExtendedReport:
    """Read the body of an XR packet.

    Raises:
        struct.error: it is shorter than its contents.
    """
    (ssrc,) = struct.unpack_from("!I", body)
    blocks: list[XrBlock] = []
    offset = 4
    while offset < len(body):
        kind, _, words = struct.unpack_from("!BBH", body, offset)
        end = offset + 4 + 4 * words
        if end > len(body):
            raise struct.error("an XR block is cut off")
        block = _read_block(kind, body[offset + 4 : end])
        if block is not None:
            blocks.append(block)
        offset = end
    return ExtendedReport(ssrc, tuple(blocks))


def _build_block(block: XrBlock) -> bytes:
    if isinstance(block, ReceiverReference):
        return struct.pack("!BBHQ", _REFERENCE, 0, 2, block.ntp)
    if isinstance(block, Delays):
        parts = [struct.pack("!III", one.ssrc, one.last, one.delay) for one in block.delays]
        return struct.pack("!BBH", _DELAYS, 0, 3 * len(parts)) + b"".join(parts)
    return struct.pack("!BBH", _METRICS, 0, 8) + _METRICS_BLOCK.pack(
        block.ssrc,
        _share(block.loss),
        _share(block.discard),
        _share(block.burst_density),
        _share(block.gap_density),
        _milliseconds(block.burst),
        _milliseconds(block.gap),
        _milliseconds(block.round_trip),
        _milliseconds(block.end_system_delay),
        _UNKNOWN,  # signal level, noise level, residual echo: not measured
        _UNKNOWN,
        _UNKNOWN,
        GMIN,
        _UNKNOWN if block.rating is None else round(block.rating),
        _UNKNOWN,  # no other network's rating
        _mark(block.mos_listening),
        _mark(block.mos_conversational),
        _CONFIGURATION,
        _milliseconds(block.buffer),
        _milliseconds(block.buffer),
        _milliseconds(block.most_buffer),
    )


def _read_block(kind: int, body: bytes) -> XrBlock | None:
    if kind == _REFERENCE:
        return ReceiverReference(*struct.unpack_from("!Q", body))
    if kind == _DELAYS:
        whole = len(body) - len(body) % 12
        return Delays(tuple(Delay(*one) for one in struct.iter_unpack("!III", body[:whole])))
    if kind != _METRICS:
        return None
    (
        ssrc,
        loss,
        discard,
        burst_density,
        gap_density,
        burst,
        gap,
        round_trip,
        end_system_delay,
        _,
        _,
        _,
        _,
        rating,
        _,
        listening,
        conversational,
        _,
        buffer,
        _,
        most_buffer,
    ) = _METRICS_BLOCK.unpack_from(body)
    return VoipMetrics(
        ssrc,
        loss / 256,
        discard / 256,
        burst_density / 256,
        gap_density / 256,
        burst / 1000,
        gap / 1000,
        round_trip / 1000,
        end_system_delay / 1000,
        None if rating > 100 else float(rating),
        listening / 10 if 10 <= listening <= 50 else None,
        conversational / 10 if 10 <= conversational <= 50 else None,
        buffer / 1000,
        most_buffer / 1000,
    )


def _share(value: float) -> int:
    return min(max(int(value * 256), 0), 255)


def _milliseconds(seconds: float) -> int:
    return min(max(round(seconds * 1000), 0), 0xFFFF)


def _mark(mos: float | None) -> int:
    return _UNKNOWN if mos is None else min(max(round(mos * 10), 10), 50)
