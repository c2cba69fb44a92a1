"""Spech in a program under asyncio, where Trio runs as a guest on the event loop.

Four functions lead from asyncio to everything else in the library:

    from spech import Account, open_phone
    from spech.aio import enter, iterate, run

    async def main() -> None:
        async with enter(open_phone(Account("sip:alice@pbx.example.org"))) as phone:
            async with enter(phone.call("600")) as call:
                await run(call.answered, 30)
                with call.open_audio(16000) as port:
                    async for frame in iterate(port):
                        port.send(frame)

    asyncio.run(main())

Functions and context managers of the library that are not ``async`` are used as they are, in the
thread of the event loop: ``call.play()``, ``call.send_dtmf()``, ``call.hang_up()``,
``call.open_audio()``, ``port.send()``. What they give to play cannot be an asynchronous iterator of
asyncio: write its chunks to ``call.play()``.

Trio starts with the first block or function, and ends with the last. What blocks the event loop
delays the sound of all calls.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Generic, TypeVar, TypeVarTuple

import outcome
import trio

Passed = TypeVarTuple("Passed")
Item = TypeVar("Item")
Returned = TypeVar("Returned")


async def run(function: Callable[[*Passed], Awaitable[Returned]], *arguments: *Passed) -> Returned:
    """Call an async function of the library, in a Trio task of its own.

        await run(call.answered, 30)

    Cancelling the asyncio task cancels the function, and waits until it has ended; what it returns
    all the same is lost. :func:`functools.partial` passes keyword arguments.

    Returns:
        What the function returns.

    Raises:
        What the function raises.
        RuntimeError: asyncio does not run here.
    """
    async with _guest() as guest:
        return await _Job(guest, function, *arguments).result()


@asynccontextmanager
async def enter(manager: AbstractAsyncContextManager[Item]) -> AsyncIterator[Item]:
    """Enter an async context manager of the library, in a Trio task of its own, for a block.

        async with enter(incoming.answer()) as call:
            ...

    Leaving the block leaves the manager, and waits until that is done. It gets the errors of the
    block; a cancellation of the asyncio task arrives as one of Trio. An error of the manager itself
    ends the block as :func:`asyncio.timeout` does: it cancels the task that entered, and is raised
    where the block ends. A block has to be left by the task that entered it.

    Raises:
        What the manager raises.
        RuntimeError: asyncio does not run here.
    """
    async with _guest() as guest:
        entered: asyncio.Future[Item] = asyncio.get_running_loop().create_future()
        left = trio.Event()
        failure: BaseException | None = None

        async def surround() -> None:
            async with manager as value:
                entered.set_result(value)
                await left.wait()
                if failure is not None:
                    raise failure

        job = _Job(guest, surround)
        cancellation = await _settle(entered, job.ended, guest.ended, cancel=job.cancel)
        if cancellation is not None or not entered.done():
            await job.result()
            raise cancellation or asyncio.CancelledError
        interruption = _Interruption(job.ended, guest.ended)
        try:
            yield entered.result()
        except asyncio.CancelledError:
            cancelled = interruption.withdraw()
            job.cancel()
            await job.result()
            if cancelled:
                raise
        except BaseException as error:
            interruption.withdraw()
            failure = error
            left.set()
            await job.result()
            if interruption.came:
                raise
        else:
            interruption.withdraw()
            left.set()
            await job.result()


async def iterate(iterable: AsyncIterable[Item]) -> AsyncIterator[Item]:
    """Iterate over an async iterator of the library.

        async for event in iterate(call.heard()):
            ...

    Each item is awaited with :func:`run`.

    Raises:
        What the iterator raises.
        RuntimeError: asyncio does not run here.
    """
    iterator = aiter(iterable)
    while True:
        try:
            item = await run(iterator.__anext__)
        except StopAsyncIteration:
            return
        yield item


def handler(
    function: Callable[[*Passed], Coroutine[Any, Any, Returned]],
) -> Callable[[*Passed], Coroutine[Any, Any, Returned | None]]:
    """Make a function of asyncio one that the library can call.

        async def echo(incoming: IncomingCall) -> None:
            async with enter(incoming.answer()) as call:
                ...

        await run(phone.serve, handler(echo))

    It runs as a task on the event loop. What it raises, the library gets; if the library is
    cancelled, it is cancelled too.

    Returns:
        The function for the library. It returns None where the task cancelled itself.
    """

    async def call(*arguments: *Passed) -> Returned | None:
        task = asyncio.get_running_loop().create_task(function(*arguments))
        ended = trio.Event()
        task.add_done_callback(lambda task: ended.set())
        try:
            await ended.wait()
        except trio.Cancelled:
            task.cancel()
            with trio.CancelScope(shield=True):
                await ended.wait()
            if task.cancelled() or task.exception() is None:
                raise
        return None if task.cancelled() else task.result()

    return call


class _Guest:
    """Trio on one event loop, while it is needed.

    Attributes:
        users: how many blocks and functions need it.
        ended: done when Trio has ended, with its error if it failed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.users = 0
        self.ended: asyncio.Future[None] = loop.create_future()
        self.ended.add_done_callback(lambda _: _guests.pop(loop))
        self._idle = trio.Event()
        trio.lowlevel.start_guest_run(
            self._idle.wait,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            run_sync_soon_not_threadsafe=loop.call_soon,
            done_callback=self._finish,
            host_uses_signal_set_wakeup_fd=True,
        )

    def _finish(self, how: outcome.Outcome[None]) -> None:
        if isinstance(how, outcome.Error):
            self.ended.set_exception(how.error)
        else:
            self.ended.set_result(None)

    @property
    def ending(self) -> bool:
        """Whether nobody needs it any more."""
        return self._idle.is_set()

    def end(self) -> None:
        """Nobody needs it any more."""
        self._idle.set()


#: The guest of each event loop that has one.
_guests: Final[dict[asyncio.AbstractEventLoop, _Guest]] = {}


@asynccontextmanager
async def _guest() -> AsyncIterator[_Guest]:
    """Have Trio on this event loop for a block.

    Raises:
        RuntimeError: asyncio does not run here.
    """
    if trio.lowlevel.in_trio_task():
        raise RuntimeError("spech.aio is for asyncio: under Trio, use the library itself")
    loop = asyncio.get_running_loop()
    while (guest := _guests.get(loop)) is not None and guest.ending:
        await asyncio.wait([guest.ended])
    if guest is None:
        guest = _guests[loop] = _Guest(loop)
    guest.users += 1
    try:
        yield guest
    finally:
        guest.users -= 1
        if not guest.users:
            guest.end()
            cancellation = await _settle(guest.ended)
            guest.ended.result()
            if cancellation is not None:
                raise cancellation


async def _settle(
    *futures: asyncio.Future[Any], cancel: Callable[[], object] = lambda: None
) -> asyncio.CancelledError | None:
    """Wait until one of the futures is done, even if this task is cancelled meanwhile.

    Args:
        futures: to wait for.
        cancel: called when this task is cancelled.

    Returns:
        The last cancellation of this task, which the caller raises again.
    """
    cancellation = None
    while not any(future.done() for future in futures):
        try:
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError as error:
            cancellation = error
            cancel()
    return cancellation


class _Job(Generic[Returned]):
    """A Trio task that a task of asyncio waits for.

    Args:
        guest: where Trio runs.
        function: what the task does.
        arguments: of the function.

    Attributes:
        ended: done when the task has ended, with what the function returned or raised; None where
            it was cancelled.
    """

    def __init__(
        self,
        guest: _Guest,
        function: Callable[[*Passed], Awaitable[Returned]],
        *arguments: *Passed,
    ) -> None:
        self._guest = guest
        self._scope = trio.CancelScope()
        self.ended: asyncio.Future[outcome.Outcome[Returned] | None] = (
            asyncio.get_running_loop().create_future()
        )
        trio.lowlevel.spawn_system_task(
            self._work, function, arguments, name=function, context=contextvars.copy_context()
        )

    async def _work(
        self, function: Callable[..., Awaitable[Returned]], arguments: tuple[object, ...]
    ) -> None:
        ended: outcome.Outcome[Returned] | None = None
        try:
            with self._scope:
                ended = outcome.Value(await function(*arguments))
        except trio.Cancelled:
            return  # Trio itself ends. The guest tells why.
        except BaseException as error:
            ended = outcome.Error(error)
        self.ended.set_result(ended)

    def cancel(self) -> None:
        """Cancel the Trio task."""
        self._scope.cancel()

    async def result(self) -> Returned:
        """Wait until the Trio task has ended, and return or raise what it did. May be called once.

        Raises:
            asyncio.CancelledError: one of the two tasks was cancelled, and so the other was too.
        """
        cancellation = await _settle(self.ended, self._guest.ended, cancel=self.cancel)
        if not self.ended.done():
            self._guest.ended.result()
        ended = self.ended.result()
        if ended is None or (cancellation is not None and isinstance(ended, outcome.Value)):
            raise cancellation or asyncio.CancelledError
        return ended.unwrap()


class _Interruption:
    """Cancels the task of a block when one of the futures is done, until it is withdrawn.

    Attributes:
        came: whether it has cancelled the task.
    """

    def __init__(self, *futures: asyncio.Future[Any]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self.came = self._withdrawn = False
        for future in futures:
            future.add_done_callback(self._interrupt)

    def _interrupt(self, future: asyncio.Future[Any]) -> None:
        if not (self.came or self._withdrawn):
            self.came = True
            self._task.cancel()

    def withdraw(self) -> bool:
        """The block ends. Returns whether the task was cancelled from elsewhere."""
        self._withdrawn = True
        return not self.came or self._task.uncancel() > self._cancelling
