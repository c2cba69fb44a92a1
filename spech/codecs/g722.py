"""G.722: 7 kHz of speech in 64 kbit/s, by sub-band ADPCM.

Its RTP clock runs at 8000 Hz although there are 16000 samples in a second: an error in the
first list of payload types that is kept for compatibility (RFC 3551 section 4.5.2).
"""

from __future__ import annotations

from array import array

import numpy as np
from G722 import G722

from spech.codecs.base import BaseCodec, CodecInfo, CodecMaker, Impairment, Samples
from spech.codecs.conceal import Concealer

_RATE = 16000
_BITRATE = 64000


class G722Codec(BaseCodec):
    """Two samples in each byte; payload type 9."""

    def __init__(self) -> None:
        super().__init__("G722", _RATE, clock_rate=8000, payload_type=9, frame=2)
        self._encoder = G722(_RATE, _BITRATE)
        self._decoder = G722(_RATE, _BITRATE)
        self._concealer = Concealer(_RATE)

    def encode(self, pcm: Samples) -> bytes:
        """One byte for two samples."""
        self.require_frames(pcm)
        payload: bytes = self._encoder.encode(array("h", pcm.tobytes()))
        return payload

    def decode(self, payload: bytes) -> Samples:
        """Two samples for a byte; every byte is valid."""
        pcm = np.frombuffer(self._decoder.decode(payload), np.int16)
        return self._concealer.heard(pcm)

    def conceal(self, samples: int) -> Samples:
        """Repeat the last pitch period and fade."""
        return self._concealer.extend(samples)


#: Ie,wb of ITU-T G.113 Appendix IV at 64 kbit/s. Bpl is that of G.711, concealed in the same way.
_IMPAIRMENT = Impairment(13.0, 25.1, "wideband")

_INFO = CodecInfo("G722", _RATE, _BITRATE, True, None, _IMPAIRMENT, "G722")

MAKERS: tuple[CodecMaker, ...] = (CodecMaker(_INFO, G722Codec),)
