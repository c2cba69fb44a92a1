"""Detection of what networks and answering machines sound: ringing, busy, congestion, a beep.

The spectrum of the last 40 ms tells a tone from other sound, and the lengths of the tones and of
the pauses between them tell what the tone means (ITU-T E.180). Frequencies differ among countries,
so any steady tone of 350 to 650 Hz counts, alone or with a second one.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from spech.codecs.base import Samples

#: What is told apart. Some countries use the cadence of "busy" for congestion, and vice versa.
HeardTone = Literal["ringback", "busy", "congestion", "beep"]

_TICK: Final = 0.02
_QUIET: Final = 32768**2 * 10 ** (-50 / 10)
#: The share of all power that is in a tone.
_PURITY: Final = 0.93
#: Bins of 25 Hz on each side of a peak that belong to it.
_REACH: Final = 3
#: Hz.
_PROGRESS: Final = (350.0, 650.0)
_BEEP: Final = (700.0, 2100.0)
_SAME: Final = 60.0
#: Ticks of other sound with which a cadence is broken off; fewer are the edges of tones.
_BREAK: Final = 3
#: Seconds of tone and pause from which a cadence is slow; below, it is fast.
_SLOW: Final = 0.29
_SHORTEST: Final = 0.12
_LONGEST: Final = 0.8
_UNEVEN: Final = 0.1
#: Seconds of tone in one ring, and of the pause after which it is recognized.
_RING: Final = (0.7, 2.3)
_RING_PAUSE: Final = 1.5
#: The pause within a double ring.
_DOUBLE: Final = 0.3
#: Seconds of a beep, and of the pause after it.
_BEEP_SECONDS: Final = (0.1, 1.5)
_BEEP_PAUSE: Final = 0.3


class CadenceDetector:
    """Finds tones in ticks of 20 ms at ``rate`` Hz. Each tone is told once until it stops."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._size = round(rate * _TICK)
        self._window = np.hanning(2 * self._size)
        self._heard: Samples = np.zeros(2 * self._size, np.int16)
        self._told: HeardTone | None = None
        self._forget()

    def _forget(self) -> None:
        self._pitch = 0.0
        self._on = self._off = self._other = 0
        #: The tone and the pause before the present ones, in seconds.
        self._before = (0.0, 0.0)

    def feed(self, pcm: Samples) -> HeardTone | None:
        """Take the next tick; return the tone that it completes."""
        self._heard = np.concatenate((self._heard[self._size :], pcm))
        pitch = self._find_pitch()
        if pitch is None or (pitch and self._on and not self._off and self._strays(pitch)):
            self._other += 1
            if self._other >= _BREAK:
                self._forget()
                self._told = None
            elif self._off:
                self._off += 1
            elif self._on:
                self._on += 1
            return None
        self._other = 0
        if not pitch:
            return self._pause()
        if self._on and not self._off:
            self._on += 1
            return None
        return self._begin(pitch)

    def _strays(self, pitch: float) -> bool:
        """Whether it is another tone. Either of two frequencies may be the stronger one."""
        if max(pitch, self._pitch) < _BEEP[0]:
            return False
        return abs(pitch - self._pitch) > _SAME

    def _find_pitch(self) -> float | None:
        """The frequency of a steady tone in Hz; 0.0 for silence, None for other sound."""
        sound = self._heard.astype(np.float64)
        if float(np.mean(sound**2)) < _QUIET:
            return 0.0
        power = np.abs(np.fft.rfft(sound * self._window)) ** 2
        width = self.rate / len(sound)
        total = float(power.sum())
        first = int(power.argmax())
        near = slice(max(0, first - _REACH), first + _REACH + 1)
        tone = float(power[near].sum())
        pitch = first * width
        if _BEEP[0] <= pitch <= _BEEP[1] and tone >= _PURITY * total:
            return pitch
        power[near] = 0.0
        second = int(power.argmax())
        tone += float(power[max(0, second - _REACH) : second + _REACH + 1].sum())
        if _PROGRESS[0] <= pitch <= _PROGRESS[1] and tone >= _PURITY * total:
            return pitch
        return None

    def _begin(self, pitch: float) -> HeardTone | None:
        """A tone begins: the one before and the pause after it are a whole cycle."""
        found: HeardTone | None = None
        if self._on and not self._strays(pitch) and pitch < _BEEP[0]:
            before, self._before = self._before, (self._on * _TICK, self._off * _TICK)
            name = _regular(*self._before)
            if name is not None and name == _regular(*before):
                found = self._tell(name)
        else:
            self._before = (0.0, 0.0)
        self._pitch, self._on, self._off = pitch, 1, 0
        return found

    def _pause(self) -> HeardTone | None:
        if not self._on:
            return None
        self._off += 1
        seconds = self._on * _TICK
        if self._pitch >= _BEEP[0]:
            if self._off == round(_BEEP_PAUSE / _TICK) and _within(seconds, _BEEP_SECONDS):
                return "beep"
        elif self._off == round(_RING_PAUSE / _TICK):
            on, off = self._before
            ring = seconds + on + off if 0 < off <= _DOUBLE else seconds
            if _within(ring, _RING):
                return self._tell("ringback")
        return None

    def _tell(self, name: HeardTone) -> HeardTone | None:
        told, self._told = self._told, name
        return None if told == name else name


def _regular(on: float, off: float) -> HeardTone | None:
    """What a tone and a pause of about the same length mean when they repeat."""
    if not min(on, off) >= _SHORTEST or max(on, off) > _LONGEST or abs(on - off) > _UNEVEN:
        return None
    return "busy" if (on + off) / 2 >= _SLOW else "congestion"


def _within(seconds: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= seconds <= bounds[1]
