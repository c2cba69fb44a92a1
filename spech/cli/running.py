"""Running a program until it is done or told to stop."""

from __future__ import annotations

import gc
import signal
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from spech.scopes import open_scope

_STOP: Final = (signal.SIGINT, signal.SIGTERM)


def run(main: Callable[[], Awaitable[None]]) -> bool:
    """Run ``main``; on SIGINT or SIGTERM cancel it, so that every call gets its farewell.

    A second signal ends the process at once. Returns whether ``main`` came to its own end.
    """
    spare_collections()
    return trio.run(_run, main)


def spare_collections() -> None:
    """Have the garbage collector do what is of use in a program that stays, and no more.

    What the imports made stays for good: to look through all of it again and again takes 30 ms
    each time, and calls would hear that. And a call makes more objects than 700.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


async def _run(main: Callable[[], Awaitable[None]]) -> bool:
    with trio.CancelScope() as scope:
        async with open_scope() as nursery:
            # Shielded, because it has to outlive the cancellation that it causes.
            watch = trio.CancelScope(shield=True)
            await nursery.start(_watch, watch, scope)
            try:
                await main()
            finally:
                watch.cancel()
    return not scope.cancelled_caught


async def _watch(
    watch: trio.CancelScope, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]
) -> None:
    with watch, trio.open_signal_receiver(*_STOP) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
            # What the drain waits for may never come; whoever insists is obeyed by the kernel.
            for number in _STOP:
                signal.signal(number, signal.SIG_DFL)
