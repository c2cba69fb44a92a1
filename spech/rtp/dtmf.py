"""Digits as telephone events (RFC 4733), both ways.

An event's packets all carry the timestamp at which it began, and a duration that counts up from
there in clock units. Its end is sent three times. A receiver tells events apart by timestamp, so
that any one packet of an event is enough to hear it, and none is heard twice.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import NamedTuple

from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.rtp.sequence import TIMESTAMP_MASK, timestamp_difference

DIGITS = "0123456789*#ABCD"
"""The digits by event code, 0 to 15 (RFC 4733 section 3.2)."""

_PAYLOAD = struct.Struct("!BBH")
_END = 0x80
_VOLUME = 10
_END_PACKETS = 3
_LONGEST_SEGMENT = 0xFFFF
_SEGMENTS_LOST = 8


class EventPacket(NamedTuple):
    """One packet of an event that is being sent."""

    marker: bool
    timestamp: int
    payload: bytes


class _Queued(NamedTuple):
    code: int
    ticks: int
    gap_ticks: int


class DigitSender:
    """Turns digits into event packets, one tick at a time."""

    def __init__(self) -> None:
        self._queue: deque[_Queued] = deque()
        self._current: _Queued | None = None
        self._began = 0
        self._elapsed = 0
        self._ticks_left = 0
        self._ends_left = 0
        self._gap_left = 0

    @property
    def busy(self) -> bool:
        """Whether a digit is being sent or waits."""
        return self._current is not None or bool(self._queue)

    def queue(self, digits: str, *, ticks: int, gap_ticks: int) -> None:
        """Queue ``digits``, each ``ticks`` long, with ``gap_ticks`` of silence after it.

        Raises:
            LocalProtocolError: a character is none of ``0123456789*#ABCD``.
        """
        codes = [DIGITS.find(digit) for digit in digits.upper()]
        if -1 in codes:
            raise LocalProtocolError(f"{digits[codes.index(-1)]!r} is no DTMF digit")
        self._queue.extend(_Queued(code, ticks, gap_ticks) for code in codes)

    def clear(self) -> None:
        """Forget the digits that have not begun; the present one still gets its end."""
        self._queue.clear()
        if self._ticks_left > 1:
            self._ticks_left = 1

    def next(self, timestamp: int, units: int) -> tuple[EventPacket, ...] | None:
        """Advance one tick and return its packets; None when no event is going on.

        An empty tuple stands for a tick of the gap between digits, in which nothing is sent.

        Args:
            timestamp: the RTP timestamp of this tick.
            units: clock units in a tick.
        """
        if self._current is None:
            if not self._queue:
                return None
            self._current = self._queue.popleft()
            self._began = timestamp
            self._elapsed = 0
            self._ticks_left = self._current.ticks
            self._ends_left = _END_PACKETS
            self._gap_left = self._current.gap_ticks
        if self._ticks_left:
            return self._progress(self._current, units)
        # Section 2.5.1.4: the end is repeated at the interval of the packets before it.
        self._gap_left -= 1
        packets = [self._end(self._current)] if self._ends_left else []
        if self._ends_left == 0 and self._gap_left <= 0:
            self._current = None
        return tuple(packets)

    def _progress(self, event: _Queued, units: int) -> tuple[EventPacket, ...]:
        first = self._elapsed == 0 and self._ticks_left == event.ticks
        self._elapsed += units
        self._ticks_left -= 1
        packets: list[EventPacket] = []
        if self._elapsed > _LONGEST_SEGMENT:
            # Section 2.5.1.3: the event goes on in a new segment, with neither end nor marker.
            packets.append(self._packet(event, _LONGEST_SEGMENT, marker=False, end=False))
            self._began = (self._began + _LONGEST_SEGMENT) & TIMESTAMP_MASK
            self._elapsed -= _LONGEST_SEGMENT
        if self._ticks_left:
            packets.append(self._packet(event, self._elapsed, marker=first, end=False))
        else:
            packets.append(self._end(event, marker=first))
        return tuple(packets)

    def _end(self, event: _Queued, *, marker: bool = False) -> EventPacket:
        self._ends_left -= 1
        return self._packet(event, self._elapsed, marker=marker, end=True)

    def _packet(self, event: _Queued, duration: int, *, marker: bool, end: bool) -> EventPacket:
        flags = _VOLUME | (_END if end else 0)
        return EventPacket(marker, self._began, _PAYLOAD.pack(event.code, flags, duration))


class DigitReceiver:
    """Turns event packets back into digits, each reported once, at its first packet."""

    def __init__(self) -> None:
        self._heard: deque[int] = deque(maxlen=32)
        self._code = -1
        self._began = 0
        self._duration = 0
        self._ended = True

    def reset(self) -> None:
        """Forget all events: the source changed and its timestamps mean something else."""
        self._heard.clear()
        self._code = -1
        self._ended = True

    def receive(self, timestamp: int, payload: bytes) -> str | None:
        """Take one event packet; return the digit when it is the first of its event.

        Events that are no DTMF digit (flash, tones) return None.

        Raises:
            RemoteProtocolError: the payload is shorter than four bytes.
        """
        if len(payload) < 4:
            raise RemoteProtocolError(f"a telephone-event of {len(payload)} bytes is too short")
        code, flags, duration = _PAYLOAD.unpack_from(payload)
        ended = flags >= _END
        if timestamp in self._heard:
            if timestamp == self._began:
                self._duration = max(self._duration, duration)
                self._ended = self._ended or ended
            return None
        continued = self._continues(code, timestamp)
        self._heard.append(timestamp)
        if self._code >= 0 and timestamp_difference(timestamp, self._began) < 0:
            # An older event whose packets were overtaken: it is reported, and the newer one
            # stays the one to compare with.
            return DIGITS[code] if code < len(DIGITS) else None
        self._code = code
        self._began = timestamp
        self._duration = duration
        self._ended = ended
        if continued or code >= len(DIGITS):
            return None
        return DIGITS[code]

    def _continues(self, code: int, timestamp: int) -> bool:
        """Whether a new timestamp is the next segment of a long event (section 2.5.1.3)."""
        if code != self._code or self._ended:
            return False
        ahead = timestamp_difference(timestamp, self._began)
        if ahead <= 0:
            return False
        # Segments are 0xFFFF long, or as long as the last packet of the one before said.
        segments, rest = divmod(ahead, _LONGEST_SEGMENT)
        return (rest == 0 and segments <= _SEGMENTS_LOST) or ahead == self._duration >= 0x8000
