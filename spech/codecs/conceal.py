"""Concealment for codecs that have none of their own: repeat the last pitch period and fade.

The idea of ITU-T G.711 Appendix I, reduced: the period is found in the last 40 ms that were
heard, repeated for as long as nothing comes, and faded out between 20 ms and 80 ms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spech.codecs.base import Samples

_SHORTEST_PERIOD_MS = 2.5
_LONGEST_PERIOD_MS = 15.0
_COMPARED_MS = 5.0
_FULL_MS = 20.0
_SILENT_MS = 80.0


class Concealer:
    """Remembers the last two frames of one stream and extends them on demand."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._previous: Samples = np.zeros(0, np.int16)
        self._last: Samples = np.zeros(0, np.int16)
        self._period: NDArray[np.float32] | None = None
        self._position = 0

    def heard(self, pcm: Samples) -> None:
        """Remember a frame that was decoded. The array must not be changed afterwards."""
        self._previous = self._last
        self._last = pcm
        self._period = None

    def extend(self, samples: int) -> Samples:
        """Return ``samples`` samples that go on where the last frame ended, fading to silence."""
        if self._period is None:
            self._period = self._find_period()
            self._position = 0
        length = len(self._period)
        position = self._position
        self._position += samples
        silent = self._rate * _SILENT_MS / 1000
        if not length or position >= silent:
            return np.zeros(samples, np.int16)
        index = np.arange(position, position + samples)
        full = self._rate * _FULL_MS / 1000
        gain = np.clip((silent - index) / (silent - full), 0.0, 1.0)
        extended: Samples = (self._period[index % length] * gain).astype(np.int16)
        return extended

    def _find_period(self) -> NDArray[np.float32]:
        """The last pitch period: the lag at which the newest samples resemble the older ones."""
        history = np.concatenate((self._previous, self._last)).astype(np.float32)
        compared = int(self._rate * _COMPARED_MS / 1000)
        shortest = int(self._rate * _SHORTEST_PERIOD_MS / 1000)
        longest = min(int(self._rate * _LONGEST_PERIOD_MS / 1000), len(history) - compared)
        if longest <= shortest:
            return history
        newest = history[-compared:]
        older = history[-compared - longest : -shortest]
        products = np.correlate(older, newest, "valid")
        energy = np.convolve(older * older, np.ones(compared, np.float32), "valid")
        likeness = products / np.sqrt(energy + 1.0)
        lag = longest - int(np.argmax(likeness[: longest - shortest + 1]))
        return history[-lag:]
