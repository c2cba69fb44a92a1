"""PCMU and PCMA: ITU-T G.711 by table, one look-up a sample (RFC 3551 section 4.5.14).

The tables are computed from the definition when the module is loaded, as the reference software
of ITU-T G.191 computes them: a negative sample is complemented, not negated, before it is
compressed.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from spech.codecs.base import BaseCodec, CodecInfo, CodecMaker, Impairment, Samples
from spech.codecs.conceal import Concealer

_ALL_SAMPLES = np.arange(-32768, 32768, dtype=np.int32)
_ALL_CODES = np.arange(256, dtype=np.int32)


def _segments(magnitude: NDArray[np.int32]) -> NDArray[np.int32]:
    """The number of significant bits of each value."""
    return np.frexp(magnitude.astype(np.float64))[1].astype(np.int32)


def _by_bit_pattern(codes: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Order a table over -32768..32767 by the sample's bits read as an unsigned number."""
    return np.roll(codes, 32768).astype(np.uint8)


def _ulaw_encoder() -> NDArray[np.uint8]:
    magnitude = np.where(_ALL_SAMPLES < 0, ~_ALL_SAMPLES, _ALL_SAMPLES) >> 2
    magnitude = np.minimum(magnitude + 33, 0x1FFF)
    segment = _segments(magnitude >> 6) + 1
    code = ((8 - segment) << 4) | (0x0F - ((magnitude >> segment) & 0x0F))
    return _by_bit_pattern(np.where(_ALL_SAMPLES >= 0, code | 0x80, code))


def _ulaw_decoder() -> Samples:
    inverted = ~_ALL_CODES & 0xFF
    magnitude = (((inverted & 0x0F) << 3) + 0x84 << ((inverted & 0x70) >> 4)) - 0x84
    return np.where(inverted & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_encoder() -> NDArray[np.uint8]:
    magnitude = np.where(_ALL_SAMPLES < 0, ~_ALL_SAMPLES, _ALL_SAMPLES) >> 4
    segment = np.maximum(_segments(magnitude) - 4, 0)
    mantissa = np.where(segment > 0, (magnitude >> np.maximum(segment - 1, 0)) & 0x0F, magnitude)
    code = (segment << 4) | mantissa
    return _by_bit_pattern(np.where(_ALL_SAMPLES >= 0, code | 0x80, code) ^ 0x55)


def _alaw_decoder() -> Samples:
    code = _ALL_CODES ^ 0x55
    segment = (code & 0x70) >> 4
    mantissa = ((code & 0x0F) << 4) + 8
    magnitude = np.where(segment > 0, (mantissa + 0x100) << np.maximum(segment - 1, 0), mantissa)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


class _TableCodec(BaseCodec):
    """G.711 apart from its two tables."""

    def __init__(
        self, name: str, payload_type: int, encoder: NDArray[np.uint8], decoder: Samples
    ) -> None:
        super().__init__(name, 8000, payload_type=payload_type)
        self._encoder = encoder
        self._decoder = decoder
        self._concealer = Concealer(self.rate)

    def encode(self, pcm: Samples) -> bytes:
        """One byte a sample."""
        # Negative samples are negative indices, which count from the end of the table.
        return self._encoder.take(pcm).tobytes()

    def decode(self, payload: bytes) -> Samples:
        """One sample a byte; every byte is valid."""
        return self._concealer.heard(self._decoder.take(np.frombuffer(payload, np.uint8)))

    def conceal(self, samples: int) -> Samples:
        """Repeat the last pitch period and fade."""
        return self._concealer.extend(samples)


#: The sample of each code.
ULAW_SAMPLES: Final = _ulaw_decoder()
ALAW_SAMPLES: Final = _alaw_decoder()

_ULAW = (_ulaw_encoder(), ULAW_SAMPLES)
_ALAW = (_alaw_encoder(), ALAW_SAMPLES)


def pcmu() -> _TableCodec:
    """G.711 µ-law, payload type 0."""
    return _TableCodec("PCMU", 0, *_ULAW)


def pcma() -> _TableCodec:
    """G.711 A-law, payload type 8."""
    return _TableCodec("PCMA", 8, *_ALAW)


#: ITU-T G.113 Appendix I: G.711 with packet loss concealment.
_IMPAIRMENT = Impairment(0.0, 25.1)

MAKERS: tuple[CodecMaker, ...] = (
    CodecMaker(CodecInfo("PCMU", 8000, 64000, True, impairment=_IMPAIRMENT), pcmu),
    CodecMaker(CodecInfo("PCMA", 8000, 64000, True, impairment=_IMPAIRMENT), pcma),
)
