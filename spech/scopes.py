"""A nursery whose block raises a lone exception as itself, not in a group."""

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
    """
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


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
