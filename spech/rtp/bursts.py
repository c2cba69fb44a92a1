"""Bursts and gaps: how losses are spread over a call (RFC 3611 section 4.7.2).

A burst begins and ends with a loss, and fewer than sixteen packets in a row arrive in it. A loss
that stands alone belongs to the gap around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GMIN: Final = 16
"""Packets in a row that end a burst; what RFC 3611 recommends."""


@dataclass(frozen=True, slots=True)
class BurstSummary:
    """Densities are shares of packets lost, 0 to 1; lengths are means, in packets.

    ``ratio`` is BurstR of ITU-T G.107 section 7.5: the mean number of packets lost in a row,
    relative to what it would be if each were lost by chance. It is 1 for random loss.
    """

    burst_density: float = 0.0
    gap_density: float = 0.0
    burst_length: float = 0.0
    gap_length: float = 0.0
    ratio: float = 1.0


class Bursts:
    """Takes packets in the order of their sequence numbers: arrived, or not."""

    def __init__(self) -> None:
        self._packets = 0
        self._lost = 0
        self._runs = 0
        self._bursts = 0
        self._burst_packets = 0
        self._burst_lost = 0
        # The group of losses that may yet become a burst, and what arrived since the last of them.
        self._group_packets = 0
        self._group_lost = 0
        self._since = GMIN

    def arrived(self, count: int) -> None:
        """``count`` packets in a row arrived."""
        self._packets += count
        self._since += count

    def lost(self, count: int = 1) -> None:
        """``count`` packets in a row, at least one, did not arrive, or came too late."""
        self._packets += count
        self._lost += count
        if self._since:
            self._runs += 1
        if self._since >= GMIN:
            self._close()
            self._group_packets = self._group_lost = count
        else:
            self._group_packets += self._since + count
            self._group_lost += count
        self._since = 0

    def _close(self) -> None:
        if self._group_lost > 1:
            self._bursts += 1
            self._burst_packets += self._group_packets
            self._burst_lost += self._group_lost

    def summary(self) -> BurstSummary:
        """The whole call so far; a burst that is not over counts as it stands."""
        if not self._lost:
            return BurstSummary(gap_length=self._packets)
        open_burst = self._group_lost > 1
        bursts = self._bursts + open_burst
        packets = self._burst_packets + open_burst * self._group_packets
        lost = self._burst_lost + open_burst * self._group_lost
        gap_packets = self._packets - packets
        share = self._lost / self._packets
        return BurstSummary(
            burst_density=lost / packets if packets else 0.0,
            gap_density=(self._lost - lost) / gap_packets if gap_packets else 0.0,
            burst_length=packets / bursts if bursts else 0.0,
            gap_length=gap_packets / (bursts + 1),
            ratio=max(1.0, self._lost / self._runs * (1.0 - share)),
        )
