"""When to send RTCP (RFC 3550 section 6.3), in a session of two: ourselves and one peer."""

from __future__ import annotations

import random
from collections import deque
from typing import Final

MINIMUM_INTERVAL: Final = 5.0
"""Seconds between two reports on the average, before compensation (section 6.2)."""

_COMPENSATION: Final = 1.21828  # e - 3/2, section 6.3.1
_BANDWIDTH: Final = 400.0  # bytes per second: 5 % of a call of 64 kbit/s (section 6.2)
_OVERHEAD: Final = 28  # of UDP and IP
_USUAL_SIZE: Final = 120.0
#: Intervals of silence after which a sender and a member time out (section 6.3.5).
_SENDER_INTERVALS: Final = 2
_MEMBER_INTERVALS: Final = 5


def fixed_interval(
    *, members: int, senders: int, we_sent: bool, average_size: float, initial: bool
) -> float:
    """Seconds between reports, before they are spread (section 6.3.1 and appendix A.7).

    Args:
        members: sources in the session, including ourselves.
        senders: those of them that send.
        we_sent: whether we are one of the senders.
        average_size: bytes of an RTCP datagram with its UDP and IP headers, averaged.
        initial: no report was sent yet, which halves the minimum.
    """
    share = _BANDWIDTH
    sharing = members
    if senders <= members * 0.25:
        share = _BANDWIDTH * (0.25 if we_sent else 0.75)
        sharing = senders if we_sent else members - senders
    minimum = MINIMUM_INTERVAL / 2 if initial else MINIMUM_INTERVAL
    return max(minimum, average_size * sharing / share)


def spread(interval: float, rng: random.Random) -> float:
    """Randomised to 0.5 to 1.5 times its length, compensated for reconsideration (6.3.1)."""
    return interval * (rng.random() + 0.5) / _COMPENSATION


class Schedule:
    """The RTCP timer of one participant. :meth:`due` is called a few times a second.

    Attributes:
        peer_present: whether the peer was heard recently and has not sent BYE.
    """

    def __init__(self, rng: random.Random) -> None:
        self.peer_present = False
        self._rng = rng
        self._previous = 0.0
        self._next: float | None = None
        self._initial = True
        self._average_size = _USUAL_SIZE
        self._sent = 0
        self._sent_at_reports: deque[int] = deque([0, 0], maxlen=2)
        self._received = 0
        self._heard_at = self._sound_at = 0.0

    @property
    def we_sent(self) -> bool:
        """Whether we sent within the last two intervals (section 6.3.8)."""
        return self._sent > self._sent_at_reports[0]

    @property
    def began(self) -> bool:
        """Whether a report was sent."""
        return not self._initial

    def count(self, sent: int, received: int, now: float) -> None:
        """Note the RTP packets sent and received so far."""
        self._sent = sent
        if received != self._received:
            self._received = received
            self._sound_at = now
            self._heard(now)

    def due(self, now: float) -> bool:
        """Whether to report now (section 6.3.6)."""
        if self._next is None:
            self._previous = now
            self._next = now + spread(self._fixed(now), self._rng)
        if self.peer_present and now - self._heard_at > _MEMBER_INTERVALS * self._fixed(now):
            self.peer_present = False
        if now < self._next:
            return False
        # Timer reconsideration: the session may have grown meanwhile.
        self._next = self._previous + spread(self._fixed(now), self._rng)
        return now >= self._next

    def reported(self, size: int, now: float) -> None:
        """Note that a report of ``size`` bytes was sent."""
        self._note_size(size)
        self._initial = False
        self._sent_at_reports.append(self._sent)
        self._previous = now
        self._next = now + spread(self._fixed(now), self._rng)

    def count_received(self, size: int, now: float) -> None:
        """Note that ``size`` bytes of RTCP came from the peer."""
        self._note_size(size)
        self._heard(now)

    def leave(self) -> None:
        """Note the peer's BYE. With two members the interval is the minimum before and after, so
        that reverse reconsideration changes nothing (section 6.3.4)."""
        self.peer_present = False
        self._sound_at = -float("inf")

    def _heard(self, now: float) -> None:
        self._heard_at = now
        self.peer_present = True

    def _note_size(self, size: int) -> None:
        self._average_size += (size + _OVERHEAD - self._average_size) / 16

    def _fixed(self, now: float) -> float:
        sounding = now - self._sound_at <= _SENDER_INTERVALS * MINIMUM_INTERVAL
        return fixed_interval(
            members=1 + self.peer_present,
            senders=self.we_sent + (self.peer_present and sounding),
            we_sent=self.we_sent,
            average_size=self._average_size,
            initial=self._initial,
        )
