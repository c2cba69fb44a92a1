"""Speex at 8, 16 and 32 kHz over libspeex, packed as RFC 5574 says.

Every payload is parsed bit by bit before libspeex gets it: the library trusts its input, and prints
complaints to the standard error of the process.
"""

from __future__ import annotations

import ctypes
from functools import partial

from spech.codecs.base import BaseCodec, CodecInfo, CodecMaker, Impairment, Samples
from spech.codecs.library import Buffer, Library, LibraryState
from spech.errors import RemoteProtocolError

#: Of 10; 8 is hard to distinguish from the original, and the usual choice.
_QUALITY = 8
_COMPLEXITY = 3
#: Number of each mode, which is also that of its bands above the first, and its bits per second.
_MODES = {8000: (0, 15000), 16000: (1, 27800), 32000: (2, 29600)}
#: Nothing is published in ITU-T G.113. Narrowband lies between its values for GSM-EFR (12.2 kbit/s,
#: Ie 5) and G.729A (8 kbit/s, Ie 11); wideband is taken for AMR-WB at 12.65 kbit/s (Ie,wb 13), and
#: Bpl for that of G.729A, since all of them are CELP and extrapolate from the last frame alike.
_IMPAIRMENTS = {
    8000: Impairment(8.0, 19.0),
    16000: Impairment(13.0, 19.0, "wideband"),
    32000: Impairment(13.0, 19.0, "wideband"),
}
_MOST_FRAMES = 10
_MOST_BYTES = 1500
_REFRESH_FRAMES = 100  # without a word in a pause

_SET_ENHANCEMENT = 0
_SET_QUALITY = 4
_SET_COMPLEXITY = 16
_SET_VAD = 30
_SET_DTX = 34

# The grammar of a packet: the Speex manual, sections 9 and 10.
#: Bits of a narrowband frame by its submode, with the 5 that name it; others are reserved.
_NARROW = {0: 5, 1: 43, 2: 119, 3: 160, 4: 220, 5: 300, 6: 364, 7: 492, 8: 79}
_USER_MESSAGE, _MESSAGE, _TERMINATOR = 13, 14, 15
#: Bits of a message from one decoder to the other, by its code.
_MESSAGE_BITS = (1, 1, 4, 4, 4, 4, 4, 4, 8, 8, 16, 16, 32, 32, 64, 64)
#: Bits of what may follow a frame for the higher bands, by submode, with the 4 that name it.
_LAYERS = ({0: 4, 1: 36, 2: 112, 3: 192, 4: 352}, {0: 4, 1: 36})


class _Bits(ctypes.Structure):
    """``SpeexBits`` of speex_bits.h."""

    _fields_ = (
        ("chars", ctypes.c_void_p),
        ("count", ctypes.c_int),
        ("byte", ctypes.c_int),
        ("bit", ctypes.c_int),
        ("owner", ctypes.c_int),
        ("overflow", ctypes.c_int),
        ("size", ctypes.c_int),
        ("reserved", ctypes.c_int),
        ("reserved_pointer", ctypes.c_void_p),
    )


LIBRARY = Library("speex", 1, "libspeex1")
_BitsPointer = ctypes.POINTER(_Bits)
_mode = LIBRARY.function("speex_lib_get_mode", ctypes.c_void_p, ctypes.c_int)
_make_encoder = LIBRARY.function("speex_encoder_init", ctypes.c_void_p, ctypes.c_void_p)
_destroy_encoder = LIBRARY.function("speex_encoder_destroy", None, ctypes.c_void_p)
_control_encoder = LIBRARY.function(
    "speex_encoder_ctl",
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_int),
)
_encode = LIBRARY.function(
    "speex_encode_int", ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, _BitsPointer
)
_make_decoder = LIBRARY.function("speex_decoder_init", ctypes.c_void_p, ctypes.c_void_p)
_destroy_decoder = LIBRARY.function("speex_decoder_destroy", None, ctypes.c_void_p)
_control_decoder = LIBRARY.function(
    "speex_decoder_ctl",
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_int),
)
_decode = LIBRARY.function(
    "speex_decode_int", ctypes.c_int, ctypes.c_void_p, _BitsPointer, ctypes.c_void_p
)
_bits_over = LIBRARY.function(
    "speex_bits_init_buffer", None, _BitsPointer, ctypes.c_char_p, ctypes.c_int
)
_bits_reset = LIBRARY.function("speex_bits_reset", None, _BitsPointer)
_bits_read = LIBRARY.function(
    "speex_bits_read_from", None, _BitsPointer, ctypes.c_char_p, ctypes.c_int
)
_bits_write = LIBRARY.function(
    "speex_bits_write", ctypes.c_int, _BitsPointer, ctypes.c_char_p, ctypes.c_int
)
_bits_terminate = LIBRARY.function("speex_bits_insert_terminator", None, _BitsPointer)


class SpeexCodec(BaseCodec):
    """Speex at 8000, 16000 or 32000 Hz; a payload type is always agreed on."""

    def __init__(self, rate: int) -> None:
        super().__init__(f"speex/{rate}", rate, encoding="speex", frame=rate // 50, dtx=True)
        self._skipped = 0
        self._layers = _MODES[rate][0]
        mode = _mode(self._layers)
        self._encoder = LibraryState(_make_encoder(mode), _destroy_encoder)
        self._decoder = LibraryState(_make_decoder(mode), _destroy_decoder)
        for request, value in ((_SET_QUALITY, _QUALITY), (_SET_COMPLEXITY, _COMPLEXITY)):
            _control_encoder(self._encoder.pointer, request, ctypes.c_int(value))
        _control_decoder(self._decoder.pointer, _SET_ENHANCEMENT, ctypes.c_int(1))
        self._spoken = Buffer(self.frame * _MOST_FRAMES)
        self._heard = Buffer(self.frame * _MOST_FRAMES)
        self._payload = ctypes.create_string_buffer(_MOST_BYTES)
        self._written, self._written_bytes = _bits()
        self._read, self._read_bytes = _bits()

    def suppress_silence(self, wanted: bool) -> None:
        """libspeex then finds the pauses, and describes the noise where it changes."""
        for request in (_SET_VAD, _SET_DTX):
            _control_encoder(self._encoder.pointer, request, ctypes.c_int(wanted))

    def encode(self, pcm: Samples) -> bytes:
        """Encode frames of 20 ms one after the other, bit by bit, padded to a whole byte.

        In a suppressed pause nothing is sent except an empty frame from time to time.
        """
        frames = self.require_frames(pcm)
        self._spoken.pcm[: len(pcm)] = pcm
        _bits_reset(self._written)
        needed = 0
        for frame in range(frames):
            needed += _encode(
                self._encoder.pointer, self._spoken.at(frame * self.frame), self._written
            )
        self._skipped = 0 if needed else self._skipped + frames
        if 0 < self._skipped < _REFRESH_FRAMES:
            return b""
        self._skipped = 0
        _bits_terminate(self._written)
        size = _bits_write(self._written, self._payload, _MOST_BYTES)
        return ctypes.string_at(self._payload, size)

    def decode(self, payload: bytes) -> Samples:
        """20 ms for each frame."""
        frames = _count_frames(payload, self._layers)
        _bits_read(self._read, payload, len(payload))
        for frame in range(frames):
            if _decode(self._decoder.pointer, self._read, self._heard.at(frame * self.frame)):
                raise RemoteProtocolError("a frame of Speex that cannot be decoded")
        return self._heard.pcm[: frames * self.frame].copy()

    def conceal(self, samples: int) -> Samples:
        """Conceal by libspeex, which continues the last sound and fades."""
        frames = min(-(-samples // self.frame), _MOST_FRAMES)
        for frame in range(frames):
            _decode(self._decoder.pointer, None, self._heard.at(frame * self.frame))
        return self._heard.pcm[:samples].copy()


def _bits() -> tuple[_Bits, ctypes.Array[ctypes.c_char]]:
    """A writer or reader of bits over memory of ours, which it neither frees nor lets grow."""
    memory = ctypes.create_string_buffer(_MOST_BYTES)
    bits = _Bits()
    _bits_over(bits, memory, _MOST_BYTES)
    return bits, memory


def _count_frames(payload: bytes, layers: int) -> int:
    """How many frames a payload holds, if it is made of nothing but sound frames and messages.

    ``layers`` is how many higher bands the decoder has; it skips more of them.

    Raises:
        RemoteProtocolError: it is not, or holds none, or too many.
    """
    if not 0 < len(payload) < _MOST_BYTES:
        raise RemoteProtocolError(f"{len(payload)} bytes are no Speex packet")
    length = len(payload) * 8
    bits = int.from_bytes(payload, "big")
    position = frames = 0

    def peek(count: int, ahead: int = 0) -> int:
        shift = length - position - ahead - count
        return (bits >> shift) & ((1 << count) - 1) if shift >= 0 else 0

    while length - position >= 5:
        kind = peek(5)
        if kind == _TERMINATOR:
            break
        if kind in _NARROW:
            position += _NARROW[kind]
            frames += 1
            for number, sizes in enumerate(_LAYERS):
                if length - position < 4 or not peek(1):
                    break
                submode = peek(3, 1)
                size = sizes.get(submode)
                # libspeex loses its place when it skips a layer that is silent.
                if size is None or (number >= layers and not submode):
                    raise RemoteProtocolError("a mode of Speex that was not agreed on")
                position += size
        elif kind == _MESSAGE:
            position += 9 + _MESSAGE_BITS[peek(4, 5)]
        elif kind == _USER_MESSAGE:
            position += 5 + 4 + 5 + 8 * peek(4, 5)
        else:
            raise RemoteProtocolError("a reserved mode of Speex")
        if position > length:
            raise RemoteProtocolError("a Speex packet that was cut off")
    if not 0 < frames <= _MOST_FRAMES:
        raise RemoteProtocolError(f"{frames} frames in a Speex packet")
    return frames


def _maker(rate: int, bitrate: int) -> CodecMaker:
    info = CodecInfo(
        f"speex/{rate}",
        rate,
        bitrate,
        LIBRARY.available,
        LIBRARY.package,
        _IMPAIRMENTS[rate],
        "libspeex",
    )
    return CodecMaker(info, partial(SpeexCodec, rate))


MAKERS: tuple[CodecMaker, ...] = tuple(
    _maker(rate, bitrate) for rate, (_, bitrate) in _MODES.items()
)
