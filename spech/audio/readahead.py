"""Sound files read by a thread, so that the media clock never waits for a disk or a pipe."""

from __future__ import annotations

import contextlib
import logging
import queue
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from spech.audio.inputs import FileObject
from spech.audio.player import Player
from spech.audio.source import Source
from spech.codecs.base import Samples
from spech.codecs.resample import convert
from spech.errors import LocalProtocolError, MediaError

_log: Final = logging.getLogger(__name__)

_BLOCKS_PER_SECOND: Final = 5
#: Smaller blocks for a pipe, so that what its writer has written is soon heard.
_LIVE_BLOCKS_PER_SECOND: Final = 50
_AHEAD: Final = 5 * _BLOCKS_PER_SECOND
#: Seconds to wait for a file to be opened and its first block: enough for any disk that works.
_OPEN_PATIENCE: Final = 0.1
#: Seconds to wait for a later block, once each time that the disk falls behind.
_PATIENCE: Final = 0.01


class ReadAhead:
    """Plays a file that a thread reads up to five seconds ahead.

    While the thread has no sound ready, silence is returned. So a stalled disk, or a pipe whose
    writer pauses, causes a gap in this sound and in no other.

    Args:
        path: a file or a pipe, or a file object.
        rate: the sampling rate in Hz at which it will probably be read.
        gain: decibels by which it is louder than it was recorded.
        repeat: start again at the end, without a gap.

    Raises:
        MediaError: the file cannot be opened, or holds no sound. If opening takes longer than
            0.1 s it continues in the background, and an error is only logged.
    """

    def __init__(
        self,
        path: str | Path | FileObject,
        rate: int,
        *,
        gain: float = 0.0,
        repeat: bool = False,
    ) -> None:
        self._path = path if isinstance(path, FileObject) else Path(path)
        self._gain = gain
        self._repeat = repeat
        self._ready_rate = rate
        self._ready: Samples = np.zeros(0, np.int16)
        self._late = self._ended = False
        self._reader = self._start(0.0, None)
        self._reader.begun.wait(_OPEN_PATIENCE)
        if self._reader.error is not None:
            raise self._reader.error

    @property
    def error(self) -> MediaError | None:
        """Why there was no sound, once that is known."""
        return self._reader.error

    def read(self, samples: int, rate: int) -> Samples:
        """Return the next ``samples`` samples at ``rate`` Hz; fewer only at the end of the file."""
        if rate != self._ready_rate:
            self._reader.rate = rate
            self._ready = convert(self._ready, self._ready_rate, rate)
            self._ready_rate = rate
        while len(self._ready) < samples and not self._ended:
            block = self._next_block()
            if block is None:
                break
            pcm, block_rate = block
            pcm = convert(pcm, block_rate, rate)
            self._ready = np.concatenate((self._ready, pcm)) if len(self._ready) else pcm
        taken, self._ready = self._ready[:samples], self._ready[samples:]
        if len(taken) < samples and not self._ended:
            return np.concatenate((taken, np.zeros(samples - len(taken), np.int16)))
        return taken

    def seek(self, seconds: float) -> None:
        """Continue at ``seconds`` from the beginning, with silence until that is found.

        Raises:
            LocalProtocolError: a pipe cannot be read again.
        """
        if self._reader.live:
            raise LocalProtocolError("a pipe has no places to continue at")
        before = self._reader
        before.stop()
        self._ready = self._ready[:0]
        self._late, self._ended = True, False
        self._reader = self._start(seconds, before)

    def close(self) -> None:
        """Stop reading; the thread closes the file. May be called again."""
        self._ended = True
        self._ready = self._ready[:0]
        self._reader.stop()

    def _start(self, seconds: float, before: _Reader | None) -> _Reader:
        def make(interrupted: Callable[[], bool]) -> Source:
            player = Player(
                self._path, gain=self._gain, repeat=self._repeat, interrupted=interrupted
            )
            player.skip(seconds, self._ready_rate)
            return player

        return _Reader(self._path, make, self._ready_rate, before)

    def _next_block(self) -> tuple[Samples, int] | None:
        """The next block, or None if there is none yet, or after the last."""
        try:
            patient = not (self._late or self._reader.live)
            block = self._reader.blocks.get(block=patient, timeout=_PATIENCE)
        except queue.Empty:
            self._late = True
            return None
        self._late = self._reader.live
        self._ended = block is None
        return block


class _Reader:
    """The thread that reads one file from one place on.

    Args:
        path: the file.
        make: opens it, with a function that tells whether to give up.
        rate: the sampling rate in Hz to read at; it may be changed.
        before: the thread that read it before, which has to end first.

    Attributes:
        blocks: sound and its rate; None after the last.
        begun: set once there is sound, or an error.
        live: whether it is a pipe, whose writer may pause.
        error: why there was no sound.
    """

    def __init__(
        self,
        path: Path | FileObject,
        make: Callable[[Callable[[], bool]], Source],
        rate: int,
        before: _Reader | None,
    ) -> None:
        self.blocks: queue.Queue[tuple[Samples, int] | None] = queue.Queue(_AHEAD)
        self.begun = threading.Event()
        self.live = False
        self.error: MediaError | None = None
        self.rate = rate
        self._path = path
        self._make = make
        self._before = before
        self._stopped = False
        self._thread = threading.Thread(
            target=self._run, name=f"playing {Path(str(path)).name}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Read no more. The thread, which may wait for room, closes the file."""
        self._stopped = True
        with contextlib.suppress(queue.Empty):
            while True:
                self.blocks.get_nowait()

    def _run(self) -> None:
        if self._before is not None:
            self._before._thread.join()
            self._before = None
        try:
            self.live = _is_live(self._path)
        except OSError as error:
            self._fail(MediaError(f"cannot open {self._path}: {error.strerror}"))
            return
        if self.live:  # It may pause; do not wait for it.
            self.begun.set()
        try:
            source = self._make(lambda: self._stopped)
        except MediaError as error:
            self._fail(error)
            return
        try:
            self._read_all(source)
        finally:
            source.close()
            self.blocks.put(None)
            self.begun.set()

    def _read_all(self, source: Source) -> None:
        while not self._stopped:
            rate = self.rate
            size = rate // (_LIVE_BLOCKS_PER_SECOND if self.live else _BLOCKS_PER_SECOND)
            pcm = source.read(size, rate)
            if len(pcm):
                self.blocks.put((pcm, rate))
            self.begun.set()
            if len(pcm) < size:
                break

    def _fail(self, error: MediaError) -> None:
        late = self.begun.is_set()
        self.error = error
        self.blocks.put(None)
        self.begun.set()
        if late and not self._stopped:
            _log.warning("%s", error)


def _is_live(path: Path | FileObject) -> bool:
    if isinstance(path, FileObject):
        return not path.seekable
    return not stat.S_ISREG(path.stat().st_mode)
