"""The jitter buffer: takes packets in any order, and hands them out when they are due.

Packets are kept in the order of their sequence numbers; their timestamps say when each is due.
The transit time of a packet is its arrival minus its timestamp: an unknown offset plus the delay of
the network. The transit times of the last few hundred packets are kept sorted, so that the minimum
and the 99th percentile are known at any time. Their difference is the target: a packet is played
when it has waited so long that the slow one would have arrived too. The two clocks are never
compared, so that their drift is only a transit time that changes slowly.

Decoded sound is continuous, so its delay cannot change at once. ``spare`` says by how much packets
leave later (or, below zero, earlier) than they should; the playout makes the sound shorter or
longer until it is right. After a pause of the peer the delay is corrected at once.

A packet that is missing when it is due holds the others back. It is concealed, and played when it
arrives. It counts as lost once a later packet is there and as much was concealed as is missing.
Pure: times are arguments.
"""

from __future__ import annotations

import enum
from bisect import bisect_left, insort
from collections import deque

from spech.rtp.packet import RtpPacket
from spech.rtp.sequence import (
    SEQUENCE_MASK,
    TIMESTAMP_MASK,
    sequence_difference,
)

LONGEST_DELAY = 0.3
"""The longest delay in seconds. Packets that have waited longer than that beyond it are dropped."""

_SHORTEST_DELAY = 0.01
#: Seconds of delay until enough is known about the network.
_INITIAL_DELAY = 0.04
_CAPACITY = 100
_REMEMBERED = 400
_MOST_SOUNDLESS = 256
#: One packet of this many may be late: 4 of 400, the one at the edge included.
_LATE_ONE_OF = 130
_KNOWN = 50
_WATCHED = 25
_PAUSE_SECONDS = 0.1
#: After a pause of so many seconds the drift of the clocks matters.
_LONG_PAUSE_SECONDS = 10.0
_SLACK_SECONDS = 0.002
_EARLY_SECONDS = 0.25


class PacketVerdict(enum.Enum):
    """The outcome of :meth:`JitterBuffer.push`."""

    #: It waits until it is due.
    ACCEPTED = enum.auto()
    #: It is too late, and dropped.
    LATE = enum.auto()
    #: The buffer was full; the oldest packet is dropped.
    OVERFLOWED = enum.auto()
    #: Timestamps jumped: playout starts again with this packet.
    RESYNCHRONISED = enum.auto()


_BufferedPacket = tuple[int, int, RtpPacket]
"""The numbers of a packet without their wraps, in order: sequence and timestamp; and the packet."""


class JitterBuffer:
    """Holds the packets of one stream until they are due.

    Args:
        clock_rate: the RTP clock in Hz, in which all ``units`` are counted.
        immediate: hold no packet back for slower ones; see :attr:`immediate`.

    Attributes:
        discarded: packets that were dropped because too many waited.
        spare: units by which packets left later than needed, over the last half second; below zero,
            by which the last one left too early.
        immediate: while true, packets are due when they arrive.
        resumed: whether the peer paused before the packet that was taken last.
    """

    def __init__(self, clock_rate: int, *, immediate: bool = False) -> None:
        self.immediate = immediate
        self.discarded = 0
        self.spare = 0
        self.resumed = False
        self._clock_rate = clock_rate
        self._minimum = int(_SHORTEST_DELAY * clock_rate)
        self._maximum = int(LONGEST_DELAY * clock_rate)
        self._pause = int(_PAUSE_SECONDS * clock_rate)
        self._long_pause = int(_LONG_PAUSE_SECONDS * clock_rate)
        self._slack = int(_SLACK_SECONDS * clock_rate)
        self._early = int(_EARLY_SECONDS * clock_rate)
        self._initial = self._target = int(_INITIAL_DELAY * clock_rate)
        self.reset()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def target(self) -> float:
        """The target delay, in seconds."""
        return self._target / self._clock_rate

    @property
    def delay(self) -> float:
        """The delay of the packet taken last, beyond the fastest packet's transit, in seconds."""
        return max(0, self._target + self._excess) / self._clock_rate

    @property
    def following(self) -> RtpPacket | None:
        """The packet that waits next, None where none waits."""
        return self._entries[0][2] if self._entries else None

    @property
    def ready(self) -> bool:
        """Whether the packet that waits continues the sound, or begins it."""
        if not self._entries:
            return False
        if self._end is None or self._bridged >= self._pause:
            return True
        gap = self._entries[0][1] - self._end - self._bridged
        return gap <= self._slack or self._begins_talkspurt(self._entries[0])

    @property
    def flowing(self) -> bool:
        """Whether packets arrive; after 0.1 s without any, the stream pauses."""
        return self._end is not None and self._bridged < self._pause

    def reset(self) -> None:
        """Forget the stream. The next packet begins a new one, with the delay learned so far."""
        self._assumed = max(self._initial, self._target)
        self._entries: list[_BufferedPacket] = []
        #: The numbers of the newest packet, as in its entry; None before the first one.
        self._newest: tuple[int, int] | None = None
        #: The order of packets that held no sound, the oldest first.
        self._soundless: dict[int, None] = {}
        self._newest_arrival = 0
        self._taken = -1
        self._end: int | None = None
        self._bridged = 0
        self._begin_to_watch()
        self._forget_transits()

    def _forget_transits(self) -> None:
        self._recent: deque[int] = deque()
        self._ordered: list[int] = []
        self._due = 0
        #: Packets until the transit times after a long pause are known.
        self._settling = 0

    def _begin_to_watch(self) -> None:
        self.spare = self._excess = 0
        self._least_excess = self._maximum
        self._watched = 0

    # Arriving packets

    def push(self, packet: RtpPacket, arrival: float) -> PacketVerdict:
        """Put in a packet that arrived at ``arrival``, in seconds.

        The caller has dropped duplicates, and calls :meth:`reset` where sequence numbers restart
        (see ``SequenceTracker``).
        """
        arrived = int(arrival * self._clock_rate)
        newest = self._newest
        verdict = PacketVerdict.ACCEPTED
        behind = False
        if newest is None:
            order, timestamp = packet.sequence, packet.timestamp
        else:
            order, timestamp = newest
            # As sequence_difference() and timestamp_difference(), without two calls a packet.
            ahead = ((packet.sequence - order + 0x8000) & SEQUENCE_MASK) - 0x8000
            advance = ((packet.timestamp - timestamp + 0x80000000) & TIMESTAMP_MASK) - 0x80000000
            order += ahead
            timestamp += advance
            elapsed = arrived - self._newest_arrival
            if ahead > 0 and not -self._early <= elapsed - advance <= self._maximum:
                # No network delays like this, so the peer's timestamps have jumped.
                self.reset()
                newest = None
                verdict = PacketVerdict.RESYNCHRONISED
            else:
                # A packet queued behind a late one is late as well: a stall of the network counts
                # once, however many packets it delays.
                behind = ahead == 1 and 4 * elapsed < advance
                if elapsed > self._long_pause:
                    self._settling = _KNOWN
        transit = arrived - timestamp
        if self._settling:
            self._move_transits(transit)
        if not behind:
            if newest is not None and transit - self._due > self._maximum:
                # Too late even for the longest delay, and not by one jump: the peer's clock has
                # stopped again and again. The transit times so far no longer apply.
                self._forget_transits()
                self._begin_to_watch()
            self._note_transit(transit)
        elif transit < self._ordered[0]:
            self._note_transit(transit)
        if order <= self._taken:
            return PacketVerdict.LATE
        entries = self._entries
        if newest is None or order > newest[0]:
            self._newest = order, timestamp
            self._newest_arrival = arrived
            entries.append((order, timestamp, packet))
        else:
            insort(entries, (order, timestamp, packet))
        if len(entries) > _CAPACITY:
            del entries[0]
            return PacketVerdict.OVERFLOWED
        return verdict

    def _move_transits(self, transit: int) -> None:
        """After a long pause, keep the spread of transit times and forget their absolute values.

        The clocks of both ends have drifted apart meanwhile. The first packet counts as the
        fastest one until a faster one arrives.
        """
        first = self._settling == _KNOWN
        self._settling -= 1
        if not self._ordered:
            return
        moved = transit - self._ordered[0]
        if moved < 0 or first:
            self._recent = deque(one + moved for one in self._recent)
            self._ordered = [one + moved for one in self._ordered]

    def pass_over(self, sequence: int) -> None:
        """Note the number of a packet without sound, which is then not missing between others."""
        newest = self._newest
        if newest is None:
            return
        ahead = sequence_difference(sequence, newest[0] & SEQUENCE_MASK)
        if len(self._soundless) >= _MOST_SOUNDLESS:
            del self._soundless[next(iter(self._soundless))]
        self._soundless[newest[0] + ahead] = None

    def _note_transit(self, transit: int) -> None:
        """Keep the last transit times sorted, and derive the target from them (clock units)."""
        recent, ordered = self._recent, self._ordered
        if len(recent) < _REMEMBERED:
            insort(ordered, transit)
        elif (oldest := recent.popleft()) != transit:
            del ordered[bisect_left(ordered, oldest)]
            insort(ordered, transit)
        recent.append(transit)
        count = len(ordered)
        least = ordered[0]
        target = ordered[-1 - count // _LATE_ONE_OF] - least
        if count < _KNOWN:
            target = max(target, self._assumed)
        if target < self._minimum:
            target = self._minimum
        elif target > self._maximum:
            target = self._maximum
        if self.immediate:
            target = 0
        self._target = target
        self._due = least + target

    # Playing

    def take(self, now: float) -> RtpPacket | None:
        """Remove and return the packet that continues the sound, if it is there and due."""
        entries = self._entries
        if not entries:
            return None
        order, timestamp, packet = entries[0]
        excess = int(now * self._clock_rate) - timestamp - self._due
        if excess > self._maximum:
            excess = self._drop_stale(excess)
            order, timestamp, packet = entries[0]
        elif (end := self._end) is None or self._bridged >= self._pause:
            if excess < 0:
                return None
            self._begin_to_watch()
        elif timestamp - end > self._slack:
            if self._begins_talkspurt(entries[0]):
                if excess < 0:
                    return None
                self._begin_to_watch()
            elif timestamp - end - self._bridged > self._slack:
                return None
        self.resumed = (
            self._end is not None
            and timestamp - self._end > self._slack
            and self._begins_talkspurt(entries[0])
        )
        del entries[0]
        self._taken = order
        self._end = timestamp
        self._bridged = 0
        # A late tick must not count, so that an excess has to last for half a second; leaving too
        # early is noticed at once.
        self._excess = excess
        if excess < self._least_excess:
            self._least_excess = excess
        if self.spare < 0:
            self.spare = 0
        if excess < self.spare:
            self.spare = excess
        self._watched += 1
        if self._watched >= _WATCHED:
            self.spare = self._least_excess
            self._least_excess = excess
            self._watched = 0
        return packet

    def played(self, units: int) -> None:
        """Note the length of the packet that was taken last."""
        if self._end is not None:
            self._end += units

    def bridged(self, units: int) -> None:
        """Note that ``units`` were concealed after the end of the sound."""
        self._bridged += units

    def shift(self, units: int) -> None:
        """Note that all packets will leave ``units`` later, or earlier if below zero."""
        self.spare += units
        self._least_excess += units

    def missing(self) -> tuple[int, RtpPacket | None]:
        """How many units were lost before the packet that waits, and that packet.

        (0, None) where no packet waits, or the waiting packet begins a talkspurt: then nothing is
        known to be missing.
        """
        if self._end is None or not self._entries or self._begins_talkspurt(self._entries[0]):
            return 0, None
        _, timestamp, packet = self._entries[0]
        return max(0, timestamp - self._end - self._bridged), packet

    def _begins_talkspurt(self, entry: _BufferedPacket) -> bool:
        """Whether the peer paused before it: no number is missing, or the marker is set."""
        order, _, packet = entry
        if order == self._taken + 1 or packet.marker:
            return True
        between = range(self._taken + 1, order)
        soundless = self._soundless
        return len(between) <= len(soundless) and all(one in soundless for one in between)

    def _drop_stale(self, excess: int) -> int:
        """After a burst of old packets or a sleep of the machine, skip to what is due now."""
        entries = self._entries
        stale = 0
        while stale + 1 < len(entries) and excess > 0:
            excess -= entries[stale + 1][1] - entries[stale][1]
            stale += 1
        del entries[:stale]
        self.discarded += stale
        self._begin_to_watch()
        return excess
