"""Whose packets are believed: strict source learning for symmetric RTP.

Packets are taken from the address that was negotiated. A peer behind NAT sends from another one;
it is latched onto if it is heard first and soon. From then on anything else is foreign, and what
we send goes back to where the peer's packets come from. Otherwise anyone who guesses a port could
listen to a call, or talk into it.
"""

from __future__ import annotations

Address = tuple[str, int]

LEARNING = 10.0
"""Seconds after the negotiation in which another host may be latched onto."""

SILENCE = 3.0
"""Seconds of silence after which the same host may go on from another port (a NAT rebinding)."""


class SourceFilter:
    """Decides for one socket. ``destination`` is where to send."""

    def __init__(self) -> None:
        self._negotiated: Address | None = None
        self._latched: Address | None = None
        self._since: float | None = None
        self._heard = 0.0

    @property
    def destination(self) -> Address | None:
        """The latched source, or else the negotiated address."""
        return self._latched or self._negotiated

    @property
    def latched(self) -> Address | None:
        """The source that packets are taken from, once one was heard."""
        return self._latched

    def negotiate(self, address: Address) -> None:
        """Take the address of an answer or a re-INVITE; an unchanged one keeps what was learned."""
        if address == self._negotiated:
            return
        self._negotiated = address
        self._latched = None
        self._since = None

    def accepts(self, source: Address, now: float) -> bool:
        """Whether a valid packet from ``source`` belongs to the stream; may latch onto it."""
        if source == self._latched:
            self._heard = now
            return True
        if self._negotiated is None:
            return False
        if self._since is None:
            self._since = now
        learning = now - self._since <= LEARNING
        if source == self._negotiated:
            # The address that was signalled wins over a stranger who was merely faster.
            believed = self._latched is None or learning or self._rebound(source, now)
        elif self._latched is None:
            believed = learning or source[0] == self._negotiated[0]
        else:
            believed = self._rebound(source, now)
        if believed:
            self._latched = source
            self._heard = now
        return believed

    def tick(self, now: float) -> None:
        """Start the learning window, if a negotiation has opened one."""
        if self._since is None and self._negotiated is not None:
            self._since = now

    def _rebound(self, source: Address, now: float) -> bool:
        if self._latched is None:
            return False
        return source[0] == self._latched[0] and now - self._heard > SILENCE
