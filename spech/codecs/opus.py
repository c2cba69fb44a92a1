"""Opus (RFC 6716) over libopus, with its SDP and RTP as RFC 7587 has them.

Sound is always 48 kHz here, whatever the peer encodes or wants to hear: the decoder brings every
bandwidth and stereo to 48 kHz mono, and the encoder narrows what it sends to what the peer plays.
"""

from __future__ import annotations

import ctypes

from spech.codecs.base import BaseCodec, CodecInfo, CodecMaker, Samples, parameters
from spech.codecs.library import Buffer, Library, State
from spech.errors import RemoteProtocolError

_RATE = 48000
_FRAME = 960
#: 32 kbit/s: the middle of what RFC 7587 section 3.1.1 names for fullband speech.
_BITRATE = 32000
#: Of 10. Above 5 mono speech at this bitrate gains nothing that is heard, and costs much more.
_COMPLEXITY = 5
_LONGEST = 5760  # 120 ms, the most that one packet holds (RFC 6716 section 3.2.1)
_LONGEST_MS = 120
_STEP = 120  # 2.5 ms, the grain of concealment
_MOST_BYTES = 1275 * 6 + 13
#: How much loss the encoder prepares for when it adds redundancy: per cent.
_EXPECTED_LOSS = 10

_APPLICATION_VOIP = 2048
_SET_BITRATE = 4002
_SET_MAX_BANDWIDTH = 4004
_SET_VBR = 4006
_SET_COMPLEXITY = 4010
_SET_INBAND_FEC = 4012
_SET_PACKET_LOSS = 4014
_SET_DTX = 4016
#: Up to that playback rate (Hz), that bandwidth.
_BANDWIDTHS = ((8000, 1101), (12000, 1102), (16000, 1103), (24000, 1104), (48000, 1105))

LIBRARY = Library("opus", 0, "libopus0")
_Error = ctypes.POINTER(ctypes.c_int)
_make_encoder = LIBRARY.function(
    "opus_encoder_create", ctypes.c_void_p, ctypes.c_int32, ctypes.c_int, ctypes.c_int, _Error
)
_destroy_encoder = LIBRARY.function("opus_encoder_destroy", None, ctypes.c_void_p)
# One more argument follows; it is variadic, so its type must not be declared.
_control = LIBRARY.function("opus_encoder_ctl", ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_encode = LIBRARY.function(
    "opus_encode",
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_int32,
)
_make_decoder = LIBRARY.function(
    "opus_decoder_create", ctypes.c_void_p, ctypes.c_int32, ctypes.c_int, _Error
)
_destroy_decoder = LIBRARY.function("opus_decoder_destroy", None, ctypes.c_void_p)
_decode = LIBRARY.function(
    "opus_decode",
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_int,
)


class OpusCodec(BaseCodec):
    """Opus at 48 kHz, mono.

    Args:
        bitrate: bits per second, 6000 to 510000; the peer can ask for less.
        complexity: 0 to 10; how much work the encoder takes on.
    """

    def __init__(self, *, bitrate: int = _BITRATE, complexity: int = _COMPLEXITY) -> None:
        # rtpmap says 48000 and 2, always (RFC 7587 section 7).
        super().__init__(
            "opus",
            _RATE,
            channels=2,
            fmtp="useinbandfec=1",
            frame=_FRAME,
            longest_ms=_LONGEST_MS,
        )
        error = ctypes.c_int()
        self._encoder = State(
            _make_encoder(_RATE, 1, _APPLICATION_VOIP, ctypes.byref(error)), _destroy_encoder
        )
        self._decoder = State(_make_decoder(_RATE, 1, ctypes.byref(error)), _destroy_decoder)
        self._spoken = Buffer(_LONGEST)
        self._heard = Buffer(_LONGEST)
        self._payload = ctypes.create_string_buffer(_MOST_BYTES)
        self._bitrate = bitrate
        self._set(_SET_COMPLEXITY, complexity)
        self._set(_SET_PACKET_LOSS, _EXPECTED_LOSS)
        self.configure(None)

    def configure(self, fmtp: str | None) -> None:
        """What the peer plays and can use: RFC 7587 section 6.1; all of it may be absent.

        Silence is sent as sound unless the peer asks for less of it (``usedtx``).
        """
        wishes = parameters(fmtp)
        self._set(_SET_INBAND_FEC, wishes.get("useinbandfec") == "1")
        self._set(_SET_DTX, wishes.get("usedtx") == "1")
        self._set(_SET_VBR, wishes.get("cbr") != "1")
        most = _number(wishes.get("maxaveragebitrate"), 6000, 510000, self._bitrate)
        self._set(_SET_BITRATE, min(most, self._bitrate))
        played = _number(wishes.get("maxplaybackrate"), 8000, 48000, 48000)
        self._set(_SET_MAX_BANDWIDTH, next(width for rate, width in _BANDWIDTHS if played <= rate))

    def encode(self, pcm: Samples) -> bytes:
        """One packet of 20, 40, 60, 80, 100 or 120 ms."""
        self.require_frames(pcm)
        samples = len(pcm)
        self._spoken.pcm[:samples] = pcm
        size = _encode(
            self._encoder.pointer, self._spoken.address, samples, self._payload, _MOST_BYTES
        )
        if size < 0:
            raise ValueError(f"libopus refused {samples} samples: error {size}")
        return ctypes.string_at(self._payload, size)

    def decode(self, payload: bytes) -> Samples:
        """Whatever the packet holds, up to 120 ms."""
        if not 0 < len(payload) <= _MOST_BYTES:
            raise RemoteProtocolError(f"{len(payload)} bytes are no Opus packet")
        return self._decode(payload, _LONGEST, 0)

    def conceal(self, samples: int) -> Samples:
        """libopus goes on from what it heard, and fades."""
        return self._decode(None, _whole_steps(samples), 0)[:samples]

    def recover(self, following: bytes, samples: int) -> Samples:
        """Take the redundant copy out of the next packet, or conceal if it carries none."""
        if not 0 < len(following) <= _MOST_BYTES:
            return self.conceal(samples)
        try:
            return self._decode(following, _whole_steps(samples), 1)[:samples]
        except RemoteProtocolError:
            return self.conceal(samples)

    def _decode(self, payload: bytes | None, samples: int, redundancy: int) -> Samples:
        count = _decode(
            self._decoder.pointer,
            payload,
            0 if payload is None else len(payload),
            self._heard.address,
            samples,
            redundancy,
        )
        if count < 0:
            raise RemoteProtocolError(f"no Opus packet: error {count} of libopus")
        return self._heard.pcm[:count].copy()

    def _set(self, request: int, value: int) -> None:
        error = _control(self._encoder.pointer, request, ctypes.c_int(value))
        if error:
            raise ValueError(f"libopus refused setting {request} to {value}: error {error}")


def _whole_steps(samples: int) -> int:
    return min(-(-samples // _STEP) * _STEP, _LONGEST)


def _number(text: str | None, least: int, most: int, otherwise: int) -> int:
    """A decimal number that a peer wrote, kept within bounds."""
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 10):
        return otherwise
    return min(max(int(text), least), most)


MAKERS = (
    CodecMaker(CodecInfo("opus", _RATE, _BITRATE, LIBRARY.available, LIBRARY.package), OpusCodec),
)
