"""Nurseries: one that raises a lone exception as itself, one that outlives a cancellation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_scope() -> AsyncIterator[trio.Nursery]:
    """Like :func:`trio.open_nursery`, but a lone exception is raised as itself, without a group.

    Programs write ``except CallFailed`` around a call, and should not depend on the nursery inside.
    :class:`trio.Cancelled` in the group is dropped, because the scope that cancelled those tasks
    also cancels what comes next. Several errors at once stay a group.

    Raises:
        RuntimeError: this is not a task of Trio.
    """
    require_trio()
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        errors = [error for error in _leaves(group) if not isinstance(error, trio.Cancelled)]
        if len(errors) != 1:
            raise
        # Keep the original context, which "raise" would replace by the group.
        context, cause = errors[0].__context__, errors[0].__cause__
        try:
            raise errors[0]
        finally:
            errors[0].__context__, errors[0].__cause__ = context, cause


@asynccontextmanager
async def open_shelter() -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks outlive a cancellation of the block, and are cancelled at its end.

    For what is to be sent last: calls end when all else is cancelled. The block waits for it in a
    ``finally``, with a limit and a shield of its own.
    """
    shelter = trio.CancelScope(shield=True)
    async with open_scope() as nursery:
        sheltered = await nursery.start(_run_shelter, shelter)
        try:
            yield sheltered
        finally:
            shelter.cancel()


async def _run_shelter(
    shelter: trio.CancelScope, *, task_status: trio.TaskStatus[trio.Nursery]
) -> None:
    with shelter:
        async with open_scope() as nursery:
            task_status.started(nursery)
            await trio.sleep_forever()


def require_trio() -> None:
    """Check that Trio runs this task.

    Raises:
        RuntimeError: it does not.
    """
    if not trio.lowlevel.in_trio_task():
        raise RuntimeError(
            "Spech runs under Trio: start with spech.run(main), or use spech.aio under asyncio"
        )


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
