"""What crosses between asyncio and Trio: values, errors, cancellations and contexts, both ways."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
import trio

from spech.aio import enter, handler, iterate, run
from spech.scopes import open_scope

Result = TypeVar("Result")

#: Seconds after which a test has hung.
PATIENCE = 20


def under_asyncio(main: Coroutine[Any, Any, Result]) -> Result:
    """Run the inside of a test under asyncio; Trio must have ended with it."""

    async def bounded() -> Result:
        async with asyncio.timeout(PATIENCE):
            result = await main
        assert not trio.lowlevel.in_trio_run()
        return result

    return asyncio.run(bounded())


class Stage:
    """A context manager for Trio, and what happens to it."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.fails = trio.Event()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        async with open_scope() as nursery:
            nursery.start_soon(self._fail)
            self.events.append("entered")
            try:
                yield "value"
            except trio.Cancelled:
                self.events.append("cancelled")
                raise
            except KeyError:
                self.events.append("swallowed")
            except Exception as error:
                self.events.append(f"failed: {error}")
                raise
            finally:
                with trio.CancelScope(shield=True):
                    await trio.lowlevel.checkpoint()
                self.events.append("left")
            nursery.cancel_scope.cancel()

    async def _fail(self) -> None:
        await self.fails.wait()
        raise OSError("the line is cut")


async def add(one: int, other: int) -> int:
    await trio.lowlevel.checkpoint()
    return one + other


async def sleep(log: list[str]) -> None:
    """Sleep until cancelled, and need a while to wake up."""
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.001)
        log.append("ended")


# ------------------------------ functions


def test_a_function_returns_and_raises() -> None:
    async def main() -> None:
        assert await run(add, 1, 2) == 3
        with pytest.raises(TypeError, match="unsupported operand"):
            await run(add, 1, None)  # type: ignore[arg-type]

    under_asyncio(main())


def test_functions_run_at_the_same_time_on_one_trio() -> None:
    async def main() -> None:
        meeting = trio.Event()

        async def set_it() -> None:
            meeting.set()

        await asyncio.gather(run(meeting.wait), run(set_it), run(add, 1, 1))

    under_asyncio(main())


def test_what_is_not_async_works_from_asyncio_and_wakes_trio() -> None:
    async def main() -> None:
        event = trio.Event()
        waiting = asyncio.create_task(run(event.wait))
        await asyncio.sleep(0.01)  # Trio waits in its thread now.
        event.set()
        await waiting

    under_asyncio(main())


def test_cancelling_the_task_cancels_the_function_and_waits_for_it() -> None:
    async def main() -> None:
        log: list[str] = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await run(sleep, log)
        assert log == ["ended"]

    under_asyncio(main())


def test_a_second_cancellation_does_not_leave_the_function_behind() -> None:
    async def main() -> None:
        log: list[str] = []
        task = asyncio.create_task(run(sleep, log))
        for _ in range(10):
            await asyncio.sleep(0)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == ["ended"]

    under_asyncio(main())


def test_an_error_during_a_cancellation_is_raised() -> None:
    async def stubborn() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("cannot close")

    async def main() -> None:
        with pytest.raises(OSError, match="cannot close"):
            async with asyncio.timeout(0.01):
                await run(stubborn)

    under_asyncio(main())


def test_context_variables_reach_the_library() -> None:
    name = contextvars.ContextVar("name", default="nobody")

    async def ask() -> str:
        return name.get()

    async def main() -> None:
        name.set("alice")
        assert await run(ask) == "alice"

    under_asyncio(main())


# ------------------------------ context managers


def test_a_block_surrounds_its_code() -> None:
    stage = Stage()

    async def main() -> None:
        async with enter(stage.open()) as value:
            assert value == "value"
            assert await run(add, 1, 2) == 3
            assert stage.events == ["entered"]
        assert stage.events == ["entered", "left"]

    under_asyncio(main())


def test_blocks_in_other_tasks_share_trio_until_the_last_ends() -> None:
    async def hold(left: asyncio.Event) -> None:
        async with enter(Stage().open()):
            await left.wait()

    async def main() -> None:
        first, second = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            one = tasks.create_task(hold(first))
            tasks.create_task(hold(second))
            await asyncio.sleep(0.01)
            first.set()
            await one
            assert await run(add, 1, 2) == 3
            second.set()
        async with enter(Stage().open()):  # Trio starts again.
            assert await run(add, 1, 2) == 3

    under_asyncio(main())


def test_errors_of_the_block_pass_through_the_manager() -> None:
    stage = Stage()

    async def main() -> None:
        with pytest.raises(ValueError, match="mine") as caught:
            async with enter(stage.open()):
                raise ValueError("mine")
        assert caught.value.__cause__ is None
        async with enter(stage.open()):
            raise KeyError("the manager swallows it")

    under_asyncio(main())
    assert stage.events == [
        *("entered", "failed: mine", "left"),
        *("entered", "swallowed", "left"),
    ]


def test_a_manager_that_cannot_be_entered_raises() -> None:
    @asynccontextmanager
    async def closed() -> AsyncIterator[None]:
        await trio.lowlevel.checkpoint()
        raise OSError("closed")
        yield

    async def main() -> None:
        with pytest.raises(OSError, match="closed"):
            async with enter(closed()):
                pytest.fail("entered")

    under_asyncio(main())


def test_cancelling_the_task_cancels_the_manager() -> None:
    stage = Stage()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), enter(stage.open()):
                await asyncio.sleep(PATIENCE)

    under_asyncio(main())
    assert stage.events == ["entered", "cancelled", "left"]


def test_cancelling_the_task_cancels_the_entrance() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def slow() -> AsyncIterator[None]:
        await sleep(log)
        yield

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), enter(slow()):
                pytest.fail("entered")

    under_asyncio(main())
    assert log == ["ended"]


def test_an_error_of_the_manager_ends_the_block_and_only_that() -> None:
    stage = Stage()

    async def main() -> None:
        with pytest.raises(OSError, match="the line is cut"):
            async with enter(stage.open()):
                stage.fails.set()
                await asyncio.sleep(PATIENCE)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)  # It goes on.

    under_asyncio(main())
    assert stage.events == ["entered", "cancelled", "left"]


def test_an_error_of_the_manager_takes_precedence() -> None:
    stage = Stage()

    async def main() -> None:
        with pytest.raises(OSError, match="the line is cut"):
            async with enter(stage.open()):
                stage.fails.set()
                try:
                    await asyncio.sleep(PATIENCE)
                finally:
                    raise ValueError("mine")

    under_asyncio(main())


def test_a_manager_may_end_its_block() -> None:
    @asynccontextmanager
    async def short() -> AsyncIterator[trio.CancelScope]:
        with trio.CancelScope() as scope:
            yield scope

    async def main() -> None:
        async with enter(short()) as scope:
            scope.cancel()
            await asyncio.sleep(PATIENCE)
        with pytest.raises(ValueError, match="mine"):
            async with enter(short()) as scope:
                scope.cancel()
                try:
                    await asyncio.sleep(PATIENCE)
                finally:
                    raise ValueError("mine")

    under_asyncio(main())


# ------------------------------ iterators and handlers


class Countdown(AsyncIterator[int]):
    def __init__(self, start: int) -> None:
        self._next = start

    async def __anext__(self) -> int:
        await trio.lowlevel.checkpoint()
        if not self._next:
            raise StopAsyncIteration
        self._next -= 1
        return self._next


def test_an_iterator_yields_and_ends() -> None:
    async def main() -> None:
        countdown = Countdown(3)
        async for number in iterate(countdown):
            assert number == 2
            break
        assert [number async for number in iterate(countdown)] == [1, 0]

    under_asyncio(main())


async def serve(function: Any, *arguments: Any) -> Any:
    async with open_scope():
        return await function(*arguments)


def test_a_handler_runs_under_asyncio_and_its_errors_reach_the_library() -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    async def fail() -> None:
        raise OSError("no")

    async def main() -> None:
        assert await run(serve, handler(double), 4) == 8
        with pytest.raises(OSError, match="no"):
            await run(serve, handler(fail))

    under_asyncio(main())


def test_a_handler_may_use_the_library() -> None:
    async def nested(number: int) -> int:
        return await run(add, number, 1)

    async def main() -> int:
        return await run(serve, handler(nested), 1)

    assert under_asyncio(main()) == 2


def test_cancelling_the_library_cancels_the_handler_and_waits_for_it() -> None:
    log: list[str] = []

    async def stay() -> None:
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            await asyncio.sleep(0.001)
            log.append("ended")

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await run(serve, handler(stay))

    under_asyncio(main())
    assert log == ["ended"]


def test_a_handler_that_cancels_itself_is_over() -> None:
    async def leave() -> None:
        raise asyncio.CancelledError

    async def main() -> None:
        assert await run(serve, handler(leave)) is None

    under_asyncio(main())


# ------------------------------ the wrong loop


def test_the_library_says_what_is_missing_under_asyncio() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"under Trio.*spech\.aio under asyncio"):
            async with open_scope():
                pass
        async with enter(Stage().open()):
            with pytest.raises(RuntimeError, match=r"under Trio.*spech\.aio under asyncio"):
                async with open_scope():
                    pass

    under_asyncio(main())


async def test_the_bridge_says_that_trio_needs_none() -> None:
    with pytest.raises(RuntimeError, match="under Trio, use the library itself"):
        await run(add, 1, 2)


def test_an_interrupt_reaches_the_program() -> None:
    async def interrupt() -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        with pytest.raises(KeyboardInterrupt):
            await run(interrupt)

    under_asyncio(main())
