"""Sounds that a program plays to the far end, one after the other, each with a handle.

Text-to-speech arrives faster than it is spoken, in chunks of any length, and must be cut off in the
middle of a word when the caller interrupts. So a queue holds minutes, tells what has been played,
and can be flushed. A microphone is another matter: see :class:`~spech.media.port.AudioPort`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import IO, Any, Final, Protocol, cast, final

import numpy as np
import trio

from spech.audio.inputs import FileObject
from spech.audio.pcm import PcmQueue
from spech.audio.readahead import ReadAhead
from spech.audio.source import Source
from spech.codecs.base import Samples
from spech.errors import CallEnded, LocalProtocolError, MediaError

_log: Final = logging.getLogger(__name__)

Pcm = bytes | bytearray | memoryview | Samples
"""Mono PCM: bytes of int16 little-endian, or a one-dimensional array of int16."""

Playable = str | os.PathLike[str] | IO[bytes] | Pcm | AsyncIterable[Pcm] | Source
"""What can be played: a file or a file object, PCM, an async iterator of PCM, or a
:class:`Source`."""

#: Seconds of PCM that a queue holds; what is more is dropped and counted.
LONGEST_QUEUE: Final = 600.0
#: Seconds of PCM that one sound may have without a look at the others.
_SURELY_FITS: Final = 1.0
#: Seconds of PCM that are taken from an async iterator ahead of what is played.
_AHEAD: Final = 10.0


class Spawn(Protocol):
    """``Nursery.start_soon``."""

    def __call__(self, function: Callable[..., Awaitable[Any]], /, *arguments: Any) -> object: ...


@final
class Mark:
    """A place in a playback; see :meth:`Playback.mark`."""

    def __init__(self, position: float) -> None:
        self._position = position
        self._reached = False
        self._decided = trio.Event()

    @property
    def decided(self) -> bool:
        """Whether everything before the mark has been played or dropped."""
        return self._decided.is_set()

    @property
    def reached(self) -> bool:
        """Whether everything before the mark has been played."""
        return self._reached

    async def played(self) -> bool:
        """Wait until everything before the mark has been played or dropped.

        Returns:
            True where it was played; False where it was flushed, or the call ended before.
        """
        await self._decided.wait()
        return self._reached

    def _decide(self, reached: bool) -> None:
        """Wake those who wait."""
        if not self._decided.is_set():
            self._reached = reached
            self._decided.set()


@final
class Playback:
    """A sound in the queue of a call: what ``call.play()`` and ``port.play()`` return.

    Times are in milliseconds. Sound counts as played when it is sent; the far end hears it after
    the delay of the network and of its jitter buffer.
    """

    def __init__(self, queue: PlayQueue, source: Source) -> None:
        self._dropped_ms = 0.0
        self._error: MediaError | None = None
        self._queue = queue
        self._source = source
        self._pcm = source if isinstance(source, PcmQueue) else None
        #: All of the PCM, if it was known at the beginning.
        self._whole: Pcm | None = None
        #: Of a file: samples that were played, by the rate at which they were read.
        self._file_samples: dict[int, int] = {}
        self._flushed_ms = 0.0
        self._paused = False
        self._marks: deque[Mark] = deque()
        self._end = Mark(float("inf"))
        self._pump: trio.CancelScope | None = None
        self._room = trio.Event()

    def __repr__(self) -> str:
        return f"<Playback played {self.played_ms:.0f} ms, queued {self.queued_ms:.0f} ms>"

    @property
    def played_ms(self) -> float:
        """How much has been played since the beginning, or since the last :meth:`flush`."""
        if self._pcm is not None:
            total = 1000.0 * self._pcm.played / self._pcm.rate
        else:
            total = sum(1000.0 * count / rate for rate, count in self._file_samples.items())
        return total - self._flushed_ms

    @property
    def queued_ms(self) -> float:
        """How much PCM waits to be played; 0.0 for files, which are read as they are played."""
        return 0.0 if self._pcm is None else 1000.0 * self._pcm.waiting / self._pcm.rate

    @property
    def dropped_ms(self) -> float:
        """How much PCM was lost: the queue was full, or live sound came too late to be of use."""
        late = 0.0 if self._pcm is None else 1000.0 * self._pcm.skipped / self._pcm.rate
        return self._dropped_ms + late

    @property
    def error(self) -> MediaError | None:
        """Why the sound ended early, None where it did not."""
        return self._error

    @property
    def done(self) -> bool:
        """Whether everything has been played, or dropped."""
        return self._end.decided

    def write(self, pcm: Pcm) -> None:
        """Add PCM to a playback that was started without a sound: ``call.play()``.

        Chunks may have any length; half a sample is kept for the next one. After :meth:`end`, or
        the end of the call, it goes nowhere.

        Raises:
            LocalProtocolError: the playback has a sound of its own.
            ValueError: an array is not one of int16 samples with one dimension.
        """
        if self._pcm is None:
            raise LocalProtocolError("a file plays here, PCM cannot be added")
        if self._pcm.ended:
            return
        queue = self._pcm
        queue.write(pcm)
        if queue.written - queue.consumed > _SURELY_FITS * queue.rate:
            self._drop_excess(queue)

    def _drop_excess(self, pcm: PcmQueue) -> None:
        """Drop what is more than the queue of the call holds."""
        excess = min(round(self._queue.excess * pcm.rate), pcm.waiting)
        if excess > 0:
            if not self._dropped_ms:
                _log.warning("more than %g s of sound wait to be played", LONGEST_QUEUE)
            pcm.drop_last(excess)
            self._dropped_ms += 1000.0 * excess / pcm.rate

    def end(self) -> None:
        """Tell that no more PCM follows, so that the next sound in the queue can begin."""
        pcm = self._pcm
        if pcm is None or self.done:
            return
        pcm.end()
        if pcm.drained:
            self._finish(True)
            self._queue.settle()

    def mark(self) -> Mark:
        """Mark the end of what has been written so far; of a file, its end."""
        pcm = self._pcm
        mark = Mark(float("inf") if pcm is None else pcm.written)
        if self.done:
            mark._decide(self._end.reached)
        elif pcm is not None and pcm.consumed >= pcm.written:
            mark._decide(True)
        else:
            self._marks.append(mark)
        return mark

    def flush(self) -> float:
        """Drop what has not been played. Returns how much has been, as :attr:`played_ms`.

        A playback that was started without a sound continues, and the next :meth:`write` begins at
        0 ms. Any other has ended.
        """
        played = self.played_ms
        self._flushed_ms += played
        while self._marks:
            self._marks.popleft()._decide(False)
        if self._pcm is None or self._pcm.ended or self._pump is not None:
            self._finish(False)
            self._queue.settle()
        else:
            self._pcm.clear()
        return played

    def seek(self, ms: float) -> None:
        """Continue at a place of the sound; :attr:`played_ms` counts from there.

        A file that is compressed is decoded up to that place, so a place far behind takes a while,
        in silence.

        Args:
            ms: from the beginning; beyond the end the sound ends.

        Raises:
            LocalProtocolError: the sound has ended, or is neither a file nor PCM as a whole.
            ValueError: ``ms`` is negative.
        """
        if ms < 0:
            raise ValueError(f"{ms:g} ms are before the beginning")
        if self.done:
            raise LocalProtocolError("the sound has ended")
        if isinstance(self._source, ReadAhead):
            self._source.seek(ms / 1000.0)
        elif self._pcm is not None and self._whole is not None:
            self._rewrite(self._pcm, self._whole, ms)
        else:
            raise LocalProtocolError("only a file, or PCM as a whole, has places to continue at")
        self._flushed_ms += self.played_ms - ms

    def _rewrite(self, pcm: PcmQueue, whole: Pcm, ms: float) -> None:
        """Queue the PCM again, from ``ms`` on."""
        samples = whole if isinstance(whole, np.ndarray) else np.frombuffer(whole, "<i2")
        pcm.clear()
        pcm.write(samples[round(ms * pcm.rate / 1000.0) :])
        self._drop_excess(pcm)
        for mark in self._marks:  # They are all at the end.
            mark._position = float(pcm.written)

    def pause(self) -> None:
        """Stop playing, with all that waits in the queue after it, until :meth:`resume`."""
        self._paused = True

    def resume(self) -> None:
        """Continue where it was paused."""
        self._paused = False

    async def played(self) -> bool:
        """Wait until everything has been played; a playback without an end never has.

        Cancelling the wait changes nothing about the sound.

        Returns:
            True where it was played; False where it was flushed.

        Raises:
            CallEnded: the call ended before.
            MediaError: the file, or the async iterator, failed.
        """
        reached = await self._end.played()
        if self._error is not None:
            raise self._error
        if not reached and self._queue.closed:
            raise CallEnded("the call ended before everything was played")
        return reached

    # The queue's side

    def _feed(self, chunks: AsyncIterable[Pcm], spawn: Spawn) -> None:
        """Start a task that writes the chunks as they come."""
        self._pump = trio.CancelScope()
        spawn(self._feed_from, chunks, self._pump)

    async def _feed_from(self, chunks: AsyncIterable[Pcm], scope: trio.CancelScope) -> None:
        try:
            with scope:
                async with contextlib.AsyncExitStack() as stack:
                    if isinstance(chunks, AsyncGenerator):
                        await stack.enter_async_context(contextlib.aclosing(chunks))
                    async for chunk in chunks:
                        self.write(chunk)
                        # An iterator that never waits must not keep other tasks from running.
                        await trio.lowlevel.checkpoint()
                        while self.queued_ms > _AHEAD * 1000.0:
                            self._room = trio.Event()
                            await self._room.wait()
        except Exception as error:
            self._error = MediaError(f"the sound ended early: {error}")
            self._error.__cause__ = error
            _log.warning("a sound ended early", exc_info=error)
        self.end()

    @property
    def _unsent(self) -> bool:
        """Whether a part of the sound is known that has not been played."""
        pcm = self._pcm
        return pcm is None or pcm.ended or pcm.written > pcm.consumed or pcm.tail > 0

    def _read(self, samples: int, rate: int) -> tuple[Samples, bool] | None:
        """The next samples, and whether they are the last ones; None where none are known."""
        pcm = self._pcm
        if self._paused:
            return None
        if pcm is not None and pcm.written == pcm.consumed and not (pcm.ended or pcm.tail):
            return None
        sound = self._source.read(samples, rate)
        if pcm is None:
            self._file_samples[rate] = self._file_samples.get(rate, 0) + len(sound)
            self._error = getattr(self._source, "error", None)
            return sound, len(sound) < samples
        while self._marks and self._marks[0]._position <= pcm.consumed:
            self._marks.popleft()._decide(True)
        if self._pump is not None and self.queued_ms <= _AHEAD * 1000.0:
            self._room.set()
        return sound, pcm.ended and len(sound) < samples

    def _finish(self, reached: bool) -> None:
        """Close the sound, and wake those who wait for it."""
        if self._pump is not None:
            self._pump.cancel()
        self._source.close()
        while self._marks:
            self._marks.popleft()._decide(reached)
        self._end._decide(reached)


class PlayQueue:
    """The sounds that one call plays, one after the other without a gap.

    Attributes:
        rate: at which the queue is read, in Hz; that may change.
        spawn: starts the task that reads an async iterator; None where there is no nursery.
        closed: whether the call is over.
        background: what plays beneath the others, None where nothing does.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.background: PlayQueue | None = None
        self.spawn: Spawn | None = None
        self.closed = False
        self._playbacks: deque[Playback] = deque()

    def __bool__(self) -> bool:
        """Whether a sound plays or waits, paused or not."""
        return bool(self._playbacks)

    @property
    def unsent(self) -> bool:
        """Whether there is something that has not been played, paused or not."""
        return any(playback._unsent for playback in self._playbacks)

    @property
    def excess(self) -> float:
        """Seconds of PCM that are too many."""
        queued = sum(playback.queued_ms for playback in self._playbacks) / 1000.0
        return queued - LONGEST_QUEUE

    def play(
        self, sound: Playable | None, rate: int, *, gain: float = 0.0, repeat: bool = False
    ) -> Playback:
        """Queue a sound; see :meth:`Call.play <spech.Call.play>`.

        Args:
            sound: what to play; None for PCM that will be written.
            rate: of PCM, in Hz.
            gain: decibels by which it is louder.
            repeat: play a file again and again.

        Raises:
            CallEnded: the call is over.
            MediaError: a file cannot be read.
            LocalProtocolError: an async iterator is given where no task can read it.
            ValueError: an array is not one of int16 samples with one dimension.
        """
        if self.closed:
            if isinstance(sound, Source) and _file(sound) is None:
                sound.close()
            raise CallEnded("the call has ended")
        file = _file(sound)
        if file is not None:
            reader = ReadAhead(file, self.rate, gain=gain, repeat=repeat)
            return self._append(Playback(self, reader))
        if isinstance(sound, Source):
            return self._append(Playback(self, sound))
        pcm = PcmQueue(rate, gain, live=sound is None)
        playback = Playback(self, pcm)
        if isinstance(sound, AsyncIterable):
            if self.spawn is None:
                raise LocalProtocolError("an async iterator plays in a running call only")
            self._append(playback)
            playback._feed(sound, self.spawn)
        elif sound is not None:
            whole = cast(Pcm, sound)
            pcm.write(whole)
            playback._whole = whole
            self._append(playback)._drop_excess(pcm)
            playback.end()
        else:
            self._append(playback)
        return playback

    def play_background(self, sound: Playable, rate: int, *, gain: float, repeat: bool) -> Playback:
        """Play a sound beneath the others, in place of the one before.

        See :meth:`Call.play_background <spech.Call.play_background>`.

        Raises:
            CallEnded, MediaError, LocalProtocolError, ValueError: as for :meth:`play`.
        """
        background = PlayQueue(self.rate)
        background.spawn, background.closed = self.spawn, self.closed
        playback = background.play(sound, rate, gain=gain, repeat=repeat)
        if self.background is not None:
            self.background.flush()
        self.background = background
        return playback

    def read(self, samples: int, rate: int) -> Samples | None:
        """Return the next ``samples`` samples at ``rate`` Hz; None where there is nothing to play.

        Silence follows the last sound.
        """
        parts: list[Samples] = []
        wanted = samples
        while wanted and self._playbacks:
            found = self._playbacks[0]._read(wanted, rate)
            if found is None:
                break
            part, last = found
            if last:
                self._playbacks.popleft()._finish(True)
            elif not parts:
                return part
            parts.append(part)
            wanted -= len(part)
        if not parts:
            return None
        if wanted:
            parts.append(np.zeros(wanted, np.int16))
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def settle(self) -> None:
        """Forget the sounds that have ended."""
        self._playbacks = deque(one for one in self._playbacks if not one.done)

    def flush(self) -> None:
        """Drop all sounds."""
        for playback in tuple(self._playbacks):
            playback.flush()

    def close(self) -> None:
        """Drop all sounds, and accept no more."""
        self.closed = True
        while self._playbacks:
            self._playbacks.popleft()._finish(False)
        if self.background is not None:
            self.background.close()

    def _append(self, playback: Playback) -> Playback:
        self._playbacks.append(playback)
        return playback


def _file(sound: object) -> str | FileObject | None:
    """The file to read, if ``sound`` is the path of one or a file object.

    Raises:
        LocalProtocolError: the file object is not one for reading bytes.
    """
    if isinstance(sound, (str, os.PathLike)):
        return os.fspath(sound)
    if isinstance(sound, io.TextIOBase):
        raise LocalProtocolError("a file object that is played has to be opened in binary mode")
    # A file object has the methods of a Source as well. Those of tempfile are no IOBase.
    if isinstance(sound, io.IOBase) or hasattr(sound, "readable"):
        return FileObject(cast(IO[bytes], sound))
    return None
