"""Sequence numbers and timestamps that wrap, and what an arriving sequence number means.

The rules are those of RFC 3550 appendix A.1, with one addition: a bit map of the last 256 sequence
numbers distinguishes a duplicate from a reordered packet.
"""

from __future__ import annotations

import enum

SEQUENCE_MASK = 0xFFFF
TIMESTAMP_MASK = 0xFFFFFFFF

_MAX_DROPOUT = 3000
_MAX_MISORDER = 100
_REMEMBERED = 256
# How far behind the latest one a packet may be before it counts as lost. A second of packets and
# this many have to fit into the bit map.
_OVERTAKEN = 32
_REMEMBERED_MASK = (1 << _REMEMBERED) - 1


def sequence_difference(later: int, earlier: int) -> int:
    """How far ``later`` is ahead of ``earlier``, as a signed number of 16 bits."""
    return ((later - earlier + 0x8000) & SEQUENCE_MASK) - 0x8000


def timestamp_difference(later: int, earlier: int) -> int:
    """How far ``later`` is ahead of ``earlier``, as a signed number of 32 bits."""
    return ((later - earlier + 0x80000000) & TIMESTAMP_MASK) - 0x80000000


class SequenceStatus(enum.Enum):
    """The meaning of an arriving sequence number."""

    #: The next one, or one with a gap before it.
    NEW = enum.auto()
    #: Behind a later one, and not seen before.
    REORDERED = enum.auto()
    #: Seen before.
    DUPLICATE = enum.auto()
    #: Far from all others. It is dropped, unless the next one follows it.
    STRAY = enum.auto()
    #: The first of a source, or the second after a jump: counting restarts.
    RESTARTED = enum.auto()


class SequenceTracker:
    """Follows the sequence numbers of one source, and counts for its reports.

    ``highest`` is the extended highest sequence number: the number of wraps in the upper bits.
    ``received`` counts packets without duplicates since the source started.
    """

    def __init__(self) -> None:
        self.highest = -1
        self.received = 0
        self.duplicates = 0
        self._base = 0
        self._seen = 0
        self._after_jump = -1
        self._settled = -1
        self._discarded: set[int] = set()

    @property
    def expected(self) -> int:
        """How many packets the source has sent, by its sequence numbers."""
        return self.highest - self._base + 1 if self.highest >= 0 else 0

    @property
    def lost(self) -> int:
        """How many of them have not arrived."""
        return max(0, self.expected - self.received)

    def discard(self, sequence: int) -> None:
        """Note that a packet, though counted as received, came too late to be played."""
        self._discarded.add(self.highest - ((self.highest - sequence) & SEQUENCE_MASK))

    def settle(self) -> tuple[int, list[bool]]:
        """How many packets were lost first, and whether each one that follows came in time.

        They are in the order of their numbers, and each is returned once. The last 32 may still
        arrive and are returned next time; those before the last 256 are no longer known, and count
        as lost. The peer chooses the numbers, and may jump by millions in a second.
        """
        end = self.highest - _OVERTAKEN
        before = self._settled + 1
        if end < before:
            return 0, []
        self._settled = end
        first = max(before, self.highest - _REMEMBERED + 1)
        seen = self._seen >> _OVERTAKEN
        came = [bool(seen >> (end - number) & 1) for number in range(first, end + 1)]
        if self._discarded:
            for number in self._discarded:
                if first <= number <= end:
                    came[number - first] = False
            self._discarded = {number for number in self._discarded if number > end}
        return first - before, came

    def is_far(self, sequence: int) -> bool:
        """Whether a number is so far from the others that it belongs to another sequence."""
        ahead = (sequence - self.highest) & SEQUENCE_MASK
        return self.highest >= 0 and _MAX_DROPOUT <= ahead < 0x10000 - _MAX_MISORDER

    def update(self, sequence: int) -> SequenceStatus:
        """Take the sequence number of a packet that arrived."""
        highest = self.highest
        if highest < 0:
            return self._restart(sequence)
        ahead = (sequence - highest) & SEQUENCE_MASK
        if ahead == 0:
            self.duplicates += 1
            return SequenceStatus.DUPLICATE
        if ahead < _MAX_DROPOUT:
            self.highest = highest + ahead
            self._seen = (
                ((self._seen << ahead) | 1) & _REMEMBERED_MASK if ahead < _REMEMBERED else 1
            )
            self.received += 1
            return SequenceStatus.NEW
        behind = 0x10000 - ahead
        if behind > _MAX_MISORDER:
            if sequence == self._after_jump:
                return self._restart(sequence)
            self._after_jump = (sequence + 1) & SEQUENCE_MASK
            return SequenceStatus.STRAY
        bit = 1 << behind
        if self._seen & bit:
            self.duplicates += 1
            return SequenceStatus.DUPLICATE
        self._seen |= bit
        if highest - behind >= self._base:
            self.received += 1
        return SequenceStatus.REORDERED

    def _restart(self, sequence: int) -> SequenceStatus:
        self.highest = self._base = sequence
        self.received = 1
        self._seen = 1
        self._after_jump = -1
        self._settled = sequence - 1
        self._discarded.clear()
        return SequenceStatus.RESTARTED
