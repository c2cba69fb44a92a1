"""How much may be sent to an address before anything shows that its owner wants it.

A forged source address in an INVITE can direct a call's sound at a third party. Until an ACK or a
packet of the peer has come, the third party gets at most half a second of sound and a few thousand
bytes, which makes this useless for a flood.
"""

from __future__ import annotations

from typing import Final

UNCONFIRMED_SECONDS: Final = 0.5
UNCONFIRMED_BYTES: Final = 3000
"""Bytes on the wire, with IP and UDP headers: ten times those of a small INVITE."""

_HEADERS: Final = 28


class Allowance:
    """Counts what is sent while the peer is unconfirmed.

    Attributes:
        exceeded: datagrams that were not sent.
    """

    def __init__(self) -> None:
        self.exceeded = 0
        self._left = UNCONFIRMED_BYTES
        self._began: float | None = None

    def covers(self, size: int, now: float) -> bool:
        """Whether a datagram of ``size`` bytes may be sent at ``now``, in seconds; counts it."""
        if self._began is None:
            self._began = now
        if now - self._began >= UNCONFIRMED_SECONDS or size + _HEADERS > self._left:
            self.exceeded += 1
            return False
        self._left -= size + _HEADERS
        return True
