"""The bits of a frame, in the three classes of sensitivity of RFC 3951 section 3.8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spech.codecs.ilbc.tables import STAGES, SUBFRAME, Integers

_Split = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Fields:
    """The indices that describe a frame, as the codec uses them.

    Attributes:
        lsf: three for each set of line spectral frequencies.
        start: the later of the two subframes with the start state, counted from 0.
        first: whether the state is at the beginning of these two, not at their end.
        amplitude: of the start state.
        samples: the level of each sample of the state.
        vectors: of the codebook, one row for each block and a column for each stage; the first
            block is the rest of the two subframes.
        gains: that go with the vectors.
    """

    lsf: Integers
    start: int
    first: bool
    amplitude: int
    samples: Integers
    vectors: Integers
    gains: Integers


class Layout:
    """How the frames of one mode are laid out.

    Args:
        mode: milliseconds of a frame: 20 or 30.
    """

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.samples = mode * 8
        self.subframes = self.samples // SUBFRAME
        self.sets = mode // 10 - 1
        self.state = 57 if mode == 20 else 58
        self.blocks = self.subframes - 1
        splits: list[_Split] = [(6, 0, 0), (7, 0, 0), (7, 0, 0)] * self.sets
        splits += [(2 if mode == 20 else 3, 0, 0), (1, 0, 0), (6, 0, 0)]
        splits += [(0, 1, 2)] * self.state
        vectors, gains = _SPLITS[mode]
        # The fields of the two subframes with the state come first.
        for block in (slice(0, 1), slice(1, None)):
            splits += [split for row in vectors[block] for split in row]
            splits += [split for row in gains[block] for split in row]
        # For each bit of the payload, the field that it belongs to and its weight there.
        field: list[int] = []
        shift: list[int] = []
        for sensitivity in range(3):
            for number, split in enumerate(splits):
                low = sum(split[sensitivity + 1 :])
                bits = range(low + split[sensitivity] - 1, low - 1, -1)
                shift += bits
                field += [number] * len(bits)
        self._count = len(splits)
        self._field = np.array(field)
        self._shift = np.array(shift)
        self.bytes = (len(field) + 1) // 8

    def pack(self, fields: Fields) -> bytes:
        """The payload; its last bit is zero, which marks a frame that is not empty."""
        vectors = fields.vectors.copy()
        # Stages 2 and 3 of the first whole subframe choose from half of the vectors.
        later = vectors[1, 1:]
        later -= np.where(later >= 236, 128, np.where(later >= 108, 64, 0))
        values = np.concatenate(
            (
                fields.lsf,
                (fields.start, fields.first, fields.amplitude),
                fields.samples,
                vectors[0],
                fields.gains[0],
                vectors[1:].ravel(),
                fields.gains[1:].ravel(),
            )
        )
        bits = (values[self._field] >> self._shift) & 1
        return np.packbits(np.append(bits, 0).astype(np.uint8)).tobytes()

    def unpack(self, payload: bytes) -> Fields | None:
        """The fields of a payload of the right length; None if it says that it is empty."""
        bits = np.unpackbits(np.frombuffer(payload, np.uint8)).astype(np.int64)
        values = np.zeros(self._count, np.int64)
        np.add.at(values, self._field, bits[:-1] << self._shift)
        lsf, head, samples, rest, rest_gains, vectors, gains = np.split(
            values,
            np.cumsum((3 * self.sets, 3, self.state, STAGES, STAGES, STAGES * (self.blocks - 1))),
        )
        start, first, amplitude = head.tolist()
        if bits[-1] or not 1 <= start < self.subframes:
            return None
        vectors = np.concatenate((rest, vectors)).reshape(-1, STAGES)
        later = vectors[1, 1:]
        later += np.where(later >= 108, 128, np.where(later >= 44, 64, 0))
        gains = np.concatenate((rest_gains, gains)).reshape(-1, STAGES)
        return Fields(lsf, start, bool(first), amplitude, samples, vectors, gains)


_V: _Split = (0, 0, 7)
_W: _Split = (0, 0, 8)
_G: _Split = (0, 0, 3)
#: Vectors and gains of each block and stage: bits in each class.
_SPLITS: dict[int, tuple[list[list[_Split]], list[list[_Split]]]] = {
    20: (
        [[(6, 0, 1), _V, _V], [(7, 0, 1), _V, _V], [_W, _W, _W]],
        [
            [(2, 0, 3), (1, 1, 2), _G],
            [(1, 2, 2), (1, 1, 2), _G],
            [(1, 1, 3), (0, 2, 2), _G],
        ],
    ),
    30: (
        [[(4, 2, 1), _V, _V], [(6, 1, 1), _V, _V], *[[(0, 7, 1), _W, _W]] * 3],
        [
            [(1, 1, 3), (1, 1, 2), _G],
            [(1, 2, 2), (1, 2, 1), _G],
            [(0, 2, 3), (0, 2, 2), _G],
            *[[(0, 1, 4), (0, 1, 3), _G]] * 2,
        ],
    ),
}
LAYOUTS = {mode: Layout(mode) for mode in (20, 30)}
