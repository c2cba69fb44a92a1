"""DTMF digits heard in sound, by Goertzel's filter (ITU-T Q.24 limits, simplified)."""

from __future__ import annotations

import numpy as np

from spech.audio.tones import COLUMNS, KEYPAD, ROWS
from spech.codecs.base import Samples

_BLOCK = 0.02
_LOUD_ENOUGH = 10 ** (-40 / 10) * 32768**2
_DOMINANCE = 4.0  # 6 dB above the next tone of its group
_TWIST = 10.0  # 10 dB between the two groups
_PURITY = 0.6  # of all energy in the block


class DigitDetector:
    """Finds digits in a stream of sound at ``rate`` Hz.

    A digit is reported once, when two blocks of 20 ms in a row agree on it; a block without it
    ends it, so that the same digit can be heard again.
    """

    def __init__(self, rate: int) -> None:
        self._block = round(rate * _BLOCK)
        time = np.arange(self._block) / rate
        frequencies = np.array(ROWS + COLUMNS, dtype=np.float64)
        self._filters = np.exp(-2j * np.pi * np.outer(frequencies, time))
        self._rest: Samples = np.zeros(0, np.int16)
        self._previous = ""
        self._reported = ""

    def feed(self, pcm: Samples) -> str:
        """Take the next samples; return the digits that were found in them, often none."""
        pcm = np.concatenate((self._rest, pcm))
        whole = len(pcm) // self._block * self._block
        self._rest = pcm[whole:]
        found = ""
        for start in range(0, whole, self._block):
            key = self._judge(pcm[start : start + self._block])
            if key and key == self._previous and key != self._reported:
                found += key
                self._reported = key
            if not key and not self._previous:
                self._reported = ""
            self._previous = key
        return found

    def _judge(self, block: Samples) -> str:
        """The digit that fills a block, or nothing."""
        wide = block.astype(np.float64)
        energy = float(np.dot(wide, wide))
        if energy < _LOUD_ENOUGH * self._block:
            return ""
        powers = np.abs(self._filters @ wide) ** 2
        rows, columns = powers[:4], powers[4:]
        row, column = int(np.argmax(rows)), int(np.argmax(columns))
        low, high = float(rows[row]), float(columns[column])
        if not 1 / _TWIST < low / high < _TWIST:
            return ""
        next_low, next_high = np.partition(rows, -2)[-2], np.partition(columns, -2)[-2]
        if next_low * _DOMINANCE > low or next_high * _DOMINANCE > high:
            return ""
        # A sine of amplitude a over n samples has energy a²n/2 and power (an/2)².
        if (low + high) * 2 / self._block < _PURITY * energy:
            return ""
        return KEYPAD[row][column]
