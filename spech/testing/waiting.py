"""Wait for events from outside this process."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import trio

_INTERVAL = 0.01

T = TypeVar("T")


async def first(items: AsyncIterator[T], *, within: float = 10.0) -> T:
    """The next item of an endless iterator, such as the next incoming call.

    Raises:
        trio.TooSlowError: there was none within ``within`` seconds.
    """
    with trio.fail_after(within):
        return await anext(items)


async def until(condition: Callable[[], object], *, within: float = 5.0) -> None:
    """Poll every 10 ms until ``condition()`` is true.

    Raises:
        trio.TooSlowError: it did not become true within ``within`` seconds.
    """
    with trio.fail_after(within):
        while not condition():  # noqa: ASYNC110 - nobody there who could set an event
            await trio.sleep(_INTERVAL)


def wait(condition: Callable[[], object], *, within: float = 10.0) -> None:
    """Do the same without Trio.

    Raises:
        TimeoutError: it did not become true within ``within`` seconds.
    """
    give_up = time.monotonic() + within
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError
        time.sleep(_INTERVAL)
