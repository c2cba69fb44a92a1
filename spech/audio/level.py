"""How loud a sound is."""

from __future__ import annotations

import math

import numpy as np

from spech.codecs.base import Samples

SILENCE = -96.0
"""dBFS of digital silence, and the lowest level that is reported."""


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
