"""How much may be sent to a UDP source before it has shown that it receives us.

The source of a datagram can be forged. An INVITE in the name of a third party would aim our
responses, which RFC 3261 has us repeat for 32 s, and the sound of a call at it. So all that a call
of an unknown UDP source makes us send, SIP and RTP together, is bounded by what came from there,
until something comes that only a receiver of our messages can send.
"""

from __future__ import annotations

import enum
from typing import Final

FACTOR: Final = 10
"""So many times the bytes that came may be sent."""


class Purpose(enum.Enum):
    """What is sent; the value is the share of the allowance that has to be left afterwards.

    The first copies of the answer matter most, because the ACK that lifts the limit follows them.
    They are sent before the sound begins and while half is kept back for them.
    """

    SOUND = 0.5
    RESPONSE = 0.1
    FAREWELL = 0.0


class Allowance:
    """What one call may cost a peer that has proved nothing. Sizes are bytes of UDP payload.

    Args:
        ipv6: whether the datagrams have IPv6 headers, which count as well.

    Attributes:
        proven: whether the peer is known to receive us. Nothing is limited then.
        exceeded: datagrams that were not sent.
    """

    def __init__(self, *, ipv6: bool = False) -> None:
        self.proven = False
        self.exceeded = 0
        self._headers = 48 if ipv6 else 28
        self._total = 0
        self._left = 0

    def earn(self, size: int) -> None:
        """A datagram of the peer came."""
        self._total += FACTOR * (size + self._headers)
        self._left += FACTOR * (size + self._headers)

    def covers(self, size: int, purpose: Purpose) -> bool:
        """Whether a datagram may be sent; counts it."""
        if self.proven:
            return True
        left = self._left - size - self._headers
        if left < self._total * purpose.value:
            self.exceeded += 1
            return False
        self._left = left
        return True
