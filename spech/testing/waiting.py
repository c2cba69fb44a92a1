"""Waiting for something outside of this process that cannot tell when it happens."""

from __future__ import annotations

from collections.abc import Callable

import trio

_INTERVAL = 0.01


async def until(condition: Callable[[], object], *, within: float = 5.0) -> None:
    """Look again and again, every 10 ms, until ``condition()`` is true.

    Raises:
        trio.TooSlowError: it did not become true within ``within`` seconds.
    """
    with trio.fail_after(within):
        while not condition():  # noqa: ASYNC110 - nobody there who could set an event
            await trio.sleep(_INTERVAL)
