"""Voice activity detection: tells speech from the noise of a room.

The level of each tick is compared with the quietest one of the last seconds, once for the whole
sound and once for its high frequencies, in which consonants are louder than most rooms. A pause
begins only some time after the last loud tick, because words end softly.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np

from spech.audio.level import dbfs
from spech.codecs.base import Samples

_ABOVE = 5.0  # dB above the noise
_LOUDEST_NOISE = -42.0  # dBFS; what is louder than this and _ABOVE always passes: tones, music
_SILENCE = -72.0  # dBFS
_HANGOVER = 12  # ticks of 20 ms
_BLOCK = 10
_BLOCKS = 10
#: Seconds of a pause after which speech counts as ended.
PAUSE_SECONDS: Final = _HANGOVER / 50
_ONSET = 3  # loud ticks in a row with which an utterance begins


class VoiceActivity:
    """Classifies ticks of 20 ms.

    Attributes:
        noisy: whether the last tick was only noise, even if it still counts as speech.
    """

    def __init__(self) -> None:
        self.noisy = False
        self._whole = _Floor()
        self._changes = _Floor()
        self._hangover = _HANGOVER

    def hear(self, pcm: Samples) -> bool:
        """Process a tick of sound; return whether it should be sent as speech."""
        whole = dbfs(pcm)
        wide = pcm.astype(np.int32)
        changes = dbfs(np.clip(wide[1:] - wide[:-1], -32768, 32767).astype(np.int16))
        louder = whole - self._whole.update(whole) > _ABOVE
        brighter = changes - self._changes.update(changes) > _ABOVE
        self.noisy = not (louder or brighter) or whole < _SILENCE
        if not self.noisy:
            self._hangover = _HANGOVER
        elif self._hangover:
            self._hangover -= 1
        return self._hangover > 0


class UtteranceDetector:
    """Detects the beginning and the end of speech.

    An utterance begins with 60 ms of speech, so that a click is none, and ends with 240 ms of
    silence or noise.
    """

    def __init__(self) -> None:
        self._activity = VoiceActivity()
        self._loud = 0
        self._speaking = False

    def feed(self, pcm: Samples) -> bool | None:
        """Take a tick of 20 ms. True where an utterance begins, False where it ends, else None."""
        active = self._activity.hear(pcm)
        self._loud = 0 if self._activity.noisy else self._loud + 1
        if self._speaking and not active:
            self._speaking = False
            return False
        if not self._speaking and self._loud >= _ONSET:
            self._speaking = True
            return True
        return None


class _Floor:
    """The level of the noise: the mean of the quietest block of a few, each of 0.2 s."""

    def __init__(self) -> None:
        self._blocks: deque[float] = deque(maxlen=_BLOCKS)
        self._sum = 0.0
        self._count = 0
        self._level = _LOUDEST_NOISE

    def update(self, level: float) -> float:
        """Process the level of a tick; return that of the noise."""
        self._sum += level
        self._count += 1
        if self._count == _BLOCK:
            self._blocks.append(self._sum / _BLOCK)
            self._sum, self._count = 0.0, 0
            self._level = min(min(self._blocks), _LOUDEST_NOISE)
        return self._level
