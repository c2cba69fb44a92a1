"""The frames of an audio connection: a header, then 20 ms of sound as PCM or in Opus.

Opus is for a client whose network is too slow for PCM; it asks for that, and each side then says in
a text frame what its binary frames hold from there on (docs/protocol.md).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import inf
from typing import Final, Literal

import msgspec
import numpy as np

from spech.codecs.opus import OPUS_RATES, OpusCodec, opuslib
from spech.errors import RemoteProtocolError

#: Sequence number of the frame, position of its first sample (see docs/protocol.md).
HEADER: Final = struct.Struct("<IQ")
#: Bits per second that we send on average in Opus: speech has no audible artifacts at this rate.
OPUS_BITRATE: Final = 24_000
#: Seconds of sound in one frame of the client.
_LONGEST: Final = 0.1
#: Seconds that Opus is decoded ahead of the clock. What has waited in the network comes at once;
#: more than this comes only from a client that sends faster than it records.
_MOST_AHEAD: Final = 2.0

#: Seconds of lateness forgiven per second: the clocks differ, and a client that paused for a
#: moment must not look like a slow network.
_FORGOTTEN: Final = 0.02

SoundFormat = Literal["pcm", "opus"]


class FormatChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text frame of either side: what its binary frames hold from here on."""

    format: SoundFormat


_DECODER: Final = msgspec.json.Decoder(FormatChange)


class OpusSound:
    """An Opus encoder and decoder for one audio connection.

    Args:
        rate: of the PCM, in Hz, one of `OPUS_RATES`.
        clock: returns the time in seconds.
    """

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        self._codec = OpusCodec(rate=rate, bitrate=OPUS_BITRATE)
        self._rate = rate
        self._clock = clock
        #: When the clock will have caught up with what was decoded.
        self._caught_up_at = clock()

    def encode(self, pcm: bytes) -> bytes:
        """A packet with 20 ms of PCM, which is int16 little-endian mono."""
        return self._codec.encode(np.frombuffer(pcm, "<i2").astype(np.int16, copy=False))

    def decode(self, packet: bytes) -> bytes | None:
        """The PCM of a packet; empty if more comes than time passes.

        None if it is no packet of Opus, or one of more than 100 ms.
        """
        now = self._clock()
        if self._caught_up_at - now > _MOST_AHEAD:
            return b""
        try:
            pcm = self._codec.decode(packet)
        except RemoteProtocolError:
            return None
        seconds = len(pcm) / self._rate
        self._caught_up_at = max(self._caught_up_at, now) + seconds
        return pcm.astype("<i2", copy=False).tobytes() if seconds <= _LONGEST else None


class FrameReader:
    """Takes the client's frames apart and refuses nonsense.

    Usable is a header with a sequence number ahead of the last one, then up to 100 ms of sound in
    the present format, which is PCM at first; and a `FormatChange`.

    Args:
        rate: of the PCM, in Hz.
        clock: returns the time in seconds.

    Attributes:
        bad: frames that were not usable.
        lost: frames that the client numbered and never sent, or sent too fast.
        position: that of the newest frame, in samples.
        opus: what encodes and decodes while the format is Opus, else None.
    """

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        self.bad = 0
        self.lost = 0
        self.position = 0
        self.opus: OpusSound | None = None
        self.rate = rate
        self._clock = clock
        self._longest = 2 * int(rate * _LONGEST)
        self._next_sequence: int | None = None
        #: How late the quickest frame was, seconds; the clocks of both ends differ by a constant.
        self._least = inf
        self._asked_about = 0
        #: Made once, so that a client cannot have it made again and again.
        self._opus_sound: OpusSound | None = None

    @property
    def formats(self) -> tuple[SoundFormat, ...]:
        """What the client can choose from."""
        possible = opuslib is not None and self.rate in OPUS_RATES
        return ("pcm", "opus") if possible else ("pcm",)

    def receive_frame(self, frame: str | bytes) -> bytes | None:
        """The frame's PCM, int16 little-endian mono, or None when the frame is not usable.

        It is empty for a frame without sound.
        """
        if isinstance(frame, str):
            if self._change_format(frame):
                return b""
        elif (length := len(frame) - HEADER.size) > 0:
            sequence, position = HEADER.unpack_from(frame)
            expected = self._next_sequence
            ahead = 0 if expected is None else (sequence - expected) & 0xFFFFFFFF
            # TCP keeps order, so a number that lies behind was not counted by the rules.
            if ahead < 0x80000000:
                sound = frame[HEADER.size :]
                pcm: bytes | None = sound
                if self.opus is not None:
                    pcm = self.opus.decode(sound)
                    ahead += pcm == b""
                elif length > self._longest or length % 2:
                    pcm = None
                if pcm is not None:
                    self.lost += ahead
                    self.position = position
                    self._next_sequence = (sequence + 1) & 0xFFFFFFFF
                    return pcm
        self.bad += 1
        return None

    def lateness(self) -> float | None:
        """How many seconds later the newest frame is than the fastest one: the time that it waited
        in the network.

        To be asked once a second. None if nothing came since.
        """
        if self.position == self._asked_about:
            self._least = inf
            return None
        self._asked_about = self.position
        late = self._clock() - self.position / self.rate
        self._least = min(late, self._least + _FORGOTTEN)
        return late - self._least

    def _change_format(self, text: str) -> bool:
        try:
            wanted = _DECODER.decode(text).format
        except msgspec.DecodeError:
            return False
        if wanted not in self.formats:
            return False
        if wanted == "pcm":
            self.opus = None
        else:
            self._opus_sound = self._opus_sound or OpusSound(self.rate, self._clock)
            self.opus = self._opus_sound
        return True
