"""Gain without clicks, and a limiter in place of clipping."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from spech.codecs.base import Samples

Wide = NDArray[np.int32] | NDArray[np.float32]

# Half a decibel below full scale, because codecs and resamplers overshoot a little.
_CEILING = 32767 * 10 ** (-0.5 / 20)
_ATTACK_SHARE = 8
_RELEASE = 10 ** (0.4 / 20)


class Gain:
    """The gain of a stream of sound, tick by tick.

    A change is spread over the next tick, 20 ms, so that it makes no click. A :class:`Limiter`
    prevents clipping.

    Attributes:
        decibels: the gain, 0 for unchanged sound.
        muted: while true, the sound is silence; the gain is kept.
    """

    def __init__(self, decibels: float = 0.0) -> None:
        self.muted = False
        self._limiter = Limiter()
        self.decibels = decibels
        self._factor = self._target

    @property
    def decibels(self) -> float:
        return self._decibels

    @decibels.setter
    def decibels(self, decibels: float) -> None:
        self._decibels = decibels
        self._target = 10 ** (decibels / 20)

    def process(self, pcm: Samples) -> Samples:
        """Return the next tick at the present gain."""
        target = 0.0 if self.muted else self._target
        before, self._factor = self._factor, target
        if before == target:
            if target == 1.0:
                return pcm
            return self._limiter.process(pcm * np.float32(target))
        ramp = before + np.float32(target - before) * _rise(len(pcm))
        return self._limiter.process(pcm * ramp)


class Limiter:
    """Attenuates sound that exceeds 16 bits, and recovers afterwards.

    A sum of loud voices is attenuated as a whole for a moment, because clipping would be heard as a
    crackle. The attack takes 2.5 ms, in which peaks may still be clipped; the release is 20 dB a
    second. Nothing is delayed, and sound that fits passes unchanged.
    """

    def __init__(self) -> None:
        self._gain = 1.0

    def process(self, wide: Wide) -> Samples:
        """Return the next tick; its samples may exceed 16 bits."""
        peak = max(float(wide.max()), -float(wide.min()))
        wanted = 1.0 if peak <= _CEILING else _CEILING / peak
        before = self._gain
        if wanted >= 1.0 and before >= 1.0:
            return wide.astype(np.int16)
        if wanted < before:
            ramp = np.full(len(wide), wanted, np.float32)
            attack = len(wide) // _ATTACK_SHARE
            ramp[:attack] += np.float32(before - wanted) * (1 - _rise(attack))
            self._gain = wanted
        else:
            self._gain = min(wanted, before * _RELEASE)
            ramp = before + np.float32(self._gain - before) * _rise(len(wide))
        limited: Samples = np.clip(wide * ramp, -32768, 32767).astype(np.int16)
        return limited


@lru_cache(maxsize=64)
def _rise(samples: int) -> NDArray[np.float32]:
    """From 0 to 1 in even steps. The array is shared; do not write to it."""
    rise = np.linspace(0, 1, samples, dtype=np.float32)
    rise.flags.writeable = False
    return rise
