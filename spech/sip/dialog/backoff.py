"""The pauses of requests that are repeated for as long as a program runs: REGISTER, SUBSCRIBE."""

from __future__ import annotations

import random
from typing import Final

#: Seconds before the next attempt after the first, second, ... one in a row that no server
#: answered, that failed with 408, or whose connection broke.
_SILENCE: Final[tuple[float, ...]] = (5.0, 10.0, 20.0)
#: The same where a server refused.
_REFUSAL: Final[tuple[float, ...]] = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0)


class BackOff:
    """Says how long to wait before the next attempt. It has a floor and no end.

    A server that asks for a longer pause gets it, up to the longest one here; one that asks for a
    shorter pause does not. The pauses are spread, so that the clients of a server that failed do
    not all come back at once.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._silences = self._refusals = 0

    def reset(self) -> None:
        """Start again with the shortest pauses."""
        self._silences = self._refusals = 0

    def after_silence(self) -> float:
        """Seconds to wait where no server answered."""
        self._silences += 1
        return _SILENCE[min(self._silences, len(_SILENCE)) - 1] * self._rng.uniform(0.7, 1.0)

    def after_refusal(self, retry_after: int | None = None) -> float:
        """Seconds to wait where a server refused and asked for ``retry_after`` (RFC 3261 20.33)."""
        self._refusals += 1
        pause = _REFUSAL[min(self._refusals, len(_REFUSAL)) - 1] * self._rng.uniform(0.8, 1.0)
        return min(max(pause, float(retry_after or 0)), _REFUSAL[-1])
