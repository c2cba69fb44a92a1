"""Sums of sounds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from spech.codecs.base import Samples


def mix(sounds: Sequence[Samples], samples: int) -> Samples:
    """Add sounds of ``samples`` samples each, with clipping.

    Without a sound the result is silence; a single sound is returned unchanged.
    """
    if not sounds:
        return np.zeros(samples, np.int16)
    if len(sounds) == 1:
        return sounds[0]
    total = np.zeros(samples, np.int32)
    for sound in sounds:
        total += sound
    return np.clip(total, -32768, 32767).astype(np.int16)


@lru_cache(maxsize=16)
def _ramp(samples: int) -> NDArray[np.float32]:
    return np.linspace(0.0, 1.0, samples, dtype=np.float32)


def overlap(earlier: Samples, later: Samples) -> Samples:
    """Fade from one sound of equal length into the other."""
    fade = _ramp(len(earlier))
    mixed: Samples = (earlier * (1 - fade) + later * fade).astype(np.int16)
    return mixed
