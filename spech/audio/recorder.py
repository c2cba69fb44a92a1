"""Recordings as WAV files, written by a thread of their own.

The media clock hands over a frame and goes on; it never waits for a disk. The header is made
right about once a second, so that a recording survives whatever ends the process.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import struct
import threading
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from spech.codecs.base import Samples
from spech.codecs.resample import Resampler
from spech.errors import MediaError

logger = logging.getLogger(__name__)

_FRAMES_PER_SECOND = 50
_WAITING = 60 * _FRAMES_PER_SECOND
_STOP_PATIENCE = 2.0
_LARGEST = 0xFFFFFFFF - 64
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")


class Recording:
    """A mono WAV file of 16 bits that grows while a call lasts.

    Leaving its ``with`` block, :meth:`stop`, or the end of the call completes the file.

    Attributes:
        rate: samples per second.
        dropped: frames that were lost because the disk was too slow, or the file at its 4 GB.

    Raises:
        MediaError: the file cannot be created.
    """

    def __init__(self, path: str | Path, rate: int) -> None:
        self.rate = rate
        self.dropped = 0
        self._path = str(path)
        self._bytes = 0
        self._frames: queue.Queue[bytes | None] = queue.Queue(_WAITING)
        self._stopped = False
        try:
            self._file: BinaryIO = Path(path).open("wb")  # noqa: SIM115 - closed by the thread
            self._write_header()
        except OSError as error:
            raise MediaError(f"cannot record to {self._path}: {error.strerror}") from error
        self._thread = threading.Thread(
            target=self._write_all, name=f"recording {self._path}", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def stopped(self) -> bool:
        """Whether it takes no more sound."""
        return self._stopped

    def write(self, pcm: Samples) -> None:
        """Take the next samples; returns at once."""
        if self._stopped:
            return
        try:
            self._frames.put_nowait(pcm.tobytes())
        except queue.Full:
            self.dropped += 1

    def stop(self) -> None:
        """Complete the file; waits for the disk, 2 s at most. May be called again."""
        self._stopped = True
        with contextlib.suppress(queue.Full):
            self._frames.put(None, timeout=_STOP_PATIENCE if self._thread.is_alive() else 0)
        self._thread.join(_STOP_PATIENCE)
        if self._thread.is_alive():
            logger.warning("%s is incomplete: the disk does not answer", self._path)

    def _write_all(self) -> None:
        """The thread: write what comes, and set the header right once a second."""
        try:
            frames = 0
            while (frame := self._frames.get()) is not None:
                if self._bytes + len(frame) > _LARGEST:
                    self.dropped += 1
                    continue
                self._file.write(frame)
                self._bytes += len(frame)
                frames += 1
                if frames % _FRAMES_PER_SECOND == 0:
                    self._write_header()
            self._write_header()
        except OSError as error:
            self._stopped = True
            logger.warning("recording to %s failed: %s", self._path, error.strerror)
        finally:
            with contextlib.suppress(OSError):
                self._file.close()

    def _write_header(self) -> None:
        header = _HEADER.pack(
            b"RIFF",
            36 + self._bytes,
            b"WAVE",
            b"fmt ",
            16,
            1,
            1,
            self.rate,
            self.rate * 2,
            2,
            16,
            b"data",
            self._bytes,
        )
        self._file.seek(0)
        self._file.write(header)
        self._file.seek(0, 2)
        self._file.flush()


class Recordings:
    """The recordings of one call, each at the rate at which its file began."""

    def __init__(self) -> None:
        self._running: list[tuple[Recording, Resampler]] = []

    def __bool__(self) -> bool:
        return bool(self._running)

    def start(self, path: str | Path, rate: int) -> Recording:
        """Begin a file of ``rate`` samples per second.

        Raises:
            MediaError: it cannot be created.
        """
        recording = Recording(path, rate)
        self._running.append((recording, Resampler(rate, rate)))
        return recording

    def write(self, sound: Samples, rate: int) -> None:
        """Hand a tick of sound at ``rate`` Hz to every file, and forget those that were stopped."""
        for index, (recording, resampler) in enumerate(self._running):
            if resampler.from_rate != rate:
                resampler = Resampler(rate, recording.rate)
                self._running[index] = (recording, resampler)
            recording.write(resampler.process(sound))
        self._running = [entry for entry in self._running if not entry[0].stopped]

    def stop(self) -> None:
        """Complete all files."""
        for recording, _ in self._running:
            recording.stop()
