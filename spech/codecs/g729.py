"""G.729 Annex A over libbcg729: 8 kbit/s, 10 bytes for 10 ms (RFC 3551 section 4.5.6).

The peer may describe pauses after Annex B: a frame of 2 bytes (SID) describes the background noise,
and the decoder generates such noise until another frame comes. We describe pauses in this way where
silence is suppressed and ``annexb=no`` does not forbid it.
"""

from __future__ import annotations

import ctypes

from spech.codecs.base import BaseCodec, CodecInfo, CodecMaker, Impairment, Samples, parameters
from spech.codecs.library import Buffer, Library, LibraryState
from spech.errors import RemoteProtocolError

_RATE = 8000
_FRAME = 80
_FRAME_BYTES = 10
_SID_BYTES = 2
_MOST_FRAMES = 20
_REFRESH_FRAMES = 200  # without a word in a pause

LIBRARY = Library("bcg729", 0, "libbcg729-0")
_make_encoder = LIBRARY.function("initBcg729EncoderChannel", ctypes.c_void_p, ctypes.c_uint8)
_destroy_encoder = LIBRARY.function("closeBcg729EncoderChannel", None, ctypes.c_void_p)
_encode = LIBRARY.function(
    "bcg729Encoder",
    None,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.POINTER(ctypes.c_uint8),
)
_make_decoder = LIBRARY.function("initBcg729DecoderChannel", ctypes.c_void_p)
_destroy_decoder = LIBRARY.function("closeBcg729DecoderChannel", None, ctypes.c_void_p)
_decode = LIBRARY.function(
    "bcg729Decoder",
    None,
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_uint8,
    ctypes.c_uint8,
    ctypes.c_uint8,
    ctypes.c_uint8,
    ctypes.c_void_p,
)


class G729Codec(BaseCodec):
    """Payload type 18."""

    def __init__(self) -> None:
        super().__init__("G729", _RATE, payload_type=18, frame=_FRAME, dtx=True)
        self._suppress = self._pauses = False
        self._described = b""
        self._skipped = 0
        self._encoder = LibraryState(_make_encoder(0), _destroy_encoder)
        self._decoder = LibraryState(_make_decoder(), _destroy_decoder)
        self._spoken = Buffer(_FRAME * _MOST_FRAMES)
        self._heard = Buffer(_FRAME * (_MOST_FRAMES + 1))
        self._payload = ctypes.create_string_buffer(_FRAME_BYTES)
        self._size = ctypes.c_uint8()

    def answer(self, offered: str | None) -> str | None:
        """``annexb=no`` must be answered so; without it Annex B is meant (RFC 7261 section 3)."""
        return "annexb=no" if parameters(offered).get("annexb", "").lower() == "no" else None

    def suppress_silence(self, wanted: bool) -> None:
        """Describe pauses after Annex B, unless the peer forbids it."""
        self._suppress = wanted

    def configure(self, fmtp: str | None) -> None:
        """``annexb=no`` wants pauses to be sent as sound (RFC 7261 section 3)."""
        pauses = self._suppress and parameters(fmtp).get("annexb", "").lower() != "no"
        if pauses is not self._pauses:
            self._pauses = pauses
            self._encoder = LibraryState(_make_encoder(pauses), _destroy_encoder)

    def encode(self, pcm: Samples) -> bytes:
        """10 bytes for each 10 ms of sound, 2 where a pause begins or its noise changes.

        In a pause nothing is sent except the description from time to time. A packet cannot start
        within a pause (RFC 3551 section 4.5.6): the first frame after one moves to the front of its
        packet, 10 ms early.
        """
        frames = self.require_frames(pcm)
        self._spoken.pcm[: len(pcm)] = pcm
        parts = []
        for frame in range(frames):
            _encode(
                self._encoder.pointer,
                self._spoken.at(frame * _FRAME),
                self._payload,
                ctypes.byref(self._size),
            )
            parts.append(self._payload.raw[: self._size.value])
        sound = b"".join(part for part in parts if len(part) == _FRAME_BYTES)
        if len(parts[-1]) == _FRAME_BYTES:
            self._skipped = 0
            return sound
        described = [part for part in parts if len(part) == _SID_BYTES]
        self._skipped += frames
        if described:
            self._described = described[-1]
        elif self._skipped < _REFRESH_FRAMES:
            return sound
        self._skipped = 0
        return sound + self._described

    def decode(self, payload: bytes) -> Samples:
        """10 ms for each 10 bytes, and for 2 bytes of SID at the end."""
        frames, rest = divmod(len(payload), _FRAME_BYTES)
        if rest not in (0, _SID_BYTES) or not payload or frames > _MOST_FRAMES:
            raise RemoteProtocolError(f"{len(payload)} bytes are no frames of G.729")
        for frame in range(frames):
            part = payload[frame * _FRAME_BYTES : (frame + 1) * _FRAME_BYTES]
            self._decode(part, frame, erased=False)
        if rest:
            self._decode(payload[-_SID_BYTES:], frames, erased=False)
            frames += 1
        return self._heard.pcm[: frames * _FRAME].copy()

    def conceal(self, samples: int) -> Samples:
        """What the recommendation does about erased frames; comfort noise in a pause."""
        frames = min(-(-samples // _FRAME), _MOST_FRAMES)
        for frame in range(frames):
            self._decode(None, frame, erased=True)
        return self._heard.pcm[:samples].copy()

    def _decode(self, part: bytes | None, frame: int, *, erased: bool) -> None:
        size = 0 if part is None else len(part)
        _decode(
            self._decoder.pointer,
            part,
            size,
            erased,
            size == _SID_BYTES,
            0,
            self._heard.at(frame * _FRAME),
        )


#: ITU-T G.113 Appendix I: G.729 Annex A, with Annex B.
_IMPAIRMENT = Impairment(11.0, 19.0)
_INFO = CodecInfo("G729", _RATE, 8000, LIBRARY.available, LIBRARY.package, _IMPAIRMENT, "libbcg729")

MAKERS: tuple[CodecMaker, ...] = (CodecMaker(_INFO, G729Codec),)
