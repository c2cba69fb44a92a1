"""L16: uncompressed 16-bit PCM in network byte order (RFC 3551 section 4.5.11)."""

from __future__ import annotations

import numpy as np

from spech.codecs.base import Samples
from spech.codecs.conceal import Concealer


class LinearCodec:
    """Mono L16 at any rate. 44100 Hz has the static payload type 11, all others are dynamic."""

    def __init__(self, rate: int) -> None:
        self.name = f"L16/{rate}"
        self.encoding = "L16"
        self.rate = rate
        self.clock_rate = rate
        self.channels = 1
        self.payload_type: int | None = 11 if rate == 44100 else None
        self.fmtp: str | None = None
        self._concealer = Concealer(rate)

    def encode(self, pcm: Samples) -> bytes:
        """Two bytes a sample, the high byte first."""
        return pcm.astype(">i2").tobytes()

    def decode(self, payload: bytes) -> Samples:
        """Two bytes a sample; an odd last byte is dropped."""
        pcm = np.frombuffer(payload, ">i2", count=len(payload) // 2).astype(np.int16)
        self._concealer.heard(pcm)
        return pcm

    def conceal(self, samples: int) -> Samples:
        """Repeat the last pitch period and fade."""
        return self._concealer.extend(samples)
