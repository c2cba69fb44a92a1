"""The losses of a whole session, in which the peer may change its source."""

from __future__ import annotations

from spech.rtp.bursts import Bursts, BurstSummary
from spech.rtp.sequence import SequenceTracker


class Losses:
    """Adds up the losses of one source after the other.

    Attributes:
        earlier_lost: packets that the sources before the present one lost.
        earlier_expected: packets that they sent, judging by their numbers.
    """

    def __init__(self) -> None:
        self.earlier_lost = 0
        self.earlier_expected = 0
        self._bursts = Bursts()

    def bursts(self, sequence: SequenceTracker) -> BurstSummary:
        """How all losses so far are spread, those of the present source included."""
        self._settle(sequence)
        return self._bursts.summary()

    def close(self, sequence: SequenceTracker) -> None:
        """Another source takes the place of the present one."""
        self._settle(sequence)
        self.earlier_lost += sequence.lost
        self.earlier_expected += sequence.expected

    def _settle(self, sequence: SequenceTracker) -> None:
        gone, came = sequence.settle()
        if gone:
            self._bursts.lost(gone)
        if all(came):
            self._bursts.arrived(len(came))
            return
        for one in came:
            if one:
                self._bursts.arrived(1)
            else:
                self._bursts.lost()
