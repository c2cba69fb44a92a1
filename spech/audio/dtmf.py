"""Detection of DTMF digits in sound, within the limits of ITU-T Q.24.

Every 5 ms the last 20 ms are measured at the eight frequencies (ITU-T Q.23). The phase advance of a
tone since the last measurement gives its frequency error. A key is detected when one tone of each
group has the right frequency, their levels match, and hardly any other energy is present. Speech
rarely meets these conditions for as long as a digit must last.

Most sound holds no digit, so at first only every fourth window is looked at, and only roughly. A
digit fills at least three quarters of one of those, and only the windows near such a one are
measured.
"""

from __future__ import annotations

from typing import Final

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
# A twist of 10 dB, one tone so far off that it is measured 9 dB lower, and 4 dB to spare. A single
# tone leaks less than that into the other group.
_STEEPEST = 200
_SUSPICIOUS = 0.2  # the same where a quarter of the window may be other sound, 9 dB louder


class ToneJudge:
    """Measures windows of sound at ``rate`` Hz.

    Attributes:
        hop: samples from one window to the next.
        window: samples in one.
    """

    def __init__(self, rate: int) -> None:
        self.hop: Final = round(rate * _HOP)
        self.window: Final = self.hop * _HOPS
        # Where the windows of one call of keys() lie; numpy's sliding windows cost ten times this.
        self._places = np.zeros((0, self.window), np.int64)
        frequencies = np.array(ROWS + COLUMNS, dtype=np.float64)
        time = np.arange(self.window) / rate
        waves = np.exp(-2j * np.pi * np.outer(time, frequencies))
        # Real and imaginary parts side by side: a real product is cheaper than a complex one.
        self._filters = waves.view(np.float64)
        self._rough_filters = np.hstack((waves.real, waves.imag)).astype(np.float32)
        self._frequencies = frequencies
        self._advance = np.exp(-2j * np.pi * frequencies * self.hop / rate)
        self._to_hertz = rate / (2 * np.pi * self.hop)
        self._seconds = self.window / rate

    def suspects(self, window: Samples) -> bool:
        """Whether a digit may fill three quarters of a window, or more."""
        wide = window.astype(np.float32)
        energy = float(wide @ wide)
        if energy < 0.5 * _QUIETEST * self.window:
            return False
        parts = wide @ self._rough_filters
        parts *= parts
        powers = (parts[:8] + parts[8:]).tolist()
        row, column = max(powers[:4]), max(powers[4:])
        if row > _STEEPEST * column or column > _STEEPEST * row:
            return False
        return bool(row + column > _SUSPICIOUS * self.window / 2 * energy)

    def keys(self, sound: Samples) -> list[str]:
        """The digit that fills each window but the first, or an empty string."""
        count = (len(sound) - self.window) // self.hop + 1
        if count > len(self._places):
            self._places = np.arange(self.window) + self.hop * np.arange(count)[:, np.newaxis]
        frames = sound[self._places[:count]].astype(np.float64)
        energies = np.einsum("ij,ij->i", frames, frames)
        spectra = (frames @ self._filters).view(np.complex128)
        powers = np.abs(spectra) ** 2
        strongest = powers[:, :4].max(axis=1) + powers[:, 4:].max(axis=1)
        keys = [""] * count
        for index in np.flatnonzero(strongest > _WORTH_A_LOOK * self.window / 2 * energies):
            if index:
                before = spectra[index - 1]
                keys[index] = self._key(
                    float(energies[index]), spectra[index], powers[index], before
                )
        return keys[1:]

    def _key(
        self,
        energy: float,
        spectrum: NDArray[np.complex128],
        powers: NDArray[np.float64],
        before: NDArray[np.complex128],
    ) -> str:
        if energy < _QUIETEST * self.window:
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
        return float(abs(spectrum[index])) ** 2 * 2 / self.window / gain


class KeyPress:
    """From the keys in one window after the other to digits.

    Attributes:
        idle: whether no key is down, nor may be.
    """

    def __init__(self) -> None:
        self.idle = True
        self._candidate = self._present = ""
        self._hits = self._misses = 0

    def follow(self, key: str, *, lost: bool) -> str:
        """Process the key of one window; return the digit if that completes it.

        Args:
            key: an empty string where there is none.
            lost: whether the window has concealment in it, which neither starts nor ends a digit.
        """
        if lost:
            if key and key == self._present:
                self._misses = 0
            return ""
        if not key:
            self._hits = 0
            self._misses += 1
            if self._misses >= _MISSES:
                self._present = ""
                self.idle = True
            return ""
        self.idle = False
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


class DigitDetector:
    """Finds digits in a stream of sound at ``rate`` Hz, 8 to 48 kHz.

    A digit is reported once, as soon as it has lasted long enough.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._judge = ToneJudge(rate)
        self._press = KeyPress()
        silence = np.zeros(self._judge.window, np.int16)
        #: The last two blocks, each as long as a window; the sound of the next one.
        self._earlier, self._last = silence, silence
        self._rest: Samples = silence[:0]
        #: Whether the last block was suspect, and whether the windows that end in it were followed.
        self._suspect = False
        self._followed = True
        #: Samples before the last block, and after all that was fed.
        self._begin = -len(silence)
        self._end = 0
        #: What conceals lost packets, from one sample to another.
        self._lost: list[tuple[int, int]] = []

    def feed(self, pcm: Samples, *, lost: bool = False) -> str:
        """Process the next samples; return the digits that were found in them, often none.

        Args:
            pcm: of any length. The array must not be changed afterwards.
            lost: whether they conceal a lost packet. Then they neither start nor end a digit.
        """
        begin = self._end
        self._end += len(pcm)
        window = self._judge.window
        if lost:
            still_needed = self._begin - window
            self._lost = [one for one in self._lost if one[1] > still_needed]
            self._lost.append((begin, self._end))
        rest = np.concatenate((self._rest, pcm)) if len(self._rest) else pcm
        found = ""
        while len(rest) >= window:
            found += self._take(rest[:window])
            rest = rest[window:]
        self._rest = rest
        return found

    def _take(self, block: Samples) -> str:
        """Process one block: roughly, and closely near what is suspect."""
        suspect = self._judge.suspects(block)
        found = ""
        if suspect and not self._followed:
            keys = self._judge.keys(np.concatenate((self._earlier, self._last, block)))
            found = self._follow(keys, self._begin - len(block))
        elif suspect or self._suspect:
            keys = self._judge.keys(np.concatenate((self._last, block)))
            found = self._follow(keys, self._begin)
        elif not self._followed:
            self._follow([""] * _HOPS, self._begin - len(block))
        self._followed = suspect or self._suspect
        self._suspect = suspect
        self._earlier, self._last = self._last, block
        self._begin += len(block)
        return found

    def _follow(self, keys: list[str], begin: int) -> str:
        """Follow the keys of windows; ``begin`` is where the window before them begins."""
        press = self._press
        if press.idle and not any(keys):
            return ""
        found = ""
        for key in keys:
            begin += self._judge.hop
            end = begin + self._judge.window
            lost = any(first < end and last > begin for first, last in self._lost)
            found += press.follow(key, lost=lost)
        return found
