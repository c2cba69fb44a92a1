"""The volume of one direction of a call: manual gain, and automatic gain control."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from spech.audio.gain import Gain
from spech.audio.level import dbfs
from spech.codecs.base import Samples

TARGET: Final = -19.0
"""The target of automatic gain control: the active speech level (ITU-T P.56), in dBFS."""

_MOST: Final = 30.0
_LEAST: Final = -20.0
#: Decibels by which speech stands out from the quietest moment of the last 1.5 s.
_MARGIN: Final = 9.0
_WINDOW: Final = 75
_SOON: Final = 25
_FAINTEST: Final = -65.0
#: The highest level to which noise between words may be amplified.
_LOUDEST_NOISE: Final = -45.0
#: Ticks of speech over which its level is averaged.
_AVERAGED: Final = 100
_UP: Final = 6.0 / 50
_DOWN: Final = 12.0 / 50


class Volume:
    """The volume of a stream of sound, tick by tick.

    Attributes:
        gain: in dB; a change takes 20 ms, so that it makes no click.
        automatic: also bring speech to :data:`TARGET`. While it is off, it costs nothing.
    """

    def __init__(self) -> None:
        self.gain = 0.0
        self._gain = Gain()
        self._leveller: Leveller | None = None

    @property
    def automatic(self) -> bool:
        return self._leveller is not None

    @automatic.setter
    def automatic(self, automatic: bool) -> None:
        if automatic != self.automatic:
            self._leveller = Leveller() if automatic else None

    def process(self, pcm: Samples) -> Samples:
        """Return the next tick of 20 ms at the present volume."""
        wanted = self.gain
        if self._leveller is not None:
            wanted += self._leveller.gain_for(pcm)
        if wanted != self._gain.decibels:
            self._gain.decibels = wanted
        return self._gain.process(pcm)


class Leveller:
    """Finds the gain that brings speech to :data:`TARGET`.

    It measures speech only, which stands out from the quietest moment of the last 1.5 s, and holds
    its gain in pauses, so that noise does not rise between words and noise alone is unchanged. The
    gain rises by 6 dB in a second of speech and falls by 12 dB, within -20 to 30 dB.
    """

    def __init__(self) -> None:
        self._gain = 0.0
        self._levels: deque[float] = deque(maxlen=_WINDOW)
        self._power = 0.0
        self._heard = 0

    def gain_for(self, pcm: Samples) -> float:
        """Take a tick of 20 ms before gain, and return the gain for it in dB."""
        level = dbfs(pcm)
        self._levels.append(level)
        noise = min(self._levels)
        if len(self._levels) < _SOON or level < max(noise + _MARGIN, _FAINTEST):
            return self._gain
        self._heard = min(self._heard + 1, _AVERAGED)
        self._power += (10 ** (level / 10) - self._power) / self._heard
        wanted = TARGET - 10 * math.log10(self._power)
        wanted = max(_LEAST, min(wanted, _MOST, max(0.0, _LOUDEST_NOISE - noise)))
        self._gain += max(-_DOWN, min(_UP, wanted - self._gain))
        return self._gain
