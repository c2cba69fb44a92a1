"""Callers who wait in line, with music, for a desk that takes their call."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from os import PathLike
from typing import Final

import trio

from spech.errors import CallEnded, MediaError
from spech.media.playback import Playback
from spech.phone.call import Call
from spech.scopes import open_scope

_log: Final = logging.getLogger(__name__)


class CallQueue:
    """A line of callers, first come first served.

        queue = CallQueue("music.wav")

        async def wait(incoming: IncomingCall) -> None:
            async with incoming.answer() as call:
                await queue.join(call)

        async def serve_desk() -> None:
            while True:
                async with queue.take() as caller, phone.call("601") as desk:
                    await desk.answered(timeout=20)
                    await connect(caller, desk)

    Args:
        music: a file that those who wait hear, again and again; None for silence. Where it cannot
            be read, they wait in silence, and the log says why.
        limit: how many may wait; None for no limit.
    """

    def __init__(
        self, music: str | PathLike[str] | None = None, *, limit: int | None = None
    ) -> None:
        self._music: Final = music
        self._limit: Final = limit
        self._line: deque[_Place] = deque()
        self._entered = trio.Event()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._line)

    def position(self, call: Call) -> int | None:
        """How many are before this caller; None if the caller does not wait."""
        found = (number for number, place in enumerate(self._line) if place.call is call)
        return next(found, None)

    async def join(self, call: Call, *, patience: float | None = None) -> bool:
        """Wait in line until a desk has taken the call and is done with it.

        A cancellation leaves the line, and ends the music.

        Args:
            call: one that is up.
            patience: seconds after which the caller leaves the line, unless a desk has the call
                then; None to wait for as long as it takes.

        Returns:
            True; False if the line is full, or where the patience has ended.

        Raises:
            CallEnded: the caller hung up while waiting.
        """
        if self._limit is not None and len(self._line) >= self._limit:
            return False
        place = _Place(call)
        self._enter(place, first=False)
        try:
            async with open_scope() as nursery:
                nursery.start_soon(self._watch, place)
                if patience is not None:
                    nursery.start_soon(self._lose_patience, place, patience)
                await place.done.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._leave(place)
        if place.gave_up:
            raise CallEnded("The caller hung up while waiting.")
        return not place.impatient

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Call]:
        """Wait for a caller, and take the first one for the time of an ``async with`` block.

        A caller whose block ends with an error, for instance because a desk does not answer, or
        with a cancellation, is first in line again.
        """
        while not self._line:
            await self._entered.wait()
        place = self._line.popleft()
        place.stop_music()
        served = False
        try:
            yield place.call
            served = True
        finally:
            if served or place.left or place.call.state == "ended":
                place.done.set()
            else:
                self._enter(place, first=True)

    def _enter(self, place: _Place, *, first: bool) -> None:
        (self._line.appendleft if first else self._line.append)(place)
        self._entered.set()
        self._entered = trio.Event()
        if self._music is not None:
            try:
                with suppress(CallEnded):  # Then the place is about to be left.
                    place.music = place.call.play(self._music, repeat=True)
            except MediaError as error:
                _log.warning("a caller waits in silence: %s", error)

    def _leave(self, place: _Place) -> None:
        place.left = True
        place.stop_music()
        if place in self._line:
            self._line.remove(place)

    async def _watch(self, place: _Place) -> None:
        """Wait until the caller hangs up. If that is while waiting, nobody takes the call."""
        await place.call.ended()
        if place in self._line:
            place.gave_up = True
            place.done.set()

    async def _lose_patience(self, place: _Place, patience: float) -> None:
        """Leave the line after so many seconds, or when a desk then gives the call back."""
        await trio.sleep(patience)
        while place not in self._line:
            await self._entered.wait()
        self._line.remove(place)  # At once, before a desk can take it.
        place.impatient = True
        place.done.set()


class _Place:
    """A caller in line, or taken out of it.

    Attributes:
        call: the caller.
        music: what the caller hears while waiting.
        done: set when the desk is done with the call, or the caller gave up.
        impatient: whether it was left because it took too long.
        gave_up: whether the caller hung up while waiting.
        left: whether nobody waits for the call any more.
    """

    def __init__(self, call: Call) -> None:
        self.call = call
        self.music: Playback | None = None
        self.done = trio.Event()
        self.impatient = False
        self.gave_up = False
        self.left = False

    def stop_music(self) -> None:
        """End the music."""
        if self.music is not None:
            self.music.flush()
            self.music = None
