"""Detection of DTMF digits in sound, within the limits of ITU-T Q.24.

Every 5 ms the last 20 ms are measured at the eight frequencies (ITU-T Q.23). The phase advance of a
tone since the last measurement gives its frequency error. A key is detected when one tone of each
group has the right frequency, their levels match, and hardly any other energy is present. Speech
rarely meets these conditions for as long as a digit must last.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spech.audio.tones import COLUMNS, KEYPAD, ROWS
from spech.codecs.base import Samples

_HOP = 0.005
_HOPS = 4  # in a window
_HITS = 3  # that make a digit: 35 ms of tone, so that 40 ms always suffice and 23 ms never do
_MISSES = 6  # that end it: more than an interruption of 10 ms causes, less than a pause of 40 ms
_QUIETEST = 2 * (32768 * 10 ** (-38 / 20)) ** 2  # -38 dBFS each is -32 dBm0; Q.24 wants -25
_TWIST = 10 ** (10 / 10)  # between the two tones, either way; 8 dB must be taken
_ASTRAY = 0.025  # of the frequency: 1.5 % must be taken, 3.5 % must not
_PURITY = 0.8  # of all energy: with 15 dB of noise it is 0.97
_LEAST_GAIN = 0.12  # of a window for a tone that is off its frequency
_WORTH_A_LOOK = 0.3  # of all energy, before the frequency error is known


class DigitDetector:
    """Finds digits in a stream of sound at ``rate`` Hz, 8 to 48 kHz.

    A digit is reported once, as soon as it has lasted long enough.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._hop = round(rate * _HOP)
        self._window = self._hop * _HOPS
        # Where the windows of one call of feed() lie; numpy's sliding windows cost ten times this.
        self._places = np.zeros((0, self._window), np.int64)
        frequencies = np.array(ROWS + COLUMNS, dtype=np.float64)
        time = np.arange(self._window) / rate
        # Real and imaginary parts side by side: a real product is cheaper than a complex one.
        self._filters = np.exp(-2j * np.pi * np.outer(time, frequencies)).view(np.float64)
        self._frequencies = frequencies
        self._advance = np.exp(-2j * np.pi * frequencies * self._hop / rate)
        self._to_hertz = rate / (2 * np.pi * self._hop)
        self._seconds = self._window / rate
        self._rest: Samples = np.zeros(0, np.int16)
        self._before: NDArray[np.complex128] = np.zeros(8, np.complex128)
        self._lost = (0, 0)
        self._candidate = self._present = ""
        self._hits = self._misses = 0

    def feed(self, pcm: Samples, *, lost: bool = False) -> str:
        """Process the next samples; return the digits that were found in them, often none.

        Args:
            pcm: of any length.
            lost: whether they conceal a lost packet. Then they neither start nor end a digit.
        """
        start = len(self._rest)
        sound = np.concatenate((self._rest, pcm))
        if lost:
            self._lost = (start, len(sound))
        count = (len(sound) - self._window) // self._hop + 1
        if count <= 0:
            self._rest = sound
            return ""
        used = count * self._hop
        self._rest = sound[used:]
        if count > len(self._places):
            self._places = np.arange(self._window) + self._hop * np.arange(count)[:, np.newaxis]
        frames = sound[self._places[:count]].astype(np.float64)
        found = ""
        for index, key in enumerate(self._judge(frames)):
            begin = index * self._hop
            if begin < self._lost[1] and begin + self._window > self._lost[0]:
                if key and key == self._present:
                    self._misses = 0
                continue
            found += self._follow(key)
        self._lost = (self._lost[0] - used, self._lost[1] - used)
        return found

    def _follow(self, key: str) -> str:
        """Process the key of one window; return the digit if that completes it."""
        if not key:
            self._hits = 0
            self._misses += 1
            if self._misses >= _MISSES:
                self._present = ""
            return ""
        if key == self._present:
            self._hits = self._misses = 0
            return ""
        self._hits = self._hits + 1 if key == self._candidate else 1
        self._candidate = key
        if self._hits < _HITS:
            return ""
        self._present = key
        self._misses = 0
        return key

    def _judge(self, frames: NDArray[np.float64]) -> list[str]:
        """The digit that fills each window, or an empty string."""
        energies = np.einsum("ij,ij->i", frames, frames)
        if energies.max() < _QUIETEST * self._window:
            self._before = np.zeros(8, np.complex128)
            return [""] * len(frames)
        spectra = (frames @ self._filters).view(np.complex128)
        powers = np.abs(spectra) ** 2
        strongest = powers[:, :4].max(axis=1) + powers[:, 4:].max(axis=1)
        keys = [""] * len(frames)
        for index in np.flatnonzero(strongest > _WORTH_A_LOOK * self._window / 2 * energies):
            before = spectra[index - 1] if index else self._before
            keys[index] = self._key(float(energies[index]), spectra[index], powers[index], before)
        self._before = spectra[-1]
        return keys

    def _key(
        self,
        energy: float,
        spectrum: NDArray[np.complex128],
        powers: NDArray[np.float64],
        before: NDArray[np.complex128],
    ) -> str:
        if energy < _QUIETEST * self._window:
            return ""
        row, column = int(np.argmax(powers[:4])), 4 + int(np.argmax(powers[4:]))
        low, high = self._tone(row, spectrum, before), self._tone(column, spectrum, before)
        if min(low, high) <= 0.0 or max(low, high) > _TWIST * min(low, high):
            return ""
        return KEYPAD[row][column - 4] if low + high >= _PURITY * energy else ""

    def _tone(
        self, index: int, spectrum: NDArray[np.complex128], before: NDArray[np.complex128]
    ) -> float:
        """The energy of one tone in the window, 0.0 if it is too far off its frequency."""
        turned = complex(spectrum[index] * np.conj(before[index]) * self._advance[index])
        astray = float(np.angle(turned)) * self._to_hertz
        if abs(astray) > _ASTRAY * self._frequencies[index]:
            return 0.0
        gain = max(float(np.sinc(astray * self._seconds)) ** 2, _LEAST_GAIN)
        # A sine of amplitude a over n samples has energy a²n/2 and power (an/2)².
        return float(abs(spectrum[index])) ** 2 * 2 / self._window / gain
