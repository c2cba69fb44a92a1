"""What encoder and decoder share: start states, adaptive codebooks and frame order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from spech.codecs.ilbc.bits import Layout
from spech.codecs.ilbc.filters import circular
from spech.codecs.ilbc.tables import (
    AMPLITUDES,
    EXPANSION_FILTER,
    FULL_AMPLITUDE,
    GAINS,
    LEAST_SCALE,
    LEVELS,
    MEMORY,
    STATE,
    STATE_MEMORY,
    SUBFRAME,
    Floats,
    Integers,
)

_CROSSFADE = 5


def construct_state(amplitude: int, samples: Integers, response: Floats) -> Floats:
    """The start state: levels scaled, and through the all-pass filter backwards (section 4.2)."""
    scale = 10 ** AMPLITUDES[amplitude] / FULL_AMPLITUDE
    state: Floats = scale * circular(LEVELS[samples][::-1], response)[::-1]
    return state


def codebook(memory: Floats, length: int) -> Floats:
    """All vectors that can predict a block of ``length`` samples: vectors x samples.

    First come the pieces of the memory, from its end backwards. For blocks of 40 samples, pieces
    follow that repeat fewer than 40 of the last samples. Then come the same pieces of the memory
    after an expansion filter (section 3.6.3).
    """
    expanded = np.convolve(memory, EXPANSION_FILTER)[4 : 4 + len(memory)]
    first, second, fade = _pieces(len(memory), length)
    both = np.stack((memory, expanded))
    pieces = both[:, first]
    if len(fade):
        short = pieces[:, -len(fade) :]
        short += fade * (both[:, second] - short)
    return pieces.reshape(-1, length)


@cache
def _pieces(memory: int, length: int) -> tuple[Integers, Integers, Floats]:
    """Indices into the memory: of each vector's samples, and of those to fade to; and the fade."""
    time = np.arange(length)
    offsets = np.arange(memory - length, -1, -1)[:, None] + time
    if length != SUBFRAME:
        return offsets, offsets[:0], np.zeros((0, length))
    lag = np.arange(length // 2, length)[:, None]
    fade = np.clip((time - lag + _CROSSFADE) / _CROSSFADE, 0, 1)
    # Samples after the end of the memory have weight zero.
    newest = np.minimum(memory - lag + time, memory - 1)
    return np.concatenate((offsets, newest)), memory - 2 * lag + time, fade


def dequantise(indices: Integers) -> Floats:
    """The gains of three stages; each is in units of the one before."""
    gains = []
    scale = 1.0
    for table, index in zip(GAINS, indices.tolist(), strict=True):
        gains.append(max(scale, LEAST_SCALE) * table[index])
        scale = abs(gains[-1])
    return np.array(gains)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of the residual that is predicted from samples that are already known.

    Attributes:
        number: of its row in the frame's vectors and gains.
        subframe: that it lies in.
        span: its samples, the last one first where it is predicted backwards.
        known: the samples that it is predicted from, in the same direction.
        memory: how many samples its codebook is made from; before ``known`` there are zeros.
    """

    number: int
    subframe: int
    span: slice
    known: slice
    memory: int

    def remembered(self, residual: Floats) -> Floats:
        """The memory of the codebook."""
        known = residual[self.known]
        return np.concatenate((np.zeros(self.memory - len(known)), known))


def state_span(layout: Layout, start: int, first: bool) -> slice:
    """Where the start state is in the residual."""
    begin = (start - 1) * SUBFRAME + (0 if first else STATE - layout.state)
    return slice(begin, begin + layout.state)


@cache
def blocks(layout: Layout, start: int, first: bool) -> tuple[Block, ...]:
    """All other blocks in the order of coding: beside the state, after it, and before it."""
    return tuple(_blocks(layout, start, first))


def _blocks(layout: Layout, start: int, first: bool) -> Iterator[Block]:
    state = state_span(layout, start, first)
    begin, end = (start - 1) * SUBFRAME, (start + 1) * SUBFRAME
    if first:
        yield Block(0, start, slice(state.stop, end), state, STATE_MEMORY)
    else:
        known = _backwards(state.stop, state.start)
        yield Block(0, start - 1, _backwards(state.start, begin), known, STATE_MEMORY)
    number = 1
    for subframe in range(start + 1, layout.subframes):
        at = subframe * SUBFRAME
        known = slice(max(begin, at - MEMORY), at)
        yield Block(number, subframe, slice(at, at + SUBFRAME), known, MEMORY)
        number += 1
    for subframe in range(start - 2, -1, -1):
        at = (subframe + 1) * SUBFRAME
        known = _backwards(min(layout.samples, at + MEMORY), at)
        yield Block(number, subframe, _backwards(at, at - SUBFRAME), known, MEMORY)
        number += 1


def _backwards(stop: int, start: int) -> slice:
    """The samples from ``start`` until before ``stop``, the last one first."""
    return slice(stop - 1, start - 1 if start else None, -1)
