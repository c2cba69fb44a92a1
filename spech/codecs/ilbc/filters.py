"""The filters of RFC 3951, for whole blocks of samples at once.

A recursion over samples is slow in Python. Where a filter starts at rest its output is the
convolution with its impulse response, and the rest of the past is one more such input.
"""

from __future__ import annotations

import numpy as np

from spech.codecs.ilbc.tables import (
    LPC_WINDOW,
    LSF_GAP,
    LSF_HIGHEST,
    LSF_LOWEST,
    LSF_WEIGHTS,
    ORDER,
    Floats,
)

_HALF = ORDER // 2
# The filters' poles are far enough inside the unit circle that aliasing in time is negligible.
_SPECTRUM = 1024
# past[n + 10 - k] for the coefficient k and the sample n: those that lie before the block.
_BEFORE = np.add.outer(np.arange(ORDER), ORDER - np.arange(1, ORDER + 1))


def polynomials(lsf: Floats) -> Floats:
    """The denominators 1 + a1/z + ... of rows of line spectral frequencies, in radians."""
    pairs = -2 * np.cos(lsf).reshape(-1, _HALF, 2)
    # The even frequencies make the symmetric polynomial, the odd ones the other.
    product = np.zeros((len(lsf), 2, ORDER + 1))
    product[:, :, 0] = 1.0
    for number in range(_HALF):
        factor = pairs[:, number, :, None]
        product[:, :, 2:] += factor * product[:, :, 1:-1] + product[:, :, :-2]
        product[:, :, 1] += factor[:, :, 0] * product[:, :, 0]
    symmetric, other = product[:, 0], product[:, 1]
    sums = symmetric + other
    sums[:, 1:] += symmetric[:, :-1] - other[:, :-1]
    halves: Floats = sums / 2
    return halves


def frequencies(denominators: Floats) -> Floats:
    """The line spectral frequencies of rows of denominators: the inverse of the above."""
    reverse = np.zeros((len(denominators), ORDER + 2))
    forward = reverse.copy()
    forward[:, :-1] = denominators
    reverse[:, 1:] = denominators[:, ::-1]
    # Divided by 1 + 1/z and 1 - 1/z, that is by their roots at half the sampling rate and at 0.
    signs = (-1.0) ** np.arange(ORDER + 2)
    symmetric = np.cumsum((forward + reverse) * signs, axis=1) * signs
    other = np.cumsum(forward - reverse, axis=1)
    both = np.stack((symmetric, other), axis=1)[:, :, : _HALF + 1]
    # On the unit circle these are Chebyshev series in the cosine, whose roots are eigenvalues.
    series = both[:, :, ::-1].copy()
    series[:, :, 1:] *= 2
    matrix = np.zeros((len(denominators), 2, _HALF, _HALF))
    matrix[:] = _CHEBYSHEV
    matrix[:, :, -1] -= series[:, :, :-1] / (2 * series[:, :, -1:])
    cosines = np.linalg.eigvals(matrix).real.reshape(len(denominators), ORDER)
    ordered: Floats = np.sort(np.arccos(np.clip(cosines, -1, 1)), axis=1)
    return ordered


_CHEBYSHEV = np.diag(np.full(_HALF - 1, 0.5), 1) + np.diag(np.full(_HALF - 1, 0.5), -1)
_CHEBYSHEV[0, 1] = 1.0


def separate(lsf: Floats) -> Floats:
    """Keep neighboring frequencies apart, so that the filter is stable (section 3.2.4)."""
    rows = lsf.tolist()
    for row in rows:
        for _ in range(2):
            for index in range(ORDER - 1):
                low, high = row[index], row[index + 1]
                if high < low:
                    row[index], row[index + 1] = low, low + LSF_GAP / 2
                elif high - low < LSF_GAP:
                    row[index], row[index + 1] = low - LSF_GAP / 2, high + LSF_GAP / 2
                row[index] = min(max(row[index], LSF_LOWEST), LSF_HIGHEST)
    return np.array(rows)


def interpolate(mode: int, last: Floats, sets: Floats) -> Floats:
    """The frequencies of each subframe: subframes x 10."""
    mixed: Floats = LSF_WEIGHTS[mode] @ np.concatenate((last[None], sets))
    return mixed


def impulse_response(denominator: Floats, length: int) -> Floats:
    """The response of the all-pole filter with this denominator, or of each row of many."""
    response: Floats = np.fft.irfft(1 / np.fft.rfft(denominator, _SPECTRUM), _SPECTRUM)
    return response[..., :length]


def all_pole(sound: Floats, denominator: Floats, response: Floats, past: Floats) -> Floats:
    """One block through an all-pole filter, whose last ten outputs were ``past``."""
    padded = np.concatenate((past, np.zeros(ORDER)))
    excited = sound.copy()
    excited[:ORDER] -= padded[_BEFORE] @ denominator[1:]
    filtered: Floats = np.convolve(excited, response)[: len(sound)]
    return filtered


def dispersion(denominator: Floats, length: int) -> Floats:
    """The impulse response of the all-pass filter that spreads the peaks of a start state."""
    response = impulse_response(denominator, 2 * length)
    spread: Floats = np.convolve(denominator[::-1], response)[: 2 * length]
    return spread


def circular(sound: Floats, response: Floats) -> Floats:
    """The circular convolution of sections 3.5.1 and 4.2; the response is twice as long."""
    length = len(sound)
    folded = np.convolve(sound, response)[: 2 * length]
    wrapped: Floats = folded[:length] + folded[length:]
    return wrapped


class HighPass:
    """A filter of second order over blocks of any length up to 240 samples."""

    def __init__(self, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
        zeros, poles = coefficients
        response = [1.0, -poles[1]]
        for _ in range(LPC_WINDOW - 2):
            response.append(-poles[1] * response[-1] - poles[2] * response[-2])
        rest = np.array(response)
        self._response = np.convolve(zeros, rest)[:LPC_WINDOW]
        # What the last two inputs and outputs contribute to the next block.
        echoes = ((zeros[1], zeros[2]), (zeros[2], 0.0), (-poles[1], -poles[2]), (-poles[2], 0.0))
        self._echo = np.array([np.convolve(echo, rest)[:LPC_WINDOW] for echo in echoes])
        self._past = np.zeros(4)

    def process(self, sound: Floats) -> Floats:
        """Filter the next block."""
        length = len(sound)
        filtered: Floats = np.convolve(sound, self._response)[:length]
        filtered += self._past @ self._echo[:, :length]
        self._past[:2] = sound[:-3:-1]
        self._past[2:] = filtered[:-3:-1]
        return filtered
