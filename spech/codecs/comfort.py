"""Comfort noise (RFC 3389): what the background sounds like, in a few bytes, and a noise like it.

A payload is the level in -dBov and the reflection coefficients of an all-pole model of the
spectrum, 8 bits each. They are those of A(z) = 1 + a1 z^-1 + ..., so that the first one is below
zero for a noise that has more low tones than high ones, as in FFmpeg and WebRTC.

Both ways go over the spectrum: the model may be of a lower rate than the sound (the clock of G.722
is 8 kHz), and then says nothing of the tones above, which stay silent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spech.codecs.base import Samples

_ORDER = 10
_MOST_COEFFICIENTS = 32
_QUIETEST = 127
_STEP = 258 / 32768  # RFC 3389 section 3.2
_FULL_SCALE = 32768.0
_REMEMBERED = 0.92  # of the spectrum before, with each tick
_NEARER = 0.25  # to a new spectrum, with each tick


class NoiseAnalyzer:
    """Describes the noise in the ticks of sound that it is given.

    Args:
        rate: samples per second of the sound.
        clock_rate: the RTP clock in Hz, which is the rate of the model.
    """

    def __init__(self, rate: int, clock_rate: int) -> None:
        self._size = rate // 50
        self._window = np.hanning(self._size + 2)[1:-1]
        self._power = float((self._window**2).sum())
        self._bins = min(clock_rate, rate) * self._size // (2 * rate) + 1
        self._spectrum: NDArray[np.float64] | None = None

    def learn(self, pcm: Samples) -> None:
        """Take 20 ms of noise; what was heard before counts less with each of them."""
        values = pcm.astype(np.float64)
        spectrum = np.abs(np.fft.rfft(values * self._window))[: self._bins] ** 2
        if self._spectrum is None:
            self._spectrum = spectrum
        else:
            self._spectrum += (1 - _REMEMBERED) * (spectrum - self._spectrum)

    @property
    def level(self) -> float:
        """Of the noise, in dBov: of what the model covers, and never below -127."""
        return _dbov(self._mean_square())

    def payload(self) -> bytes:
        """The level, and ten coefficients where there is any noise."""
        level = round(-self.level)
        if self._spectrum is None or level >= _QUIETEST:
            return bytes((_QUIETEST,))
        # The autocorrelation is the transform of the power spectrum (Wiener and Khinchin).
        correlation = np.fft.irfft(self._spectrum)[: _ORDER + 1]
        return bytes((max(level, 0), *map(_quantise, _reflections(correlation))))

    def _mean_square(self) -> float:
        if self._spectrum is None:
            return 0.0
        # Parseval, for one half of the spectrum.
        return float(2 * self._spectrum.sum() / self._size / self._power)


class NoiseGenerator:
    """Makes noise as described, from one description to the next without a step.

    Args:
        rate, clock_rate: as for :class:`NoiseAnalyzer`.
    """

    def __init__(self, rate: int, clock_rate: int) -> None:
        self._random = np.random.default_rng(0)
        self._size = rate // 50
        # Two windows that overlap by half have the power of one: sin² + cos².
        self._window = np.sin(np.pi * (np.arange(2 * self._size) + 0.5) / (2 * self._size))
        frequencies = np.arange(self._size + 1) * rate / (2 * self._size)
        covered = frequencies <= clock_rate / 2
        self._delays = np.exp(
            -2j * np.pi * np.outer(frequencies[covered] / clock_rate, np.arange(_MOST_COEFFICIENTS))
        )
        self._shape = np.zeros(self._size + 1)
        self._wanted = self._shape
        self._covered = int(covered.sum())
        self._tail: NDArray[np.float64] | None = None
        self._rest: Samples = np.zeros(0, np.int16)

    def receive(self, payload: bytes) -> None:
        """Take a description; without coefficients the noise is white. An empty one is ignored."""
        if not payload:
            return
        amplitude = _FULL_SCALE * 10 ** (-(payload[0] & 0x7F) / 20)
        reflections = [(byte - 127) * _STEP for byte in payload[1:_MOST_COEFFICIENTS]]
        # 255 is reserved, and would be no stable filter.
        reflections = [value if abs(value) < 1 else 0.0 for value in reflections]
        inverse = _predictor(reflections)
        shape = np.zeros(self._size + 1)
        shape[: self._covered] = 1 / np.abs(self._delays[:, : len(inverse)] @ inverse)
        if (payload[0] & 0x7F) == _QUIETEST:
            amplitude = 0.0
        shape *= amplitude / np.sqrt((2 * (shape**2).sum()) / (2 * self._size))
        self._wanted = shape
        if self._tail is None:
            self._shape = shape
            self._tail = self._block()[self._size :]

    def generate(self, count: int) -> Samples:
        """The next ``count`` samples; silence before the first description."""
        while len(self._rest) < count:
            if self._tail is None:
                return np.zeros(count, np.int16)
            # In power, where two spectra that are mixed give one between them.
            power = self._shape**2
            self._shape = np.sqrt(power + _NEARER * (self._wanted**2 - power))
            block = self._block()
            sound = self._tail + block[: self._size]
            self._tail = block[self._size :]
            pcm = np.clip(np.rint(sound), -32768, 32767).astype(np.int16)
            self._rest = np.concatenate((self._rest, pcm))
        ready, self._rest = self._rest[:count], self._rest[count:]
        return ready

    def _block(self) -> NDArray[np.float64]:
        white = np.fft.rfft(self._random.standard_normal(2 * self._size))
        shaped: NDArray[np.float64] = np.fft.irfft(white * self._shape) * self._window
        return shaped


def _reflections(correlation: NDArray[np.float64]) -> list[float]:
    """Levinson and Durbin's recursion, the reflection coefficients alone."""
    error = float(correlation[0]) * (1 + 1e-9)
    predictor = np.array([1.0])
    found = []
    for order in range(1, len(correlation)):
        if error <= 0.0:
            found.append(0.0)
            continue
        reflection = -float(predictor @ correlation[order:0:-1][: len(predictor)]) / error
        found.append(reflection)
        longer = np.append(predictor, 0.0)
        predictor = longer + reflection * longer[::-1]
        error *= 1 - reflection * reflection
    return found


def _predictor(reflections: list[float]) -> NDArray[np.float64]:
    """The filter A(z) that has these reflection coefficients."""
    predictor = np.array([1.0])
    for reflection in reflections:
        longer = np.append(predictor, 0.0)
        predictor = longer + reflection * longer[::-1]
    return predictor


def _quantise(reflection: float) -> int:
    return min(max(round(reflection / _STEP) + 127, 1), 253)


def _dbov(mean_square: float) -> float:
    """dB below the overload point, a square wave of full scale (RFC 3389 section 3.1)."""
    if mean_square <= 0.0:
        return -float(_QUIETEST)
    return max(10 * float(np.log10(mean_square / _FULL_SCALE**2)), -float(_QUIETEST))
