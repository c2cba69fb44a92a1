"""A sound file as PCM, decoded as it is needed."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from spech.audio.gain import Gain
from spech.codecs.base import Samples
from spech.errors import MediaError

logger = logging.getLogger(__name__)


#: The kinds of files that hold their sound. Playlists are not among them: they would have FFmpeg
#: open other files or addresses, and wait there for ever.
_FORMATS: Final = (
    "aac,ac3,aiff,alaw,amr,ape,asf,au,avi,caf,dsf,eac3,flac,flv,g722,gsm,matroska,mov,mp3,mpeg,"
    "mpegts,mulaw,ogg,sln,tta,voc,w64,wav,wv"
)
_OPTIONS: Final = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}


class Source(Protocol):
    """Something that plays."""

    def read(self, samples: int, rate: int) -> Samples:
        """The next ``samples`` samples at ``rate`` Hz; fewer only at the end."""
        ...

    def close(self) -> None:
        """Give back what it holds; may be called again."""
        ...


class Player:
    """Reads any sound file, mixed down to mono: WAV, MP3, Ogg, FLAC, M4A and what else is usual.

    Args:
        path: the file.
        gain: decibels by which it is louder than it was recorded.
        repeat: begin again at the end, without a gap.

    Raises:
        MediaError: the file cannot be opened, or holds no sound.
    """

    def __init__(self, path: str | Path, *, gain: float = 0.0, repeat: bool = False) -> None:
        self._path = str(path)
        self._gain = Gain(gain)
        self._repeat = repeat
        self._resampler: AudioResampler | None = None
        self._ready: Samples = np.zeros(0, np.int16)
        self._open()

    def _open(self) -> None:
        try:
            # "file:" keeps FFmpeg from taking a path for a network address.
            self._container = av.open(
                f"file:{Path(self._path).absolute()}", options=_OPTIONS, metadata_errors="replace"
            )
        except (OSError, ValueError, av.FFmpegError) as error:
            raise MediaError(f"cannot open {self._path}: {_reason(error)}") from error
        try:
            if not self._container.streams.audio:
                raise MediaError(f"{self._path} holds no sound")
            self._frames: Iterator[AudioFrame] = self._container.decode(audio=0)
            # The first frame is decoded now, so that a broken file is known at once.
            self._first = next(self._frames, None)
        except (OSError, ValueError, av.FFmpegError) as error:
            self._container.close()
            raise MediaError(f"cannot decode {self._path}: {_reason(error)}") from error
        except MediaError:
            self._container.close()
            raise
        self._sounded = False
        self._ended = self._first is None

    def read(self, samples: int, rate: int) -> Samples:
        """The next ``samples`` samples at ``rate`` Hz; fewer only at the end of the file.

        ``rate`` may change between two calls. A file that turns out to be damaged in the middle
        ends there; that is logged.
        """
        if self._resampler is None or self._resampler.rate != rate:
            self._resampler = AudioResampler(format="s16", layout="mono", rate=rate)
        while len(self._ready) < samples:
            if not self._ended:
                self._decode(self._resampler)
            elif not self._begin_again():
                break
        taken = self._ready[:samples]
        self._ready = self._ready[samples:]
        return self._gain.process(taken) if len(taken) else taken

    def close(self) -> None:
        """Close the file; may be called again."""
        self._ended = True
        self._repeat = False
        self._frames = iter(())
        self._container.close()

    def _begin_again(self) -> bool:
        """Go to the beginning; False where that is not wanted, or would never give any sound."""
        if not self._repeat or not self._sounded:
            return False
        self._container.close()
        try:
            self._open()
        except MediaError as error:
            logger.warning("%s is not repeated: %s", self._path, error)
            return False
        # The one before was flushed, and takes nothing more.
        assert self._resampler is not None
        rate = self._resampler.rate
        self._resampler = AudioResampler(format="s16", layout="mono", rate=rate)
        return True

    def _decode(self, resampler: AudioResampler) -> None:
        frame, self._first = self._first, None
        try:
            if frame is None:
                frame = next(self._frames, None)
            self._ended = frame is None
            # No frame flushes what the resampler holds back.
            decoded = resampler.resample(frame)
        except (OSError, ValueError, av.FFmpegError) as error:
            logger.warning("%s is damaged and ends early: %s", self._path, _reason(error))
            self._ended = True
            return
        parts = [piece.to_ndarray().reshape(-1) for piece in decoded]
        self._sounded = self._sounded or any(len(part) for part in parts)
        self._ready = np.concatenate((self._ready, *parts)).astype(np.int16, copy=False)


class Playlist:
    """Files and tones that play one behind the other, without a gap."""

    def __init__(self) -> None:
        self._players: deque[Source] = deque()

    def __bool__(self) -> bool:
        return bool(self._players)

    def queue(self, source: Source) -> None:
        """Queue something behind the others."""
        self._players.append(source)

    def read(self, samples: int, rate: int) -> Samples:
        """The next ``samples`` samples at ``rate`` Hz, padded with silence behind the last file."""
        parts: list[Samples] = []
        wanted = samples
        while self._players and wanted:
            part = self._players[0].read(wanted, rate)
            parts.append(part)
            wanted -= len(part)
            if wanted:
                self._players.popleft().close()
        if wanted:
            parts.append(np.zeros(wanted, np.int16))
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def clear(self) -> None:
        """Close and forget all files."""
        while self._players:
            self._players.popleft().close()


def _reason(error: Exception) -> str:
    """What went wrong, without the path, which is named already."""
    return getattr(error, "strerror", None) or str(error)
