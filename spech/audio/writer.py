"""Sound files that grow: WAV, and Opus in Ogg. Whatever ends the process, they can be played.

Both take interleaved int16 samples. What was written up to about a second before can be read back
at any time: the header of WAV is set right by :meth:`sync`, and Ogg's pages are half a second long.
"""

from __future__ import annotations

import contextlib
import struct
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
#: What the encoder takes; everything else is resampled to the next one above.
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
_OPUS_BITRATE = 32_000
_PAGE_MICROSECONDS = 500_000


class Writer(Protocol):
    """A file that sound is written to, by one thread.

    ``rate`` is in samples per second, and need not be the one that was asked for. The methods raise
    OSError, or an error of FFmpeg's, when the disk refuses; then :meth:`abandon` is left to do.
    """

    rate: int

    def write(self, samples: Samples) -> bool:
        """Append interleaved samples; False when the file can hold no more."""
        ...

    def sync(self) -> None:
        """Make what was written so far readable; called about once a second."""
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
        self.rate = rate
        self._channels = channels
        self._bytes = 0
        self._file = path.open("wb")
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
            self.rate,
            self.rate * block,
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
        self.rate = next((each for each in _OPUS_RATES if each >= rate), _OPUS_RATES[-1])
        self._layout = _LAYOUTS[channels]
        self._channels = channels
        self._position = 0
        # Unbuffered: what FFmpeg hands over is in the file, not in this process.
        self._file = path.open("wb", buffering=0)
        try:
            options = {"page_duration": str(_PAGE_MICROSECONDS), "flush_packets": "1"}
            self._container = av.open(self._file, "w", format="ogg", options=options)
            stream = self._container.add_stream("libopus", rate=self.rate, layout=self._layout)
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
            frame.sample_rate = self.rate
            frame.time_base = Fraction(1, self.rate)
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


def open_writer(path: str | Path, rate: int, channels: int) -> Writer:
    """Begin a file; its ending says of which kind: ``.wav``, ``.opus`` or ``.ogg``.

    Args:
        path: where; what is there is replaced.
        rate: samples per second that would fit the sound.
        channels: 1 or 2.

    Raises:
        MediaError: the file cannot be created, or its ending is another one.
    """
    path = Path(path)
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise MediaError(f"cannot record to {path}: the name must end in {', '.join(_KINDS)}")
    try:
        return kind(path, rate, channels)
    except (OSError, ValueError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"cannot record to {path}: {reason}") from error
