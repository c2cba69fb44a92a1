"""Whose packets are believed: strict source learning for symmetric RTP.

Packets are taken from the negotiated address, which may always take over again. A peer behind NAT
sends from another one. Another port of the negotiated host is followed at once; another host only
if it sends a stream, shortly after the negotiation, and while the negotiated host is silent. All
other sources are foreign, and we send to the address that the peer's packets come from. Otherwise
anyone who guesses a port could listen to a call, or speak into it.

An address that a re-INVITE has just replaced still sends late packets. They are played, but they do
not move our sending back; only a stream that goes on for seconds does (a NAT in front of a peer
whose private address has changed).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from spech.addresses import Address
from spech.rtp.sequence import SEQUENCE_MASK

LEARNING: Final = 10.0
"""Seconds after the negotiation in which another host may be latched onto."""

SOURCE_TIMEOUT: Final = 3.0
"""Seconds of silence after which the same host may continue from another port (NAT rebinding)."""

PROBATION: Final = 4
"""Packets in sequence that make a stream of another host (RFC 3550 appendix A.1)."""

LONG_PROBATION: Final = 2.0
"""Seconds for which a replaced address has to go on sending until it is followed again."""

_LONG_PROBATION_PACKETS: Final = 40
#: Packets that may be lost between two of a replaced address.
_MOST_LOST: Final = 20
_MOST_CANDIDATES: Final = 8


class _Candidate(NamedTuple):
    ssrc: int
    sequence: int
    packets: int


class SourceFilter:
    """Decides for one socket.

    Args:
        symmetric: follow the peer's packets. Otherwise we send to the negotiated address only, and
            believe its host only.

    Attributes:
        latched: the source that is believed, None before the first packet after a negotiation.
        heard: when its last packet came.
        destination: where to send: the latched source, or the negotiated address until there is
            one.
        learning: whether :meth:`tick` has something to do.
    """

    def __init__(self, *, symmetric: bool = True) -> None:
        self.latched: Address | None = None
        self.heard = 0.0
        self.destination: Address | None = None
        self.learning = False
        self._symmetric = symmetric
        self._negotiated: Address | None = None
        #: The source that was believed until the last negotiation named another address.
        self._replaced: Address | None = None
        self._since: float | None = None
        self._candidates: dict[Address, _Candidate] = {}

    def is_candidate(self, source: Address) -> bool:
        """Whether ``source`` may yet turn out to be the peer behind NAT."""
        return source in self._candidates

    def negotiate(self, address: Address) -> None:
        """Take the address of an answer or a re-INVITE; an unchanged one keeps what was learned.

        While nothing was learned, the learning window opens again.
        """
        if address != self._negotiated:
            replaced = self.latched or self._replaced
            self._replaced = None if replaced == address else replaced
            self._negotiated = self.destination = address
            self.latched = None
        if self.latched is None:
            self._since = None
            self._candidates.clear()
            self.learning = True

    def latch(self, source: Address, now: float) -> None:
        """Latch onto a source that has proved to be the peer, by the certificate it has shown."""
        self.latched = source
        self.heard = now
        if self._symmetric:
            self.destination = source
        self._candidates.clear()
        self.learning = False

    def accepts(self, source: Address, ssrc: int, sequence: int, now: float) -> bool:
        """Whether a valid packet from ``source`` belongs to the stream; may latch onto it."""
        latched, negotiated = self.latched, self._negotiated
        if source == latched:
            self.heard = now
            return True
        if negotiated is None:
            return False
        if self._since is None:
            self._since = now
        if source == self._replaced:
            return self._accepts_replaced(source, ssrc, sequence, now)
        if source == negotiated:
            believed = True
        elif not self._symmetric:
            believed = source[0] == negotiated[0]
        elif latched is None:
            believed = source[0] == negotiated[0] or (
                now - self._since <= LEARNING
                and self._count(source, ssrc, sequence, most_lost=0) >= PROBATION
            )
        elif source[0] == latched[0]:
            believed = now - self.heard > SOURCE_TIMEOUT
        else:
            believed = source[0] == negotiated[0]
        if believed:
            self.latch(source, now)
        return believed

    def tick(self, now: float) -> None:
        """Open the learning window after a negotiation, or close it."""
        if self._since is None:
            self._since = now
        elif now - self._since > LEARNING:
            self.learning = False
            if not self._replaced:
                self._candidates.clear()

    def _accepts_replaced(self, source: Address, ssrc: int, sequence: int, now: float) -> bool:
        """Judge a packet from an address that the last negotiation has replaced."""
        assert self._since is not None
        if self.latched is not None and now - self.heard <= SOURCE_TIMEOUT:
            return False
        packets = self._count(source, ssrc, sequence, most_lost=_MOST_LOST)
        age = now - self._since
        if self._symmetric and age >= LONG_PROBATION and packets >= _LONG_PROBATION_PACKETS:
            self._replaced = None
            self.latch(source, now)
            return True
        return self.latched is None and age < LONG_PROBATION

    def _count(self, source: Address, ssrc: int, sequence: int, most_lost: int) -> int:
        """Count packets of one SSRC in sequence; a single one proves nothing."""
        before = self._candidates.pop(source, None)
        packets = 1
        if (
            before is not None
            and before.ssrc == ssrc
            and 0 < (sequence - before.sequence) & SEQUENCE_MASK <= 1 + most_lost
        ):
            packets = before.packets + 1
        if len(self._candidates) >= _MOST_CANDIDATES:
            # The one that was silent longest goes, so that a flood cannot keep the peer out.
            del self._candidates[next(iter(self._candidates))]
        self._candidates[source] = _Candidate(ssrc, sequence, packets)
        return packets
