"""Measurements of one incoming source: interarrival jitter, loss, and the report block."""

from __future__ import annotations

from spech.rtp.rtcp import ReportBlock
from spech.rtp.sequence import TIMESTAMP_MASK, SequenceTracker


class Reception:
    """Statistics of one source (RFC 3550 section 6.4.1, appendices A.3 and A.8).

    ``jitter`` is in clock units.
    """

    def __init__(self, clock_rate: int) -> None:
        self.sequence = SequenceTracker()
        self.jitter = 0.0
        self._clock_rate = clock_rate
        self._last_timestamp: int | None = None
        self._last_arrival = 0.0
        self._expected_before = 0
        self._received_before = 0
        self._last_sender_report = 0
        self._sender_report_arrival = 0.0

    def arrived(self, timestamp: int, arrival: float) -> None:
        """Update the jitter with a packet of sound; ``arrival`` is in seconds."""
        last = self._last_timestamp
        if last is not None:
            elapsed = (arrival - self._last_arrival) * self._clock_rate
            # As timestamp_difference(), without a call a packet.
            advance = ((timestamp - last + 0x80000000) & TIMESTAMP_MASK) - 0x80000000
            difference = abs(elapsed - advance)
            # A jump of the timestamps does not count as jitter.
            if difference < self._clock_rate:
                self.jitter += (difference - self.jitter) / 16
        self._last_timestamp = timestamp
        self._last_arrival = arrival

    def sender_report(self, middle: int, arrival: float) -> None:
        """Note an SR of this source: the middle 32 bits of its NTP time."""
        self._last_sender_report = middle
        self._sender_report_arrival = arrival

    def report(self, ssrc: int, now: float) -> ReportBlock:
        """The report block on this source, and the start of the next interval."""
        expected = self.sequence.expected
        received = self.sequence.received
        expected_now = expected - self._expected_before
        lost_now = expected_now - (received - self._received_before)
        self._expected_before = expected
        self._received_before = received
        fraction = min(255, (lost_now << 8) // expected_now) if lost_now > 0 < expected_now else 0
        delay = 0
        if self._last_sender_report:
            delay = int((now - self._sender_report_arrival) * 65536) & 0xFFFFFFFF
        return ReportBlock(
            ssrc,
            fraction,
            self.sequence.lost,
            self.sequence.highest,
            int(self.jitter),
            self._last_sender_report,
            delay,
        )
