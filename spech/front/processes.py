"""Starts the processes of workers, and starts them again when they end."""

from __future__ import annotations

import logging
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from spech.errors import LocalProtocolError
from spech.front.channel import Channel
from spech.front.front import Front
from spech.front.messages import ToFront
from spech.front.seat import Seat
from spech.scopes import open_shelter

_log: Final = logging.getLogger(__name__)

#: Seconds before a worker is started again that has ended soon; at first, and at most.
_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
#: Seconds after which a worker that ends has not ended soon.
_LONG_LIFE: Final = 60.0
#: Seconds for the farewells of all calls, and for what they are recorded into.
_FAREWELL_SECONDS: Final = 12.0
#: Seconds for a process that has closed its channel.
_LAST_SECONDS: Final = 6.0


@asynccontextmanager
async def open_workers(front: Front, command: Sequence[str]) -> AsyncIterator[None]:
    """Keep a process running for each seat of a front, for a block.

    Leaving the block has each of them end its calls, and waits some seconds for that.

    Args:
        front: whose workers they are.
        command: the program with its arguments; the number of an open descriptor, which is the
            worker's end of its channel, is added.

    Raises:
        LocalProtocolError: one of them could not be started.
    """
    async with open_shelter() as shelter:
        for seat in front.seats:
            shelter.start_soon(_keep, front, seat, command)
        try:
            yield
        finally:
            with trio.move_on_after(_FAREWELL_SECONDS, shield=True):
                await front.stop()


async def _keep(front: Front, seat: Seat, command: Sequence[str]) -> None:
    pause = 0.0
    while not front.stopping:
        await trio.sleep(pause)
        began = trio.current_time()
        try:
            end = f"ended with status {await _run(front, seat, command)}"
        except OSError as error:  # There is no room for a process, perhaps for a moment.
            end = f"cannot be started: {error.strerror}"
        if front.stopping:
            return
        if not seat.used:
            raise LocalProtocolError(f"a worker {end}, before it was ready")
        _log.warning("worker %d %s; it is started again", seat.index, end)
        soon = trio.current_time() - began < _LONG_LIFE
        pause = min(max(2 * pause, _PAUSE), _LONGEST_PAUSE) if soon else 0.0


async def _run(front: Front, seat: Seat, command: Sequence[str]) -> int:
    """Run a process until it has ended; its status.

    Raises:
        OSError: there is no room for it.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            number = theirs.fileno()
            process = await trio.lowlevel.open_process(
                [*command, str(number)], stdin=subprocess.DEVNULL, pass_fds=(number,)
            )
        return await _attend(front, seat, process, Channel(ours, ToFront))


async def _attend(
    front: Front, seat: Seat, process: trio.Process, channel: Channel[ToFront]
) -> int:
    with front.occupied(seat, process.kill):
        try:
            await front.attend(seat, channel)
        finally:
            with trio.move_on_after(_LAST_SECONDS, shield=True):
                await process.wait()
            with trio.CancelScope(shield=True):
                process.kill()
                status = await process.wait()
    return status
