"""Sound files read by a thread, so that the media clock never waits for a disk or a pipe."""

from __future__ import annotations

import logging
import queue
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from spech.audio.player import Player
from spech.audio.source import Source
from spech.codecs.base import Samples
from spech.codecs.resample import convert
from spech.errors import MediaError

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
        path: a file or a pipe.
        rate: the sampling rate in Hz at which it will probably be read.
        gain: decibels by which it is louder than it was recorded.
        repeat: start again at the end, without a gap.

    Attributes:
        error: why there was no sound, once that is known.

    Raises:
        MediaError: the file cannot be opened, or holds no sound. If opening takes longer than
            0.1 s it continues in the background, and an error is only logged.
    """

    def __init__(
        self, path: str | Path, rate: int, *, gain: float = 0.0, repeat: bool = False
    ) -> None:
        self.error: MediaError | None = None
        self._path = Path(path)
        self._make: Callable[[], Source] = lambda: Player(
            path, gain=gain, repeat=repeat, interrupted=lambda: self._stopped
        )
        self._rate = self._ready_rate = rate
        self._blocks: queue.Queue[tuple[Samples, int] | None] = queue.Queue(_AHEAD)
        self._ready: Samples = np.zeros(0, np.int16)
        self._begun = threading.Event()
        self._live = self._late = self._ended = self._stopped = False
        threading.Thread(
            target=self._read_all, name=f"playing {self._path.name}", daemon=True
        ).start()
        self._begun.wait(_OPEN_PATIENCE)
        if self.error is not None:
            raise self.error

    def read(self, samples: int, rate: int) -> Samples:
        """Return the next ``samples`` samples at ``rate`` Hz; fewer only at the end of the file."""
        if rate != self._ready_rate:
            self._rate = rate
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

    def close(self) -> None:
        """Stop reading; the thread closes the file. May be called again."""
        self._ended = self._stopped = True
        self._ready = self._ready[:0]
        self._make_room()

    def _make_room(self) -> None:
        """Let the thread continue if it waits for room."""
        try:
            while True:
                self._blocks.get_nowait()
        except queue.Empty:
            pass

    def _next_block(self) -> tuple[Samples, int] | None:
        """The next block, or None if there is none yet, or after the last."""
        try:
            block = self._blocks.get(block=not self._late, timeout=_PATIENCE)
        except queue.Empty:
            self._late = True
            return None
        self._late = self._live
        self._ended = block is None
        return block

    # The thread

    def _read_all(self) -> None:
        try:
            # A pipe may pause; do not wait for it.
            self._live = self._late = not stat.S_ISREG(self._path.stat().st_mode)
        except OSError as error:
            self._fail(MediaError(f"cannot open {self._path}: {error.strerror}"))
            return
        if self._live:
            self._begun.set()
        try:
            source = self._make()
        except MediaError as error:
            self._fail(error)
            return
        try:
            while not self._stopped:
                rate = self._rate
                size = rate // (_LIVE_BLOCKS_PER_SECOND if self._live else _BLOCKS_PER_SECOND)
                pcm = source.read(size, rate)
                if len(pcm):
                    self._blocks.put((pcm, rate))
                self._begun.set()
                if len(pcm) < size:
                    break
        finally:
            source.close()
            self._blocks.put(None)
            self._begun.set()

    def _fail(self, error: MediaError) -> None:
        late = self._begun.is_set()
        self.error = error
        self._blocks.put(None)
        self._begun.set()
        if late and not self._stopped:
            _log.warning("%s", error)
