"""How loud one direction of a call is: by hand, and of its own accord."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from spech.audio.gain import Gain
from spech.audio.level import dbfs
from spech.codecs.base import Samples

TARGET: Final = -19.0
"""Where speech is brought to: its level while somebody speaks (ITU-T P.56), in dBFS."""

_MOST: Final = 30.0
_LEAST: Final = -20.0
#: Decibels by which speech stands out from the quietest moment of the last 1.5 s.
_MARGIN: Final = 9.0
_WINDOW: Final = 75
_SOON: Final = 25
_FAINTEST: Final = -65.0
#: What the noise between the words may become.
_LOUDEST_NOISE: Final = -45.0
#: Ticks of speech over which its level is averaged.
_AVERAGED: Final = 100
_UP: Final = 6.0 / 50
_DOWN: Final = 12.0 / 50


class Volume:
    """The volume of sound that goes on, tick by tick.

    Attributes:
        gain: in dB; a change takes 20 ms, so that it makes no click.
        automatic: besides, bring speech to :data:`TARGET`. Off, it costs nothing.
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
        """The next tick of 20 ms, louder or softer."""
        wanted = self.gain
        if self._leveller is not None:
            wanted += self._leveller.receive(pcm)
        if wanted != self._gain.decibels:
            self._gain.decibels = wanted
        return self._gain.process(pcm)


class Leveller:
    """Finds the gain that brings speech to :data:`TARGET`.

    It listens to speech only, which stands out from the quietest moment of the last 1.5 s, and
    holds its gain in pauses: so noise does not swell between the words, and noise alone is left as
    it is. It goes up by 6 dB in a second of speech and down by 12, by -20 to 30 dB in all.
    """

    def __init__(self) -> None:
        self._gain = 0.0
        self._levels: deque[float] = deque(maxlen=_WINDOW)
        self._power = 0.0
        self._heard = 0

    def receive(self, pcm: Samples) -> float:
        """Take a tick of 20 ms as it came in, and give the gain for it in dB."""
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
