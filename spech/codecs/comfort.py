"""Comfort noise (RFC 3389): describes background noise in a few bytes, and generates it again.

A payload is the level in -dBov and the reflection coefficients of an all-pole model of the
spectrum, 8 bits each. They are those of A(z) = 1 + a1 z^-1 + ..., so the first one is negative for
noise with more low than high frequencies, as in FFmpeg and WebRTC.

Analysis and synthesis work on the spectrum, because the model may have a lower rate than the sound
(the clock of G.722 is 8 kHz). Frequencies above the model's stay silent.

Nothing here multiplies matrices: BLAS would wake a thread pool for products of this size, and its
threads keep spinning between two packets.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from spech.codecs.base import Samples

_ORDER: Final = 10
#: Coefficients of a received description that are used; RFC 3389 section 4 lets a decoder of lower
#: order ignore the others. It bounds what a packet costs.
_MOST_COEFFICIENTS: Final = 12
_QUIETEST: Final = 127
_STEP: Final = 258 / 32768  # RFC 3389 section 3.2
_FULL_SCALE: Final = 32768.0
_REMEMBERED: Final = 0.92  # of the spectrum before, with each tick
_NEARER: Final = 0.25  # to a new spectrum, with each tick
_LEAST_RESPONSE: Final = 1e-6
_TICKS_PER_SECOND: Final = 50


class NoiseAnalyzer:
    """Describes noise, tick by tick.

    Args:
        rate: sampling rate of the sound in Hz.
        clock_rate: the RTP clock in Hz, which is the rate of the model.
    """

    def __init__(self, rate: int, clock_rate: int) -> None:
        self._size = rate // 50
        self._window = np.hanning(self._size + 2)[1:-1]
        self._power = float((self._window**2).sum())
        self._bins = min(clock_rate, rate) * self._size // (2 * rate) + 1
        self._spectrum: NDArray[np.float64] | None = None

    def learn(self, pcm: Samples) -> None:
        """Take 20 ms of noise. The weight of earlier ticks decays."""
        values = pcm.astype(np.float64)
        spectrum = np.abs(np.fft.rfft(values * self._window))[: self._bins] ** 2
        if self._spectrum is None:
            self._spectrum = spectrum
        else:
            self._spectrum += (1 - _REMEMBERED) * (spectrum - self._spectrum)

    @property
    def level(self) -> float:
        """The level in dBov of the frequencies that the model covers, at least -127."""
        return _dbov(self._mean_square())

    def payload(self) -> bytes:
        """The level, and ten coefficients where the noise is not silence."""
        level = round(-self.level)
        if self._spectrum is None or level >= _QUIETEST:
            return bytes((_QUIETEST,))
        # The autocorrelation is the transform of the power spectrum (Wiener-Khinchin theorem).
        correlation = np.fft.irfft(self._spectrum)[: _ORDER + 1]
        return bytes((max(level, 0), *map(_quantise, _reflections(correlation))))

    def _mean_square(self) -> float:
        if self._spectrum is None:
            return 0.0
        # Parseval's theorem, for one half of the spectrum.
        return float(2 * self._spectrum.sum() / self._size / self._power)


class NoiseGenerator:
    """Generates noise from descriptions, and changes gradually from one to the next.

    Args:
        rate, clock_rate: as for :class:`NoiseAnalyzer`.
    """

    def __init__(self, rate: int, clock_rate: int) -> None:
        self._random = np.random.default_rng(0)
        self._size = rate // 50
        # Windows that overlap by half add up to constant power: sin² + cos² = 1.
        self._window = np.sin(np.pi * (np.arange(2 * self._size) + 0.5) / (2 * self._size))
        # A transform of this length has its bins where the sound's spectrum has them.
        self._model_size = 2 * clock_rate // _TICKS_PER_SECOND
        self._covered = min(self._model_size // 2, self._size) + 1
        self._shape = np.zeros(self._size + 1)
        self._wanted = self._shape
        self._described = b""
        self._tail: NDArray[np.float64] | None = None
        self._rest: Samples = np.zeros(0, np.int16)

    def describe(self, payload: bytes) -> None:
        """Take a description of any length; without coefficients the noise is white.

        An empty payload is ignored.
        """
        payload = payload[: 1 + _MOST_COEFFICIENTS]
        if not payload or payload == self._described:
            return
        self._described = payload
        amplitude = _FULL_SCALE * 10 ** (-(payload[0] & 0x7F) / 20)
        reflections = [(byte - 127) * _STEP for byte in payload[1:]]
        # 255 is reserved, and would make the filter unstable.
        reflections = [value if abs(value) < 1 else 0.0 for value in reflections]
        inverse = _predictor(reflections)
        shape = np.zeros(self._size + 1)
        response = np.abs(np.fft.rfft(inverse, self._model_size)[: self._covered])
        # A pole may lie so close to the unit circle that the response underflows.
        shape[: self._covered] = 1 / np.maximum(response, _LEAST_RESPONSE)
        if (payload[0] & 0x7F) == _QUIETEST:
            amplitude = 0.0
        shape *= amplitude / np.sqrt((2 * (shape**2).sum()) / (2 * self._size))
        self._wanted = shape
        if self._tail is None:
            self._shape = shape
            self._tail = self._block()[self._size :]

    def generate(self, count: int) -> Samples:
        """Return the next ``count`` samples; silence before the first description."""
        while len(self._rest) < count:
            if self._tail is None:
                return np.zeros(count, np.int16)
            # Mixed in power: the level of the mixture lies between the levels of both.
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
    """The reflection coefficients of the Levinson-Durbin recursion."""
    error = float(correlation[0]) * (1 + 1e-9)
    predictor = np.array([1.0])
    found = []
    for order in range(1, len(correlation)):
        if error <= 0.0:
            found.append(0.0)
            continue
        reflection = -float((predictor * correlation[order:0:-1]).sum()) / error
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
