"""GSM 06.10 full rate over libgsm: 13 kbit/s, 33 bytes for 20 ms (RFC 3551 section 4.5.8)."""

from __future__ import annotations

import ctypes

from spech.codecs.base import BaseCodec, CodecInfo, CodecMaker, Impairment, Samples
from spech.codecs.conceal import Concealer
from spech.codecs.library import Buffer, Library, LibraryState
from spech.errors import RemoteProtocolError

_RATE = 8000
_FRAME = 160
_FRAME_BYTES = 33
_MOST_FRAMES = 10

LIBRARY = Library("gsm", 1, "libgsm1")
_make = LIBRARY.function("gsm_create", ctypes.c_void_p)
_destroy = LIBRARY.function("gsm_destroy", None, ctypes.c_void_p)
_encode = LIBRARY.function("gsm_encode", None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
_decode = LIBRARY.function(
    "gsm_decode", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
)


class GsmCodec(BaseCodec):
    """Payload type 3."""

    def __init__(self) -> None:
        super().__init__("GSM", _RATE, payload_type=3, frame=_FRAME)
        self._encoder = LibraryState(_make(), _destroy)
        self._decoder = LibraryState(_make(), _destroy)
        self._concealer = Concealer(_RATE)
        self._spoken = Buffer(_FRAME * _MOST_FRAMES)
        self._heard = Buffer(_FRAME * _MOST_FRAMES)
        self._payload = ctypes.create_string_buffer(_FRAME_BYTES)

    def encode(self, pcm: Samples) -> bytes:
        """33 bytes for each 20 ms."""
        frames = self.require_frames(pcm)
        self._spoken.pcm[: len(pcm)] = pcm
        parts = []
        for frame in range(frames):
            _encode(self._encoder.pointer, self._spoken.at(frame * _FRAME), self._payload)
            parts.append(self._payload.raw)
        return b"".join(parts)

    def decode(self, payload: bytes) -> Samples:
        """20 ms for each 33 bytes."""
        frames, rest = divmod(len(payload), _FRAME_BYTES)
        if rest or not 0 < frames <= _MOST_FRAMES:
            raise RemoteProtocolError(f"{len(payload)} bytes are no frames of GSM")
        for frame in range(frames):
            part = payload[frame * _FRAME_BYTES : (frame + 1) * _FRAME_BYTES]
            if _decode(self._decoder.pointer, part, self._heard.at(frame * _FRAME)):
                raise RemoteProtocolError("a frame of GSM without its signature")
        pcm = self._heard.pcm[: frames * _FRAME].copy()
        return self._concealer.heard(pcm)

    def conceal(self, samples: int) -> Samples:
        """Repeat the last pitch period and fade."""
        return self._concealer.extend(samples)


#: Ie of ITU-T G.113 Appendix I for the full rate. Bpl is that of the enhanced full rate there,
#: since both repeat the last frame and fade.
_IMPAIRMENT = Impairment(20.0, 10.0)
_INFO = CodecInfo("GSM", _RATE, 13200, LIBRARY.available, LIBRARY.package, _IMPAIRMENT, "libgsm")

MAKERS: tuple[CodecMaker, ...] = (CodecMaker(_INFO, GsmCodec),)
