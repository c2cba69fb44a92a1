"""Runs a program until it returns or a signal stops it."""

from __future__ import annotations

import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final, TypeVar, TypeVarTuple

import trio

from spech.scopes import open_scope

_STOP: Final = (signal.SIGINT, signal.SIGTERM)

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


def run(main: Callable[[*Arguments], Awaitable[Result]], *arguments: *Arguments) -> Result | None:
    """Run ``main(*arguments)``, as :func:`trio.run` does, so that signals end calls properly.

    SIGINT (Ctrl-C) and SIGTERM (``docker stop``, systemd) cancel ``main``: every call is hung up
    and every registration is removed. A second signal ends the process at once. Objects that
    imports have created are excluded from garbage collection, because a collection of all of them
    is audible in calls.

    Args:
        main: an async function; call it in the main thread.

    Returns:
        What ``main`` returns, None when a signal ended it.

    Raises:
        TypeError: ``main`` is a coroutine already.
    """
    if isinstance(main, Coroutine):
        main.close()
        raise TypeError("run() takes the async function itself: spech.run(main), not main()")
    spare_collections()
    return trio.run(_run, main, arguments)


def spare_collections() -> None:
    """Make the garbage collector examine new objects only, and less often.

    Examining all objects that the imports created takes 30 ms, which is audible in calls. A call
    creates more objects than the 700 after which a collection usually begins.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


async def _run(
    main: Callable[[*Arguments], Awaitable[Result]], arguments: tuple[*Arguments]
) -> Result | None:
    with trio.CancelScope() as scope:
        async with open_scope() as nursery:
            # Shielded, because it has to outlive the cancellation that it causes.
            watch = trio.CancelScope(shield=True)
            await nursery.start(_watch, watch, scope)
            try:
                return await main(*arguments)
            finally:
                watch.cancel()
    return None


async def _watch(
    watch: trio.CancelScope, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]
) -> None:
    with watch, trio.open_signal_receiver(*_STOP) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
            # The drain may wait for a far end that never answers: a second signal ends the process.
            for number in _STOP:
                signal.signal(number, signal.SIG_DFL)
