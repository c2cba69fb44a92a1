"""Whose packets are believed: strict source learning for symmetric RTP.

Packets are taken from the address that was negotiated, which may always take over again. A peer
behind NAT sends from another one. Another port of the named host is followed at once; another host
only if it sounds like a stream, soon, and while the named host is silent. Anything else is
foreign, and what we send goes back to where the peer's packets come from. Otherwise anyone who
guesses a port could listen to a call, or talk into it.
"""

from __future__ import annotations

from typing import NamedTuple

from spech.addresses import Address
from spech.rtp.sequence import SEQUENCE_MASK

LEARNING = 10.0
"""Seconds after the negotiation in which another host may be latched onto."""

SILENCE = 3.0
"""Seconds of silence after which the same host may go on from another port (a NAT rebinding)."""

PROBATION = 4
"""Packets in sequence that make a stream of another host (RFC 3550 appendix A.1)."""

_MOST_CANDIDATES = 8


class _Candidate(NamedTuple):
    ssrc: int
    sequence: int
    packets: int


class SourceFilter:
    """Decides for one socket. ``destination`` is where to send."""

    def __init__(self) -> None:
        self._negotiated: Address | None = None
        self._latched: Address | None = None
        self._since: float | None = None
        self._heard = 0.0
        self._candidates: dict[Address, _Candidate] = {}

    @property
    def destination(self) -> Address | None:
        """The latched source, or else the negotiated address."""
        return self._latched or self._negotiated

    def is_candidate(self, source: Address) -> bool:
        """Whether ``source`` may yet turn out to be the peer behind NAT."""
        return source in self._candidates

    def negotiate(self, address: Address) -> None:
        """Take the address of an answer or a re-INVITE; an unchanged one keeps what was learned.

        While nothing was learned, the learning window opens anew.
        """
        if address != self._negotiated:
            self._negotiated = address
            self._latched = None
        if self._latched is None:
            self._since = None
            self._candidates.clear()

    def accepts(self, source: Address, ssrc: int, sequence: int, now: float) -> bool:
        """Whether a valid packet from ``source`` belongs to the stream; may latch onto it."""
        latched, negotiated = self._latched, self._negotiated
        if source == latched:
            self._heard = now
            return True
        if negotiated is None:
            return False
        if self._since is None:
            self._since = now
        if source == negotiated:
            believed = True
        elif latched is None:
            believed = source[0] == negotiated[0] or (
                now - self._since <= LEARNING and self._proves_itself(source, ssrc, sequence)
            )
        elif source[0] == latched[0]:
            believed = now - self._heard > SILENCE
        else:
            believed = source[0] == negotiated[0]
        if believed:
            self._latched = source
            self._heard = now
            self._candidates.clear()
        return believed

    def tick(self, now: float) -> None:
        """Start the learning window, if a negotiation has opened one, or end it."""
        if self._since is None:
            if self._negotiated is not None:
                self._since = now
        elif self._candidates and now - self._since > LEARNING:
            self._candidates.clear()

    def _proves_itself(self, source: Address, ssrc: int, sequence: int) -> bool:
        """Count packets of one SSRC in sequence; a single one proves nothing."""
        before = self._candidates.pop(source, None)
        packets = 1
        if (
            before is not None
            and before.ssrc == ssrc
            and sequence == (before.sequence + 1) & SEQUENCE_MASK
        ):
            packets = before.packets + 1
        if len(self._candidates) >= _MOST_CANDIDATES:
            # The one that was silent longest goes, so that a flood cannot keep the peer out.
            del self._candidates[next(iter(self._candidates))]
        self._candidates[source] = _Candidate(ssrc, sequence, packets)
        return packets >= PROBATION
