"""A nursery whose block raises what happened in it, not a group of one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_scope() -> AsyncIterator[trio.Nursery]:
    """Like :func:`trio.open_nursery`, but a lone exception is raised as itself, without a group.

    Programs write ``except CallFailed`` around a call, and should not depend on the nursery inside.
    Cancelled tasks beside it do not count: the scope that cancelled them also cancels what comes
    next. Several errors at once stay a group.
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
