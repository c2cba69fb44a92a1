"""A writer of Opus in Ogg, by FFmpeg. Importing this module loads FFmpeg; threads do that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from io import FileIO
from typing import Final

import av
from av.audio.stream import AudioStream

from spech.codecs.base import Samples

_LAYOUTS: Final = {1: "mono", 2: "stereo"}
_BITRATE: Final = 32_000
_PAGE_MICROSECONDS: Final = 500_000


class OpusFile:
    """Opus in Ogg (RFC 7845), 32 kbit/s for each channel.

    Args:
        file: an empty file, which is closed with this object.
        rate: one of the rates of Opus in Hz.
        channels: 1 or 2.

    Raises:
        OSError: the file cannot be written; that of FFmpeg becomes one too.
    """

    def __init__(self, file: FileIO, rate: int, channels: int) -> None:
        self._rate = rate
        self._layout = _LAYOUTS[channels]
        self._channels = channels
        self._position = 0
        self._file = file
        try:
            with _os_errors():
                options = {"page_duration": str(_PAGE_MICROSECONDS), "flush_packets": "1"}
                self._container = av.open(self._file, "w", format="ogg", options=options)
                stream = self._container.add_stream("libopus", rate=rate, layout=self._layout)
                stream.codec_context.bit_rate = _BITRATE * channels
                stream.codec_context.open()
                self._container.start_encoding()
        except OSError:
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
            with _os_errors():
                self._fifo.write(frame)
                self._encode(partial=False)
        return True

    def sync(self) -> None:
        pass  # Each page is on its way as soon as it is full.

    def close(self) -> None:
        with _os_errors():
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


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    """Raise errors of FFmpeg as OSError, so that callers need not load FFmpeg to name them."""
    try:
        yield
    except OSError:
        raise
    except (ValueError, av.FFmpegError) as error:
        raise OSError(getattr(error, "errno", None) or 0, str(error)) from error
