"""Writers of WAV and of Opus in Ogg. The files can be played even if the process is killed.

Both take interleaved int16 samples. All but the last second can be read back at any time:
:meth:`Writer.sync` corrects the header of WAV, and the pages of Ogg are half a second long. New
files can be read and written by their owner only.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
from av.audio.stream import AudioStream

from spech.codecs.base import Samples
from spech.errors import MediaError

_LARGEST = 0xFFFFFFFF - 64
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_LAYOUTS = {1: "mono", 2: "stereo"}
#: Rates that the encoder supports; others are resampled to the next higher one.
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
_OPUS_BITRATE = 32_000
_PAGE_MICROSECONDS = 500_000


class Writer(Protocol):
    """A file that one thread writes sound to.

    The methods raise OSError or av.FFmpegError on disk errors. Then only :meth:`abandon` may be
    called.
    """

    def write(self, samples: Samples) -> bool:
        """Append interleaved samples; False when the file cannot hold more."""
        ...

    def sync(self) -> None:
        """Make everything written so far readable; called about once a second."""
        ...

    def close(self) -> None:
        """Complete the file."""
        ...

    def abandon(self) -> None:
        """Leave the file as it is. Does not raise."""
        ...


class WavFile:
    """16-bit PCM in RIFF, up to its 4 GB."""

    def __init__(self, path: Path, rate: int, channels: int) -> None:
        self._rate = rate
        self._channels = channels
        self._bytes = 0
        self._file = os.fdopen(_create_private(path), "wb")
        try:
            self.sync()
        except OSError:
            self._file.close()
            raise

    def write(self, samples: Samples) -> bool:
        data = samples.astype("<i2", copy=False).tobytes()
        if self._bytes + len(data) > _LARGEST:
            return False
        self._file.write(data)
        self._bytes += len(data)
        return True

    def sync(self) -> None:
        block = 2 * self._channels
        header = _HEADER.pack(
            b"RIFF",
            36 + self._bytes,
            b"WAVE",
            b"fmt ",
            16,
            1,
            self._channels,
            self._rate,
            self._rate * block,
            block,
            16,
            b"data",
            self._bytes,
        )
        self._file.seek(0)
        self._file.write(header)
        self._file.seek(0, 2)
        self._file.flush()

    def close(self) -> None:
        self.sync()
        self._file.close()

    def abandon(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


class OpusFile:
    """Opus in Ogg (RFC 7845), 32 kbit/s for each channel."""

    def __init__(self, path: Path, rate: int, channels: int) -> None:
        self._rate = rate
        self._layout = _LAYOUTS[channels]
        self._channels = channels
        self._position = 0
        # Unbuffered: what FFmpeg hands over is in the file, not in this process.
        self._file = os.fdopen(_create_private(path), "wb", buffering=0)
        try:
            options = {"page_duration": str(_PAGE_MICROSECONDS), "flush_packets": "1"}
            self._container = av.open(self._file, "w", format="ogg", options=options)
            stream = self._container.add_stream("libopus", rate=rate, layout=self._layout)
            stream.codec_context.bit_rate = _OPUS_BITRATE * channels
            stream.codec_context.open()
            self._container.start_encoding()
        except (OSError, ValueError, av.FFmpegError):
            self._file.close()
            raise
        self._stream: AudioStream = stream
        self._frame_size = stream.codec_context.frame_size
        self._fifo = av.AudioFifo()

    def write(self, samples: Samples) -> bool:
        if len(samples):
            frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "s16", self._layout)
            frame.sample_rate = self._rate
            frame.time_base = Fraction(1, self._rate)
            frame.pts = self._position
            self._position += len(samples) // self._channels
            self._fifo.write(frame)
            self._encode(partial=False)
        return True

    def sync(self) -> None:
        pass  # Each page is on its way as soon as it is full.

    def close(self) -> None:
        self._encode(partial=True)
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._file.close()

    def abandon(self) -> None:
        with contextlib.suppress(OSError, ValueError, av.FFmpegError):
            self._container.close()
        self._file.close()

    def _encode(self, *, partial: bool) -> None:
        for frame in self._fifo.read_many(self._frame_size, partial=partial):
            self._container.mux(self._stream.encode(frame))


_KINDS: dict[str, type[WavFile] | type[OpusFile]] = {
    ".wav": WavFile,
    ".opus": OpusFile,
    ".ogg": OpusFile,
}


def plan_writer(path: str | Path, rate: int, channels: int) -> tuple[Callable[[], Writer], int]:
    """Choose the kind of file by its suffix: ``.wav``, ``.opus`` or ``.ogg``.

    Args:
        path: of the file; an existing one is replaced.
        rate: the sampling rate of the sound in Hz.
        channels: 1 or 2.

    Returns:


        A function that creates the file, and the rate in Hz that it accepts: that of the sound, or
        for Opus the next higher one that it supports. The function raises MediaError.

    Raises:
        MediaError: the name has another suffix.
    """
    path = Path(path)
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise MediaError(f"cannot record to {path}: the name must end in {', '.join(_KINDS)}")
    if kind is OpusFile:
        rate = next((each for each in _OPUS_RATES if each >= rate), _OPUS_RATES[-1])

    def create() -> Writer:
        try:
            return kind(path, rate, channels)
        except (OSError, ValueError, av.FFmpegError) as error:
            reason = getattr(error, "strerror", None) or error
            raise MediaError(f"cannot record to {path}: {reason}") from error

    return create, rate


def _create_private(path: Path) -> int:
    """Create a file that only its owner can read, or truncate an existing one."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
