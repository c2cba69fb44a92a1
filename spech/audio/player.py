"""A sound file as PCM, decoded as it is needed.

Everything here may wait for a disk or a pipe. The media clock therefore reads files through
:class:`~spech.audio.readahead.ReadAhead`, which runs a :class:`Player` in a thread.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from spech.audio.gain import Gain
from spech.audio.inputs import NEEDS_FILES, Encoding, FileObject, InputFile, open_input
from spech.audio.uncompressed import UncompressedDecoder
from spech.codecs.base import Samples
from spech.codecs.resample import convert
from spech.errors import MediaError

_log: Final = logging.getLogger(__name__)


class FileDecoder(Protocol):
    """An open file."""

    def decode(self, rate: int) -> Samples | None:
        """The next piece of sound, mono at ``rate`` Hz; None at the end.

        Raises:
            MediaError: the rest cannot be decoded.
        """
        ...

    def close(self) -> None:
        """Close the file; may be called again."""
        ...


class Player:
    """Reads any sound file, mixed down to mono: WAV, MP3, Ogg, FLAC, M4A and other usual formats.

    Compressed sound needs the extra ``spech[files]``.

    Args:
        path: the file, or a pipe, or a file object. Reading a pipe waits for its writer.
        gain: decibels by which it is louder than it was recorded.
        repeat: start again at the end, without a gap.
        interrupted: polled while waiting for a pipe; when it returns True, the pipe ends.

    Raises:
        MediaError: the file cannot be opened, holds no sound, or needs an extra that is not
            installed.
    """

    def __init__(
        self,
        path: str | Path | FileObject,
        *,
        gain: float = 0.0,
        repeat: bool = False,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._path = str(path)
        self._input = path if isinstance(path, FileObject) else str(path)
        self._interrupted = interrupted
        self._gain = Gain(gain)
        self._repeat = repeat
        self._rate = 0
        self._ready: Samples = np.zeros(0, np.int16)
        self._open()

    def _open(self) -> None:
        self._closing = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            try:
                source, encoding = open_input(self._input, self._interrupted)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                raise MediaError(f"cannot open {self._path}: {reason}") from error
            if not isinstance(source, str):
                stack.callback(source.close)
            self._decoder = _decoder(source, encoding, self._path)
            stack.callback(self._decoder.close)
            self._closing = stack.pop_all()
        self._sounded = False
        self._ended = False

    def read(self, samples: int, rate: int) -> Samples:
        """Return the next ``samples`` samples at ``rate`` Hz; fewer only at the end of the file.

        ``rate`` may change between two calls. A file that is damaged in the middle ends there; that
        is logged.
        """
        self._use_rate(rate)
        while len(self._ready) < samples:
            if not self._ended:
                self._convert_next()
            elif not self._start_again():
                break
        taken = self._ready[:samples]
        self._ready = self._ready[samples:]
        return self._gain.process(taken) if len(taken) else taken

    def skip(self, seconds: float, rate: int) -> None:
        """Go forward, to the end of the file at most. ``rate`` is the one that will be read at."""
        self._use_rate(rate)
        left = round(seconds * rate)
        while left > len(self._ready) and not self._ended and not self._interrupted():
            left -= len(self._ready)
            self._ready = self._ready[:0]
            self._convert_next()
        self._ready = self._ready[left:]

    def _use_rate(self, rate: int) -> None:
        if rate != self._rate:
            self._ready = convert(self._ready, self._rate, rate)
            self._rate = rate

    def close(self) -> None:
        """Close the file; may be called again."""
        self._ended = True
        self._repeat = False
        self._closing.close()

    def _start_again(self) -> bool:
        """Go to the beginning; False if that is not wanted, or would never yield sound."""
        if not self._repeat or not self._sounded:
            return False
        self._closing.close()
        try:
            self._open()
        except MediaError as error:
            _log.warning("cannot repeat %s: %s", self._path, error)
            return False
        return True

    def _convert_next(self) -> None:
        try:
            pcm = self._decoder.decode(self._rate)
        except MediaError as error:
            _log.warning("%s is damaged and ends early: %s", self._path, error)
            pcm = None
        if pcm is None:
            self._ended = True
            return
        self._sounded = self._sounded or len(pcm) > 0
        self._ready = np.concatenate((self._ready, pcm)) if len(self._ready) else pcm


def _decoder(source: InputFile | str, encoding: Encoding | None, path: str) -> FileDecoder:
    if encoding is not None and not isinstance(source, str):
        return UncompressedDecoder(source, encoding, path)
    try:
        from spech.audio.ffmpeg import FFmpegDecoder
    except ModuleNotFoundError as error:
        raise MediaError(f"cannot open {path}: {NEEDS_FILES}") from error
    return FFmpegDecoder(source, path)
