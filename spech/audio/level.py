"""Levels of sound."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import numpy as np

from spech.codecs.base import Samples

SILENCE = -96.0
"""dBFS of digital silence, and the lowest level that is reported."""

_FALL = 20.0
_FRAMES = 5


def dbfs(pcm: Samples) -> float:
    """The level of a sound in dBFS: root mean square, 0 for a full-scale square wave.

    A full-scale sine has -3.01 dBFS. No samples are silence.
    """
    if not len(pcm):
        return SILENCE
    wide = pcm.astype(np.float32)
    square = float(np.dot(wide, wide)) / len(pcm)
    if square < 1.0:
        return SILENCE
    return 10 * math.log10(square / 32768**2)


def peak(pcm: Samples) -> float:
    """The highest sample of a sound in dBFS, 0 for full scale. No samples are silence."""
    if not len(pcm):
        return SILENCE
    highest = max(int(pcm.max()), -int(pcm.min()))
    return SILENCE if highest == 0 else max(SILENCE, 20 * math.log10(highest / 32768))


class Meter:
    """Measures the level of a stream of sound over its last 100 ms."""

    def __init__(self) -> None:
        self._frames: deque[Samples] = deque(maxlen=_FRAMES)
        #: Takes the next 20 ms.
        self.measure: Final = self._frames.append
        self._shown = SILENCE
        self._at = 0.0

    @property
    def level(self) -> float:
        """Root mean square in dBFS."""
        return dbfs(np.concatenate(self._frames)) if self._frames else SILENCE

    def peak(self, now: float) -> float:
        """The reading of a peak meter in dBFS: it rises at once and falls by 20 dB a second."""
        present = peak(np.concatenate(self._frames)) if self._frames else SILENCE
        fallen = self._shown - _FALL * (now - self._at)
        self._shown, self._at = max(present, fallen, SILENCE), now
        return self._shown
