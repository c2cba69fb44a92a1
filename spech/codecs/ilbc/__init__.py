"""iLBC: 15.2 kbit/s in frames of 20 ms, 13.33 kbit/s in frames of 30 ms (RFC 3951, RFC 3952).

Encoder and decoder are our own. Frames are independent of each other, so a lost one does not affect
the next.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from spech.codecs.base import BaseCodec, CodecInfo, CodecMaker, Impairment, Samples, parameters
from spech.codecs.conceal import Concealer
from spech.codecs.ilbc.bits import LAYOUTS
from spech.codecs.ilbc.decoder import IlbcDecoder
from spech.codecs.ilbc.encoder import IlbcEncoder
from spech.codecs.ilbc.tables import RATE
from spech.errors import RemoteProtocolError

_LONGEST_MS = 200


class IlbcCodec(BaseCodec):
    """Decodes payloads of both modes; ``mode`` in ``a=fmtp`` decides which one is sent.

    Args:
        mode: milliseconds of a frame that we prefer: 20 or 30.
    """

    def __init__(self, mode: int) -> None:
        self._preferred = mode
        super().__init__(
            f"iLBC/{mode}",
            RATE,
            encoding="iLBC",
            fmtp=f"mode={mode}",
            longest_ms=_LONGEST_MS,
            ptime_ms=mode,
        )
        self._decoder = IlbcDecoder()
        self._concealer = Concealer(RATE)
        self._use(mode)

    def _use(self, mode: int) -> None:
        self._layout = LAYOUTS[mode]
        self._encoder = IlbcEncoder(self._layout)
        self.frame = self._layout.samples
        self._most_frames = _LONGEST_MS // mode

    def _agreed(self, fmtp: str | None) -> int:
        """The mode of the lower bit rate, if they are two; 30 where none is named (RFC 3952 5)."""
        return 20 if self._preferred == 20 and parameters(fmtp).get("mode") == "20" else 30

    def answer(self, offered: str | None) -> str | None:
        """The mode that both sides will use."""
        return f"mode={self._agreed(offered)}"

    def configure(self, fmtp: str | None) -> None:
        """Use the mode that was agreed."""
        mode = self._agreed(fmtp)
        if mode != self._layout.mode:
            self._use(mode)

    def encode(self, pcm: Samples) -> bytes:
        """38 bytes for each 20 ms, or 50 for each 30 ms."""
        frames = self.require_frames(pcm)
        return b"".join(map(self._encoder.encode, np.split(pcm.astype(np.float64), frames)))

    def decode(self, payload: bytes) -> Samples:
        """Decode frames of either mode, which the length of the payload tells."""
        for layout in LAYOUTS.values():
            frames, rest = divmod(len(payload), layout.bytes)
            if not rest and 0 < frames <= _LONGEST_MS // layout.mode:
                break
        else:
            raise RemoteProtocolError(f"{len(payload)} bytes are not whole frames of iLBC")
        parts = []
        for at in range(0, len(payload), layout.bytes):
            sound = self._decoder.decode(layout, payload[at : at + layout.bytes])
            if sound is None:
                parts.append(self._concealer.extend(layout.samples))
                continue
            pcm = np.clip(np.rint(sound), -32768, 32767).astype(np.int16)
            parts.append(self._concealer.heard(pcm))
        return np.concatenate(parts)

    def conceal(self, samples: int) -> Samples:
        """Repeat the last pitch period and fade."""
        return self._concealer.extend(samples)


#: Sun and Ifeachor: Voice quality prediction models and their application in VoIP networks (IEEE
#: Transactions on Multimedia 8, 2006), for 15.2 kbit/s, converted to the scale of ITU-T G.113 by
#: the values that both have for G.729 and AMR at 12.2 kbit/s.
_IMPAIRMENT = Impairment(9.0, 47.0)

MAKERS: tuple[CodecMaker, ...] = tuple(
    CodecMaker(
        CodecInfo(f"iLBC/{mode}", RATE, layout.bytes * 8000 // mode, True, None, _IMPAIRMENT),
        partial(IlbcCodec, mode),
    )
    for mode, layout in LAYOUTS.items()
)
