"""Recordings, each created and written by a thread of its own.

The media clock hands over frames and never waits for a disk. A frame can be played from the file
about a second later, so that a recording survives even if the process is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np

from spech.audio.mixer import mix
from spech.audio.writer import Writer, plan_writer
from spech.codecs.base import Samples
from spech.codecs.resample import Resampler
from spech.errors import CallEnded, MediaError

_log: Final = logging.getLogger(__name__)

_FRAMES_PER_SECOND = 50
_WAITING = 60 * _FRAMES_PER_SECOND
#: Seconds to wait for a file to be created, and for progress when it is completed. A disk that
#: works needs a few milliseconds; the clock makes up for 0.1 s.
_PATIENCE: Final = 0.1
#: The most periods to wait, as long as there is progress.
_MOST_WAITS: Final = 5
#: Seconds that the exit of the process waits for unfinished recordings.
_EXIT_PATIENCE: Final = 2.0


class Recording:
    """A sound file that is written during a call: WAV or Opus in Ogg, by its suffix.

    Leaving its ``with`` block, :meth:`stop`, or the end of the call completes the file. Only its
    owner can read a new file.

    Attributes:
        path: the file.
        rate: samples per second.
        channels: 1 for both sides mixed; 2 for ours on the left and the far end on the right.
        paused: while true, sound is skipped and leaves no gap.
        dropped: frames that were lost because the disk was too slow or the file reached 4 GB.
        error: the disk error that ended the recording early. The call continues.

    Raises:
        MediaError: the file cannot be created, or its suffix is unknown. If the disk takes longer
            than 0.1 s, :attr:`error` is set later instead.
    """

    def __init__(self, path: str | Path, rate: int, *, channels: int = 1) -> None:
        self.path = Path(path)
        self.channels = channels
        self.paused = False
        self.dropped = 0
        self.error: MediaError | None = None
        self._stopped = False
        self._frames: queue.Queue[Samples | None] = queue.Queue(_WAITING)
        self._create, self.rate = plan_writer(path, rate, channels)
        self._writer: Writer | None = None
        self._progress = 0
        self._created = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"recording {self.path.name}", daemon=True
        )
        self._thread.start()
        _unfinished.add(self)
        if self._created.wait(_PATIENCE) and self.error is not None:
            raise self.error

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
        """Whether it accepts no more sound."""
        return self._stopped

    def write(self, pcm: Samples) -> None:
        """Append samples, interleaved if there are two channels; returns at once."""
        if self._stopped or self.paused:
            return
        try:
            self._frames.put_nowait(pcm)
        except queue.Full:
            self.dropped += 1

    def finish(self) -> None:
        """Accept no more sound, and complete the file in the background. May be called again."""
        if self._stopped:
            return
        self._stopped = True
        while True:
            try:
                self._frames.put_nowait(None)
            except queue.Full:  # The disk has not answered for a minute.
                with contextlib.suppress(queue.Empty):
                    self._frames.get_nowait()
                    self.dropped += 1
            else:
                return

    def stop(self) -> None:
        """Complete the file. May be called again.

        If the disk makes no progress for 0.1 s, the file is completed in the background.
        """
        self.finish()
        for _ in range(_MOST_WAITS):
            before = self._progress
            self._thread.join(_PATIENCE)
            if not self._thread.is_alive():
                return
            if self._progress == before:
                break
        _log.warning("%s is incomplete: the disk does not answer", self.path)

    def wait(self, seconds: float) -> None:
        """Wait for a file that is being completed."""
        self._thread.join(seconds)

    # The thread

    def _run(self) -> None:
        try:
            self._writer = self._create()
        except MediaError as error:
            self._fail(error, log=self._created.is_set())
            self._created.set()
            return
        self._created.set()
        self._write_all(self._writer)
        _unfinished.discard(self)

    def _write_all(self, writer: Writer) -> None:
        """Write frames as they arrive, and make them readable once a second."""
        try:
            self._write_frames(writer)
            writer.close()
        except OSError as error:
            writer.abandon()
            reason = getattr(error, "strerror", None) or error
            self._fail(MediaError(f"recording to {self.path} ended: {reason}"), log=True)

    def _write_frames(self, writer: Writer) -> None:
        frames = 0
        while (frame := self._frames.get()) is not None:
            if not writer.write(frame):
                self.dropped += 1
            frames += 1
            if frames % _FRAMES_PER_SECOND == 0:
                writer.sync()
            self._progress += 1

    def _fail(self, error: MediaError, *, log: bool) -> None:
        self._stopped = True
        self.error = error
        _unfinished.discard(self)
        if log:
            _log.warning("%s", error)


class Tap:
    """Hears both sides of a call, as long as its ``with`` block lasts.

    Attributes:
        rate: samples per second, of each side.
    """

    channels: Final = 2

    def __init__(self, hear: Callable[[Samples], object], rate: int) -> None:
        self.rate = rate
        self._hear = hear
        self._stopped = False

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True

    @property
    def stopped(self) -> bool:
        """Whether it hears nothing any more."""
        return self._stopped

    def write(self, pcm: Samples) -> None:
        """Hand on samples, those of both sides in turn."""
        if not self._stopped:
            self._hear(pcm)

    def finish(self) -> None:
        """Hear nothing any more."""
        self._stopped = True

    stop = finish


#: Recordings whose files are not complete.
_unfinished: Final[set[Recording]] = set()


@atexit.register
def _complete_all() -> None:
    """Wait for slow disks when the process exits."""
    waiting = list(_unfinished)
    for recording in waiting:
        recording.finish()
    for recording in waiting:
        recording.wait(_EXIT_PATIENCE / len(waiting))


class Recordings:
    """The recordings and taps of one call, each at the sampling rate with which it began.

    Attributes:
        running: those that take sound.
    """

    def __init__(self) -> None:
        self.running: list[_Track] = []
        self._closed = False

    def start(self, path: str | Path, rate: int, *, stereo: bool) -> Recording:
        """Begin a file for sound of ``rate`` samples per second.

        Raises:
            MediaError: it cannot be created.
            CallEnded: the call is over.
        """
        if self._closed:
            raise CallEnded("the call has ended")
        recording = Recording(path, rate, channels=2 if stereo else 1)
        self.running.append(_Track(recording))
        return recording

    def tap(self, hear: Callable[[Samples], object], rate: int) -> Tap:
        """Hand both sides to a function, as ``rate`` samples per second of each.

        Raises:
            CallEnded: the call is over.
        """
        if self._closed:
            raise CallEnded("the call has ended")
        tap = Tap(hear, rate)
        self.running.append(_Track(tap))
        return tap

    def write(self, ours: Samples, theirs: Samples, rate: int) -> None:
        """Write a tick of both sides at ``rate`` Hz to all that was not stopped."""
        for track in self.running:
            track.write(ours, theirs, rate)
        if any(track.recording.stopped for track in self.running):
            self.running = [track for track in self.running if not track.recording.stopped]

    def close(self) -> None:
        """Complete all files and begin no more. Does not wait for disks that make no progress."""
        self._closed = True
        for track in self.running:
            track.recording.finish()  # All at once, because the clock waits meanwhile.
        for track in self.running:
            track.recording.stop()


class _Track:
    """Converts the two sides of a call to the format of one recording or tap."""

    def __init__(self, recording: Recording | Tap) -> None:
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
