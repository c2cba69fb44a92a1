"""Recordings, written by a thread of their own.

The media clock hands over a frame and goes on; it never waits for a disk. What is in the file can
be played about a second later, so that a recording survives whatever ends the process.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from spech.audio.mixer import mix
from spech.audio.writer import open_writer
from spech.codecs.base import Samples
from spech.codecs.resample import Resampler
from spech.errors import CallEnded, MediaError

logger = logging.getLogger(__name__)

_FRAMES_PER_SECOND = 50
_WAITING = 60 * _FRAMES_PER_SECOND
_STOP_PATIENCE = 2.0


class Recording:
    """A sound file that grows while a call lasts: WAV or Opus in Ogg, as its name ends.

    Leaving its ``with`` block, :meth:`stop`, or the end of the call completes the file.

    Attributes:
        path: the file.
        rate: samples per second.
        channels: 1 for both sides mixed; 2 for ours on the left and the far end on the right.
        paused: while true, what is said goes by and leaves no gap.
        dropped: frames that were lost because the disk was too slow, or the file at its 4 GB.
        error: why it ended early, when the disk refused; the call goes on without it.

    Raises:
        MediaError: the file cannot be created, or is of no kind that can be recorded.
    """

    def __init__(self, path: str | Path, rate: int, *, channels: int = 1) -> None:
        self.path = Path(path)
        self.channels = channels
        self.paused = False
        self.dropped = 0
        self.error: MediaError | None = None
        self._stopped = False
        self._frames: queue.Queue[Samples | None] = queue.Queue(_WAITING)
        self._writer = open_writer(path, rate, channels)
        self.rate = self._writer.rate
        self._thread = threading.Thread(
            target=self._write_all, name=f"recording {self.path.name}", daemon=True
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
        """Take the next samples, interleaved where there are two channels; returns at once."""
        if self._stopped or self.paused:
            return
        try:
            self._frames.put_nowait(pcm)
        except queue.Full:
            self.dropped += 1

    def finish(self) -> None:
        """Take no more sound, and complete the file while others go on. May be called again."""
        if self._stopped:
            return
        self._stopped = True
        while True:
            try:
                self._frames.put_nowait(None)
            except queue.Full:  # The disk has stood still for a minute.
                with contextlib.suppress(queue.Empty):
                    self._frames.get_nowait()
                    self.dropped += 1
            else:
                return

    def stop(self) -> None:
        """Complete the file; waits for the disk, 2 s at most. May be called again."""
        self.finish()
        self._thread.join(_STOP_PATIENCE)
        if self._thread.is_alive():
            logger.warning("%s is incomplete: the disk does not answer", self.path)

    def _write_all(self) -> None:
        """The thread: write what comes, and make it readable once a second."""
        try:
            self._write_frames()
            self._writer.close()
        except (OSError, ValueError, av.FFmpegError) as error:
            self._stopped = True
            self._writer.abandon()
            reason = getattr(error, "strerror", None) or error
            self.error = MediaError(f"recording to {self.path} ended: {reason}")
            logger.warning("%s", self.error)

    def _write_frames(self) -> None:
        frames = 0
        while (frame := self._frames.get()) is not None:
            if not self._writer.write(frame):
                self.dropped += 1
            frames += 1
            if frames % _FRAMES_PER_SECOND == 0:
                self._writer.sync()


class Recordings:
    """The recordings of one call, each at the rate at which its file began."""

    def __init__(self) -> None:
        self._running: list[_Track] = []
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._running)

    def start(self, path: str | Path, rate: int, *, stereo: bool) -> Recording:
        """Begin a file for sound of ``rate`` samples per second.

        Raises:
            MediaError: it cannot be created.
            CallEnded: the call is over.
        """
        if self._closed:
            raise CallEnded("the call has ended")
        recording = Recording(path, rate, channels=2 if stereo else 1)
        self._running.append(_Track(recording))
        return recording

    def write(self, ours: Samples, theirs: Samples, rate: int) -> None:
        """Hand a tick of both sides at ``rate`` Hz to every file that was not stopped."""
        for track in self._running:
            track.write(ours, theirs, rate)
        if any(track.recording.stopped for track in self._running):
            self._running = [track for track in self._running if not track.recording.stopped]

    def close(self) -> None:
        """Complete all files and begin no more; waits for the disk, 2 s at most for each."""
        self._closed = True
        for track in self._running:
            track.recording.finish()  # Side by side, because the clock waits meanwhile.
        for track in self._running:
            track.recording.stop()


class _Track:
    """What one recording makes of the two sides."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self._resamplers: list[Resampler] = []

    def write(self, ours: Samples, theirs: Samples, rate: int) -> None:
        recording = self.recording
        stereo = recording.channels == 2
        sides = [ours, theirs] if stereo else [mix((ours, theirs), len(ours))]
        if rate != recording.rate:
            if not self._resamplers or self._resamplers[0].from_rate != rate:
                self._resamplers = [Resampler(rate, recording.rate) for _ in sides]
            pairs = zip(self._resamplers, sides, strict=True)
            sides = [resampler.process(side) for resampler, side in pairs]
        recording.write(np.column_stack(sides).reshape(-1) if stereo else sides[0])
