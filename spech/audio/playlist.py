"""Sounds that play one after the other."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np

from spech.codecs.base import Samples


class Source(Protocol):
    """A sound that is read tick by tick. Its methods return at once."""

    def read(self, samples: int, rate: int) -> Samples:
        """Return the next ``samples`` samples at ``rate`` Hz; fewer only at the end."""
        ...

    def close(self) -> None:
        """Release what it holds; may be called again."""
        ...


class Playlist:
    """Files and tones that play one after the other, without a gap."""

    def __init__(self) -> None:
        self._players: deque[Source] = deque()

    def __bool__(self) -> bool:
        return bool(self._players)

    def queue(self, source: Source) -> None:
        """Queue a sound after the others."""
        self._players.append(source)

    def read(self, samples: int, rate: int) -> Samples:
        """Return the next ``samples`` samples at ``rate`` Hz; silence follows the last sound."""
        parts: list[Samples] = []
        wanted = samples
        while self._players and wanted:
            part = self._players[0].read(wanted, rate)
            parts.append(part)
            wanted -= len(part)
            if wanted:
                self._players.popleft().close()
        if wanted:
            parts.append(np.zeros(wanted, np.int16))
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def clear(self) -> None:
        """Close and drop all sounds."""
        while self._players:
            self._players.popleft().close()
