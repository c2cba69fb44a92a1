"""The encoder: section 3 of RFC 3951.

The codebooks are searched in full, with the vectors that the decoder will construct. The RFC
searches a part of them, and weights the memory before it constructs the vectors. With matrices, the
construction costs less than the search, and the result is no less exact.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import mul

import numpy as np

from spech.codecs.ilbc.bits import Fields, Layout
from spech.codecs.ilbc.codebook import (
    blocks,
    codebook,
    construct_state,
    dequantise,
    state_span,
)
from spech.codecs.ilbc.filters import (
    HighPass,
    circular,
    dispersion,
    frequencies,
    impulse_response,
    interpolate,
    polynomials,
    separate,
)
from spech.codecs.ilbc.tables import (
    AMPLITUDES,
    FULL_AMPLITUDE,
    GAINS,
    HIGHEST_GAIN,
    INPUT_FILTER,
    LAG_WINDOW,
    LEANING_WINDOW,
    LEAST_SCALE,
    LEVELS,
    LOOKBACK,
    LPC_WINDOW,
    LSF_CODEBOOKS,
    LSF_MEAN,
    ORDER,
    STAGES,
    SUBFRAME,
    SYNTHESIS_CHIRP,
    WEIGHTING_CHIRP,
    WINDOW,
    Floats,
    Integers,
)

_TINY = 1e-9
_LAGS = np.abs(np.subtract.outer(np.arange(ORDER), np.arange(ORDER)))
#: h[i - j] at row i and column j, zero above the diagonal: filtering as a product.
_DELAYS = np.subtract.outer(np.arange(SUBFRAME), np.arange(SUBFRAME))
_EDGES = ((LEVELS[1:] + LEVELS[:-1]) / 2).tolist()
_LEVELS = LEVELS.tolist()
_AMPLITUDE_EDGES = ((AMPLITUDES[1:] + AMPLITUDES[:-1]) / 2).tolist()
_SECOND_CHOICE = np.r_[0:44, 108:172, 236:256]
# Section 3.5: subframes in the middle are preferred, and so are pulses not too near the edge.
_EDGE = np.arange(1, 6) / 6
_FRONT = np.concatenate((_EDGE, np.ones(SUBFRAME - 5)))
_PREFERENCE = {20: np.array([0.9, 1.0, 0.9]), 30: np.array([0.8, 0.9, 1.0, 0.9, 0.8])}


class IlbcEncoder:
    """Encodes the frames of one stream, all of one mode."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._high_pass = HighPass(INPUT_FILTER)
        self._recent = np.zeros(LOOKBACK + LPC_WINDOW)
        self._before = np.zeros(ORDER)
        self._last_lsf = LSF_MEAN
        self._last_quantised = LSF_MEAN

    def encode(self, pcm: Floats) -> bytes:
        """The payload of one frame."""
        layout = self._layout
        sound = self._high_pass.process(pcm)
        indices, synthesis, weighting = self._predict(sound)
        residual = self._residual(sound, synthesis)
        start, first = self._locate(residual)
        span = state_span(layout, start, first)
        response = dispersion(synthesis[start - 1], layout.state)
        amplitude, samples = _search_state(
            residual[span], response, weighting[start - 1 : start + 1], span.start
        )
        decoded = np.zeros(layout.samples)
        decoded[span] = construct_state(amplitude, samples, response)
        shapes = impulse_response(weighting, SUBFRAME)
        vectors = np.zeros((layout.blocks, STAGES), np.int64)
        gains = np.zeros((layout.blocks, STAGES), np.int64)
        for block in blocks(layout, start, first):
            target = residual[block.span]
            choices = codebook(block.remembered(decoded), len(target))
            weight = _product(shapes[block.subframe], len(target))
            allowed = _SECOND_CHOICE if block.number == 1 else None
            vectors[block.number], gains[block.number] = _search(
                weight @ target, choices @ weight.T, allowed
            )
            decoded[block.span] = dequantise(gains[block.number]) @ choices[vectors[block.number]]
        return layout.pack(Fields(indices, start, first, amplitude, samples, vectors, gains))

    def _predict(self, sound: Floats) -> tuple[Integers, Floats, Floats]:
        """LSF indices, and the denominators of each subframe: of synthesis and of weighting."""
        layout, recent = self._layout, self._recent
        recent[: -len(sound)] = recent[len(sound) :]
        recent[-len(sound) :] = sound
        windowed = (recent[LOOKBACK:] * LEANING_WINDOW)[None]
        if layout.sets == 2:
            windowed = np.concatenate(((recent[:LPC_WINDOW] * WINDOW)[None], windowed))
        lsf = frequencies(np.array([_predictor(row) for row in windowed]))
        indices, quantised = _quantise(lsf)
        quantised = separate(quantised)
        mixed = np.concatenate(
            (
                interpolate(layout.mode, self._last_quantised, quantised),
                interpolate(layout.mode, self._last_lsf, lsf),
            )
        )
        self._last_lsf, self._last_quantised = lsf[-1], quantised[-1]
        denominators = polynomials(mixed)
        synthesis, weighting = np.split(denominators, 2)
        return indices, synthesis, weighting * WEIGHTING_CHIRP

    def _residual(self, sound: Floats, synthesis: Floats) -> Floats:
        extended = np.concatenate((self._before, sound))
        self._before = sound[-ORDER:]
        windows = np.lib.stride_tricks.sliding_window_view(extended, ORDER + 1)
        windows = windows.reshape(-1, SUBFRAME, ORDER + 1)
        residual: Floats = (windows @ synthesis[:, ::-1, None]).ravel()
        return residual

    def _locate(self, residual: Floats) -> tuple[int, bool]:
        """The two subframes for the start state, and which of their ends it is at."""
        layout = self._layout
        squares = residual**2
        rows = squares.reshape(-1, SUBFRAME)
        energy = rows[:-1] @ _FRONT + rows[1:] @ _FRONT[::-1]
        start = 1 + int(np.argmax(energy * _PREFERENCE[layout.mode]))
        early, late = (squares[state_span(layout, start, first)].sum() for first in (True, False))
        return start, bool(early > late)


def _predictor(windowed: Floats) -> Floats:
    """The linear predictor of order 10, its bandwidth expanded (section 3.2.2)."""
    padded = np.concatenate((windowed, np.zeros(ORDER)))
    shifted = np.lib.stride_tricks.sliding_window_view(padded, len(windowed))
    correlation = (shifted @ windowed) * LAG_WINDOW
    predictor = np.zeros(ORDER + 1)
    predictor[0] = 1.0
    if correlation[0] > _TINY:
        predictor[1:] = np.linalg.solve(correlation[_LAGS], -correlation[1:])
    return predictor * SYNTHESIS_CHIRP


def _quantise(lsf: Floats) -> tuple[Integers, Floats]:
    """Each set by three codebooks: the indices, and the sets that they stand for."""
    indices = []
    sets = []
    for row in lsf:
        begin = 0
        for book in LSF_CODEBOOKS:
            part = row[begin : begin + book.shape[1]]
            indices.append(int(np.argmin(((book - part) ** 2).sum(axis=1))))
            sets.append(book[indices[-1]])
            begin += book.shape[1]
    return np.array(indices), np.concatenate(sets).reshape(-1, ORDER)


def _search_state(
    residual: Floats, response: Floats, weighting: Floats, begin: int
) -> tuple[int, Integers]:
    """Amplitude and levels of the start state, with the noise shaped (sections 3.5.1, 3.5.2)."""
    spread = circular(residual, response)
    peak = np.log10(max(np.abs(spread).max(), 10.0))
    amplitude = bisect_left(_AMPLITUDE_EDGES, peak)
    scaled = (spread * (FULL_AMPLITUDE / 10 ** AMPLITUDES[amplitude])).tolist()
    # The weighted error of the last ten samples, the newest first.
    errors = [0.0] * ORDER
    taps = weighting[:, 1:].tolist()
    turn = SUBFRAME - begin % SUBFRAME
    samples = []
    for number, sample in enumerate(scaled):
        wanted = sample - sum(map(mul, taps[number >= turn], errors))
        level = bisect_left(_EDGES, wanted)
        samples.append(level)
        errors.insert(0, wanted - _LEVELS[level])
        errors.pop()
    return amplitude, np.array(samples)


def _product(response: Floats, length: int) -> Floats:
    """A matrix that filters ``length`` samples from rest on."""
    delays = _DELAYS[:length, :length]
    matrix: Floats = np.where(delays >= 0, response[delays], 0.0)
    return matrix


def _search(
    target: Floats, choices: Floats, second: Integers | None
) -> tuple[list[int], list[int]]:
    """Vectors and gain indices of three stages (section 3.6.4), all of it weighted.

    Args:
        target: samples.
        choices: vectors x samples.
        second: the vectors that stages 2 and 3 choose from; None for all.
    """
    energies = np.einsum("ij,ij->i", choices, choices)
    inverse = np.where(energies > _TINY, 1 / np.maximum(energies, _TINY), 0.0)
    likeness = choices @ target
    rest = target
    vectors: list[int] = []
    steps: list[int] = []
    scale = 1.0
    for stage, table in enumerate(GAINS):
        gains = likeness * inverse
        measure = np.where(np.abs(gains) < HIGHEST_GAIN, likeness * gains, -1.0)
        if stage == 0:
            measure[likeness <= 0] = -1.0
        elif second is not None:
            measure = measure[second]
        best = int(np.argmax(measure))
        if stage and second is not None:
            best = int(second[best])
        scale = max(scale, LEAST_SCALE)
        step = int(np.argmin(np.abs(gains[best] - scale * table)))
        vectors.append(best)
        steps.append(step)
        gain = scale * table[step]
        rest = rest - gain * choices[best]
        likeness = choices @ rest
        scale = abs(gain)
    # Section 3.7: the stages lose energy where they do not match; the first gain corrects it.
    matched = target - rest
    ratio = np.sqrt((target @ target) / max(float(matched @ matched), _TINY))
    gain = GAINS[0][steps[0]]
    while (
        steps[0] < len(GAINS[0]) - 1
        and GAINS[0][steps[0]] < 2 * gain
        and GAINS[0][steps[0] + 1] < ratio * gain
    ):
        steps[0] += 1
    return vectors, steps
