"""The jitter buffer: arrival in any order becomes playout in time.

Playout is a clock of its own. ``play`` is the timestamp that is due; each tick it advances by the
tick's units, and the packets that begin in that span come out. What did not come is simply absent,
and what comes afterwards is late. Silence suppression, lost packets and packets of any length are
all the same to it.

How long a packet waits follows the network: over the last few hundred packets the smallest transit
time (arrival minus timestamp) is the floor, and the spread above it is how much delay is needed.
If playout is more than a tick away from that, one tick is skipped or inserted, at most every
300 ms; clock drift between the ends is corrected in the same way. All is pure: times are given.
"""

from __future__ import annotations

import enum
from bisect import insort
from typing import NamedTuple

from spech.rtp.packet import RtpPacket
from spech.rtp.sequence import timestamp_difference

_CAPACITY = 100
_JUMP_SECONDS = 2.0
_DRY_TICKS = 5
_LATE_RUN = 5
_BLOCK = 50
_BLOCKS = 6
_ADJUST_TICKS = 15


class Verdict(enum.Enum):
    """What became of a packet that was put in."""

    #: It waits for its time.
    ACCEPTED = enum.auto()
    #: Its time was over; it is dropped.
    LATE = enum.auto()
    #: The buffer was full; the oldest packet went.
    OVERFLOWED = enum.auto()
    #: Timestamps jumped, or the stream resumed: playout was aligned anew.
    RESYNCHRONISED = enum.auto()


class _Entry(NamedTuple):
    timestamp: int
    order: int
    packet: RtpPacket


class Playout(NamedTuple):
    """What one tick plays.

    ``packets`` begin in this tick, oldest first. ``skipped`` is True when two ticks' worth came
    out to shorten the delay, and one tick of sound is to be taken out. ``following`` is the packet
    that begins in the next tick, where this one has none: it may tell something of what is missing.
    """

    packets: tuple[RtpPacket, ...]
    skipped: bool
    following: RtpPacket | None = None


_NOTHING = Playout((), False)


class JitterBuffer:
    """Holds the packets of one stream until they are due.

    Args:
        clock_rate: the RTP clock in Hz.
        initial: seconds that the first packet waits.
        minimum: seconds below which the delay never falls.
        maximum: seconds above which it never grows.
    """

    def __init__(
        self,
        clock_rate: int,
        *,
        initial: float = 0.04,
        minimum: float = 0.02,
        maximum: float = 0.2,
    ) -> None:
        self._clock_rate = clock_rate
        self._minimum = int(minimum * clock_rate)
        self._maximum = int(maximum * clock_rate)
        self._jump = int(_JUMP_SECONDS * clock_rate)
        self._target = int(initial * clock_rate)
        self._entries: list[_Entry] = []
        self._last_timestamp: int | None = None
        self._play: int | None = None
        self._dry = 0
        self._late_run = 0
        self._order = 0
        self._since_adjustment = 0
        self._least = self._most = 0
        self._reset_transit()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def target(self) -> float:
        """The delay that is aimed at, in seconds."""
        return self._target / self._clock_rate

    @property
    def flowing(self) -> bool:
        """Whether packets come; after 0.1 s without any, the stream pauses."""
        return self._play is not None and self._dry < _DRY_TICKS

    def reset(self) -> None:
        """Forget the stream: the next packet starts playout anew, at the delay learned so far."""
        self._entries.clear()
        self._last_timestamp = None
        self._play = None
        self._dry = 0
        self._late_run = 0
        self._since_adjustment = 0
        self._reset_transit()

    def push(self, packet: RtpPacket, arrival: float) -> Verdict:
        """Put in a packet that arrived at ``arrival``, in seconds.

        Duplicates have been sorted out before (see ``SequenceTracker``).
        """
        timestamp = packet.timestamp
        last = self._last_timestamp
        if last is None:
            extended = timestamp
        else:
            extended = last + timestamp_difference(timestamp, last & 0xFFFFFFFF)
        verdict = Verdict.ACCEPTED
        play = self._play
        if play is not None:
            ahead = extended - play
            if ahead > self._jump or ahead < -self._jump or (self._dry >= _DRY_TICKS and ahead < 0):
                self.reset()
                verdict = Verdict.RESYNCHRONISED
                play = None
            elif ahead < 0:
                self._note_transit(extended, arrival)
                self._late_run += 1
                if self._late_run < _LATE_RUN:
                    return Verdict.LATE
                self.reset()
                verdict = Verdict.RESYNCHRONISED
                play = None
            elif self._dry >= _DRY_TICKS:
                # Playout was silent, so the delay can be set right without anybody hearing it.
                play = None
        self._late_run = 0
        self._dry = 0
        self._note_transit(extended, arrival)
        if last is None or extended > last or verdict is Verdict.RESYNCHRONISED:
            self._last_timestamp = extended
        if play is None:
            self._play = extended - self._target
        entries = self._entries
        self._order += 1
        entry = _Entry(extended, self._order, packet)
        if entries and entries[-1].timestamp > extended:
            insort(entries, entry)
        else:
            entries.append(entry)
        if len(entries) > _CAPACITY:
            del entries[0]
            return Verdict.OVERFLOWED
        return verdict

    def pop(self, units: int, now: float) -> Playout:
        """Advance playout by one tick of ``units`` clock units and take out what begins in it."""
        play = self._play
        if play is None:
            return _NOTHING
        entries = self._entries
        if not entries:
            self._dry += 1
            self._play = play + units
            return _NOTHING
        end = play + units
        skipped = False
        excess = int(now * self._clock_rate) - play - self._floor - self._target
        # A tick that came late itself must not count: the whole interval has to agree.
        if self._since_adjustment == 0:
            self._least = self._most = excess
        elif excess < self._least:
            self._least = excess
        elif excess > self._most:
            self._most = excess
        self._since_adjustment += 1
        if self._since_adjustment >= _ADJUST_TICKS:
            self._since_adjustment = 0
            if self._least >= 2 * units:
                end += units
                skipped = True
            elif self._most < 0:
                # Insert a tick: playout stands still, and concealment bridges it.
                return _NOTHING
        self._play = end
        if (first := entries[0]).timestamp >= end:
            return Playout((), False, first.packet if first.timestamp < end + units else None)
        count = 1
        while count < len(entries) and entries[count].timestamp < end:
            count += 1
        packets = tuple([entry.packet for entry in entries[:count]])
        del entries[:count]
        return Playout(packets, skipped)

    def skip(self, units: int) -> None:
        """Leave out ``units`` of playout at once: the machine slept, and what waited is stale."""
        if self._play is None:
            return
        self._play += units
        play = self._play
        self._entries = [entry for entry in self._entries if entry.timestamp >= play]

    def _reset_transit(self) -> None:
        self._lows: list[int] = []
        self._highs: list[int] = []
        self._block_low = self._block_high = 0
        self._in_block = 0
        self._floor = 0

    def _note_transit(self, timestamp: int, arrival: float) -> None:
        """Follow the smallest and the largest transit time, block by block (clock units)."""
        transit = int(arrival * self._clock_rate) - timestamp
        if self._in_block == 0:
            self._block_low = self._block_high = transit
            if not self._lows:
                self._floor = transit
        elif transit < self._block_low:
            self._block_low = transit
            if transit < self._floor:
                self._floor = transit
        elif transit > self._block_high:
            self._block_high = transit
            wanted = transit - self._floor
            if wanted > self._target:
                self._target = min(wanted, self._maximum)
        self._in_block += 1
        if self._in_block == _BLOCK:
            self._in_block = 0
            self._lows.append(self._block_low)
            self._highs.append(self._block_high)
            if len(self._lows) > _BLOCKS:
                del self._lows[0], self._highs[0]
            self._floor = min(self._lows)
            spread = max(self._highs) - self._floor
            self._target = min(max(spread, self._minimum), self._maximum)
