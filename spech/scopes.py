"""A nursery whose block raises what happened in it, not a group of one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_scope() -> AsyncIterator[trio.Nursery]:
    """Like :func:`trio.open_nursery`, but an exception that is alone comes out as itself.

    People write ``except CallFailed`` around a call; that there is a nursery inside is not their
    concern. Several exceptions at once stay a group.
    """
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        alone = _sole(group)
        if alone is None:
            raise
        # The context that it had when it was raised is the one worth showing.
        context, cause = alone.__context__, alone.__cause__
        try:
            raise alone
        finally:
            alone.__context__, alone.__cause__ = context, cause


def _sole(error: BaseException) -> BaseException | None:
    """The one exception in a group of groups of one, or None."""
    while isinstance(error, BaseExceptionGroup):
        if len(error.exceptions) != 1:
            return None
        error = error.exceptions[0]
    return error
