"""The decoder: section 4 of RFC 3951, without the enhancer, which is optional and adds delay."""

from __future__ import annotations

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
    all_pole,
    dispersion,
    impulse_response,
    interpolate,
    polynomials,
    separate,
)
from spech.codecs.ilbc.tables import (
    LSF_CODEBOOKS,
    LSF_MEAN,
    ORDER,
    OUTPUT_FILTER,
    SUBFRAME,
    Floats,
)

_LOUDEST = 2.0**17


class IlbcDecoder:
    """Decodes the frames of one stream, of either mode."""

    def __init__(self) -> None:
        self._high_pass = HighPass(OUTPUT_FILTER)
        self._last_lsf = LSF_MEAN
        self._past = np.zeros(ORDER)

    def decode(self, layout: Layout, payload: bytes) -> Floats | None:
        """The sound of one frame of ``layout.bytes`` bytes; None if it is marked as empty."""
        fields = layout.unpack(payload)
        if fields is None:
            return None
        sets = np.concatenate(
            [
                LSF_CODEBOOKS[number % len(LSF_CODEBOOKS)][index]
                for number, index in enumerate(fields.lsf.tolist())
            ]
        )
        lsf = separate(sets.reshape(-1, ORDER))
        denominators = polynomials(interpolate(layout.mode, self._last_lsf, lsf))
        self._last_lsf = lsf[-1]
        residual = _residual(layout, fields, denominators[fields.start - 1])
        responses = impulse_response(denominators, SUBFRAME)
        for number, denominator in enumerate(denominators):
            span = slice(number * SUBFRAME, (number + 1) * SUBFRAME)
            part = all_pole(residual[span], denominator, responses[number], self._past)
            residual[span] = part
            # Invalid frames may give an unstable filter; its state must stay finite.
            self._past = np.clip(part[-ORDER:], -_LOUDEST, _LOUDEST)
        return self._high_pass.process(residual)


def _residual(layout: Layout, fields: Fields, denominator: Floats) -> Floats:
    residual = np.zeros(layout.samples)
    response = dispersion(denominator, layout.state)
    state = construct_state(fields.amplitude, fields.samples, response)
    residual[state_span(layout, fields.start, fields.first)] = state
    for block in blocks(layout, fields.start, fields.first):
        length = len(residual[block.span])
        vectors = codebook(block.remembered(residual), length)
        # With 20 ms, the last two of the 128 indices that fit the bits mean no vector.
        chosen = vectors[np.minimum(fields.vectors[block.number], len(vectors) - 1)]
        residual[block.span] = dequantise(fields.gains[block.number]) @ chosen
    return residual
