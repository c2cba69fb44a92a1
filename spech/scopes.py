"""A nursery whose block raises what happened in it, not a group of one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_scope() -> AsyncIterator[trio.Nursery]:
    """Like :func:`trio.open_nursery`, but an exception that is alone comes out as itself.

    People write ``except CallFailed`` around a call; that there is a nursery inside is not their
    concern. Cancelled tasks beside it do not count: whoever cancelled them will cancel what comes
    next as well. Several errors at once stay a group.
    """
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        errors = [error for error in _leaves(group) if not isinstance(error, trio.Cancelled)]
        if len(errors) != 1:
            raise
        # The context that it had when it was raised is the one worth showing.
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
