"""Conferences: calls, bots and a local microphone, mixed within an ``async with`` block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import numpy as np
import trio

from spech.audio.mixer import mix
from spech.audio.recorder import Recording
from spech.audio.room import Member, Room, RoomLine
from spech.media.playback import PlayQueue, Spawn
from spech.media.port import FRAMES_PER_SECOND, AudioPort, PortBuffers
from spech.phone.call import Call
from spech.rtp.clock import MediaClock
from spech.scopes import open_scope


class Conference(Room):
    """Everyone hears everyone else. Made by :func:`open_conference`.

    Calls keep their own codecs; sound is resampled only between members whose rates differ. A voice
    is delayed by 20 ms at most, and a mix that exceeds 16 bits is attenuated, not clipped. Each
    :class:`~spech.Member` has its gain, mute and level.
    """

    def __init__(
        self, clock: MediaClock, failures: trio.MemorySendChannel[Exception], spawn: Spawn
    ) -> None:
        super().__init__()
        self._clock = clock
        self._failures = failures
        self._spawn = spawn

    def add(self, call: Call, *, gain: float = 0.0) -> Member:
        """Add a call, at any time and from any phone; it leaves when it ends.

        The sound of the call's own audio ports joins with it.

        Args:
            call: one that is up; it leaves the conference that it is in.
            gain: decibels by which the others hear it louder.

        Raises:
            CallEnded: the call is over.
        """
        return call.join(self, gain=gain)

    def remove(self, call: Call) -> None:
        """Remove a call, which continues on its own. Other calls are not affected."""
        if call.member is not None and call.member.room is self:
            call.leave()

    @contextmanager
    def open_audio(
        self, rate: int = 16000, *, gain: float = 0.0
    ) -> Iterator[tuple[AudioPort, Member]]:
        """Add a microphone and a speaker of the program's own, as a member like any other.

        Args:
            rate: of the PCM, in Hz.
            gain: decibels by which the others hear it louder.

        Raises:
            ValueError: 20 ms at ``rate`` are not a whole number of samples.
        """
        plays = PlayQueue(rate)
        plays.spawn = self._spawn
        buffers = PortBuffers(rate)
        line = RoomLine(self, gain)
        silence = np.zeros(buffers.frame_samples, np.int16)

        def tick(_: float) -> None:
            said = buffers.take(rate)
            played = plays.read(buffers.frame_samples, rate)
            if played is not None:
                said = played if said is None else mix((said, played), buffers.frame_samples)
            heard, _near = line.exchange(silence if said is None else said, rate)
            buffers.put(heard, rate)

        try:
            with self._clock.attach(tick, self._fail):
                yield AudioPort(buffers, plays), line.member
        finally:
            plays.close()
            buffers.close()
            line.leave()

    @contextmanager
    def record(self, path: str | Path, *, rate: int = 16000) -> Iterator[Recording]:
        """Record all members, mixed, for the time of a ``with`` block.

        Args:
            path: a file that ends in ``.wav``, or in ``.opus`` or ``.ogg`` for Opus.
            rate: sampling rate in Hz; Opus uses the next higher rate that it supports.

        Raises:
            MediaError: the file cannot be created.
        """
        with Recording(path, rate) as recording:
            listener = RoomLine(self, audible=False)
            silence = np.zeros(recording.rate // FRAMES_PER_SECOND, np.int16)

            def tick(_: float) -> None:
                heard, _near = listener.exchange(silence, recording.rate)
                recording.write(heard)

            try:
                with self._clock.attach(tick, self._fail):
                    yield recording
            finally:
                listener.leave()

    def _fail(self, error: Exception) -> None:
        with suppress(trio.WouldBlock):  # An earlier failure is about to be raised.
            self._failures.send_nowait(error)


@asynccontextmanager
async def open_conference() -> AsyncIterator[Conference]:
    """A conference for the time of an ``async with`` block.

        async with open_conference() as conference:
            for call in calls:
                conference.add(call)
            ...

    Leaving the block removes the calls, which continue on their own. Two calls are merged by adding
    both, and split by removing one.
    """
    clock = MediaClock()
    failures_in, failures_out = trio.open_memory_channel[Exception](1)

    async def raise_failure() -> None:
        raise await failures_out.receive()

    async with open_scope() as nursery:
        conference = Conference(clock, failures_in, nursery.start_soon)
        await nursery.start(clock.run)
        nursery.start_soon(raise_failure)
        try:
            yield conference
        finally:
            for member in conference.members:
                member.leave()
            nursery.cancel_scope.cancel()
