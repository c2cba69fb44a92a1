"""Calls, bots and our own microphone in one conversation, for the time of a block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import numpy as np
import trio

from spech.audio.recorder import Recording
from spech.audio.room import Member, Room
from spech.media.port import FRAMES_PER_SECOND, AudioPort
from spech.phone.call import Call
from spech.rtp.clock import MediaClock
from spech.scopes import open_scope


class Conference(Room):
    """Everybody hears all others and not himself. Made by :func:`open_conference`.

    Calls keep their own codecs; sound is resampled only between members whose rates differ. A
    voice waits for 20 ms at the most, and what is too loud for 16 bits is turned down, not cut.
    Each :class:`~spech.Member` has its gain, mute and level.
    """

    def __init__(self, clock: MediaClock, failures: trio.MemorySendChannel[Exception]) -> None:
        super().__init__()
        self._clock = clock
        self._failures = failures

    def add(self, call: Call, *, gain: float = 0.0) -> Member:
        """Bring a call in, at any time and from any phone; its end takes it out again.

        Whoever speaks through the call's own audio ports comes along.

        Args:
            call: one that is up; out of the conference in which it is now, if any.
            gain: by how many decibels the others hear it louder.

        Raises:
            CallEnded: the call is over.
        """
        return call.join(self, gain=gain)

    def remove(self, call: Call) -> None:
        """Take a call out again; it goes on alone. One that is not here stays as it is."""
        if call.member is not None and call.member.room is self:
            call.leave()

    @contextmanager
    def open_audio(
        self, rate: int = 16000, *, gain: float = 0.0
    ) -> Iterator[tuple[AudioPort, Member]]:
        """A microphone and a speaker of the program's own, a member like any other.

        Args:
            rate: of its PCM, in Hz.
            gain: by how many decibels the others hear it louder.

        Raises:
            ValueError: ``rate`` gives no whole number of samples in 20 ms.
        """
        port = AudioPort(rate)
        member = self.join(gain)
        silence = np.zeros(port.frame_samples, np.int16)

        def tick(_: float) -> None:
            said = port.take(rate)
            heard, _near = member.exchange(silence if said is None else said, rate)
            port.put(heard, rate)

        try:
            with self._clock.attach(tick, self._fail):
                yield port, member
        finally:
            port.close()
            member.leave()

    @contextmanager
    def record(self, path: str | Path, *, rate: int = 16000) -> Iterator[Recording]:
        """Record everybody, mixed, for the time of a ``with`` block.

        Args:
            path: a file that ends in ``.wav``, or in ``.opus`` or ``.ogg`` for Opus.
            rate: samples per second; Opus takes the next one above that it knows.

        Raises:
            MediaError: the file cannot be created.
        """
        with Recording(path, rate) as recording:
            listener = self.listen()
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
        with suppress(trio.WouldBlock):  # Then the first one is on its way.
            self._failures.send_nowait(error)


@asynccontextmanager
async def open_conference() -> AsyncIterator[Conference]:
    """A conference for the time of an ``async with`` block.

        async with open_conference() as conference:
            for call in calls:
                conference.add(call)
            ...

    Leaving the block takes the calls out; each goes on alone. Two calls are merged by adding both,
    and split by removing one.
    """
    clock = MediaClock()
    failures_in, failures_out = trio.open_memory_channel[Exception](1)
    conference = Conference(clock, failures_in)

    async def raise_failure() -> None:
        raise await failures_out.receive()

    async with open_scope() as nursery:
        await nursery.start(clock.run)
        nursery.start_soon(raise_failure)
        try:
            yield conference
        finally:
            conference.empty()
            nursery.cancel_scope.cancel()
