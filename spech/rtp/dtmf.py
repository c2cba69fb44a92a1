"""Digits as telephone events (RFC 4733), both ways.

An event's packets all carry the timestamp at which it began, and a duration that counts up from
there in clock units. Its end is sent three times. A receiver tells events apart by timestamp, so
that any one packet of an event is enough, and no event is reported twice.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import NamedTuple

from spech.errors import RemoteProtocolError
from spech.rtp.packet import RtpPacket
from spech.rtp.sequence import TIMESTAMP_MASK, SequenceStatus, SequenceTracker, timestamp_difference

DIGITS = "0123456789*#ABCD"
"""The digits by event code, 0 to 15 (RFC 4733 section 3.2)."""

_PAYLOAD = struct.Struct("!BBH")
_END = 0x80
_VOLUME = 10
_END_PACKETS = 3
_LONGEST_SEGMENT = 0xFFFF
_SEGMENTS_LOST = 8
_LONG = 0x8000  # A new segment follows only a segment that is at least this long.


class EventPacket(NamedTuple):
    """One packet of an event that is being sent."""

    marker: bool
    timestamp: int
    payload: bytes


class DigitSender:
    """The event packets of one digit at a time."""

    def __init__(self) -> None:
        self._code = -1
        self._began = -1
        self._elapsed = 0
        self._ends_left = 0

    def begin(self, digit: str) -> None:
        """Begin an event: one of :data:`DIGITS`."""
        self._code = DIGITS.index(digit)
        self._began = -1
        self._elapsed = 0
        self._ends_left = _END_PACKETS

    def next(self, timestamp: int, units: int, *, last: bool) -> tuple[EventPacket, ...]:
        """The packets of one more tick for which the key is pressed.

        Args:
            timestamp: the RTP timestamp of this tick.
            units: clock units in a tick.
            last: whether the key is released after it.
        """
        first = self._began < 0
        if first:
            self._began = timestamp
        self._elapsed += units
        packets: list[EventPacket] = []
        if self._elapsed > _LONGEST_SEGMENT:
            # Section 2.5.1.3: the event continues in a new segment, without end and marker.
            packets.append(self._packet(_LONGEST_SEGMENT, marker=False, end=False))
            self._began = (self._began + _LONGEST_SEGMENT) & TIMESTAMP_MASK
            self._elapsed -= _LONGEST_SEGMENT
        packets.append(self._packet(self._elapsed, marker=first, end=last))
        return tuple(packets)

    def after(self) -> tuple[EventPacket, ...]:
        """The packets of a tick after the release.

        Section 2.5.1.4: the end is repeated at the interval of the packets before it.
        """
        return (self._packet(self._elapsed, marker=False, end=True),) if self._ends_left else ()

    def _packet(self, duration: int, *, marker: bool, end: bool) -> EventPacket:
        self._ends_left -= end
        flags = _VOLUME | (_END if end else 0)
        return EventPacket(marker, self._began, _PAYLOAD.pack(self._code, flags, duration))


class DigitReceiver:
    """Turns event packets back into digits, each reported once, at its first packet.

    An event is known by its timestamp. Two faults of telephones in the field are compensated:
    timestamps that move on with every packet of one event, where the duration still counts from
    its beginning; and a clock that stands still during events, so that the next one has the same
    timestamp and begins with a smaller duration.
    """

    def __init__(self) -> None:
        self._heard: deque[tuple[int, int]] = deque(maxlen=32)
        self.reset()

    def reset(self) -> None:
        """Forget all events: the source changed and its timestamps mean something else."""
        self._heard.clear()
        self._code = -1
        self._began = 0
        self._duration = 0
        self._step = 0
        self._ended = True

    def receive_telephone_event(
        self, timestamp: int, payload: bytes, *, marker: bool = False, late: bool = False
    ) -> str | None:
        """Take one event packet; return the digit when it is the first of its event.

        Events that are not DTMF digits (flash, tones) return None.

        Args:
            timestamp, payload, marker: of the packet.
            late: whether packets that were sent after it came before it.

        Raises:
            RemoteProtocolError: the payload is shorter than four bytes.
        """
        if len(payload) < 4:
            raise RemoteProtocolError(f"a telephone-event of {len(payload)} bytes is too short")
        code, flags, duration = _PAYLOAD.unpack_from(payload)
        ended = flags >= _END
        digit = DIGITS[code] if code < len(DIGITS) else None
        if (timestamp, code) in self._heard:
            if timestamp != self._began or code != self._code:
                return None
            if self._ended and not late and duration < self._duration:
                self._duration, self._ended = duration, ended
                return digit
            self._duration = max(self._duration, duration)
            self._ended = self._ended or ended
            return None
        ahead = timestamp_difference(timestamp, self._began)
        self._heard.append((timestamp, code))
        if self._code >= 0 and ahead < 0:
            # An older event whose packets were overtaken: it is reported, and the newer one
            # stays the one to compare with.
            return digit
        known = code == self._code and not marker
        if known and self._moves(ahead, duration, ended):
            self._duration, self._ended = duration, self._ended or ended
            return None
        continued = known and self._continues(ahead)
        self._code = code
        self._began = timestamp
        self._duration = duration
        self._step = 0
        self._ended = ended
        return None if continued else digit

    def _moves(self, ahead: int, duration: int, ended: bool) -> bool:
        """Whether a new timestamp lies within an event that began before it.

        A key that is pressed again begins behind the one before, and its duration at nothing.
        """
        if ahead > duration + self._step or duration < self._duration:
            return False
        if self._ended:
            return ended and duration == self._duration
        # How far the timestamps of repeated ends advance, beyond the duration.
        step = duration - self._duration
        self._step = min(step, self._step or step)
        return True

    def _continues(self, ahead: int) -> bool:
        """Whether a new timestamp is the next segment of a long event (section 2.5.1.3)."""
        if self._ended or ahead <= 0:
            return False
        # Segments are 0xFFFF long, or as long as the last packet of the one before said.
        segments, rest = divmod(ahead, _LONGEST_SEGMENT)
        if rest == 0 and segments <= _SEGMENTS_LOST:
            return True
        return self._duration >= _LONG and self._duration <= ahead <= _LONGEST_SEGMENT


class EventSource:
    """Telephone events with an SSRC or sequence numbers of their own, beside the sound.

    ``ssrc`` is None before the first packet.
    """

    def __init__(self, ssrc: int | None, digits: DigitReceiver) -> None:
        self.ssrc = ssrc
        self.digits = digits
        self.sequence = SequenceTracker()

    def receive_rtp(self, packet: RtpPacket) -> str | None:
        """Take a packet; return a digit if it is the first of its event.

        Raises:
            RemoteProtocolError: the event is malformed.
        """
        status = self.sequence.update(packet.sequence)
        if status is SequenceStatus.DUPLICATE:
            return None
        late = status is SequenceStatus.REORDERED
        return self.digits.receive_telephone_event(
            packet.timestamp, packet.payload, marker=packet.marker, late=late
        )
