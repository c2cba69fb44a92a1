"""What wakes the media clock: a timer of the kernel on Linux, Trio's own elsewhere.

:func:`trio.sleep_until` ends by a cancellation, which costs more than a call's tick, and its
deadline is rounded up to a whole millisecond. A timer of the kernel is a file that becomes
readable, to the microsecond. Python's ``os`` has it from version 3.13 on, so the C library is
called.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

_CLOCK_MONOTONIC: Final = 1
#: TFD_NONBLOCK and TFD_CLOEXEC.
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC if sys.platform == "linux" else 0
#: ``struct itimerspec``: no interval, and the seconds and nanoseconds until the timer fires.
_TIMER: Final = struct.Struct("@qqqq")
_NANOSECONDS: Final = 1_000_000_000

SleepUntil = Callable[[float], Awaitable[None]]


@contextmanager
def open_alarm() -> Iterator[SleepUntil]:
    """A substitute for :func:`trio.sleep_until`, for one task, for the time of a ``with`` block."""
    descriptor = _open_timer() if _is_real_time() else -1
    if descriptor < 0:
        yield trio.sleep_until
        return

    set_time = ctypes.CDLL(None).timerfd_settime

    async def sleep_until(deadline: float) -> None:
        left = deadline - trio.current_time()
        if left <= 0:
            await trio.lowlevel.checkpoint()
            return
        seconds, nanoseconds = divmod(int(left * _NANOSECONDS) + 1, _NANOSECONDS)
        # Setting it also makes it unreadable again, so nothing has to be read.
        set_time(descriptor, 0, _TIMER.pack(0, 0, seconds, nanoseconds), None)
        await trio.lowlevel.wait_readable(descriptor)

    try:
        yield sleep_until
    finally:
        trio.lowlevel.notify_closing(descriptor)
        os.close(descriptor)


def _is_real_time() -> bool:
    """Whether a second of Trio's clock takes a second, which it does not in tests."""
    clock = trio.lowlevel.current_clock()
    return 0.5 < clock.deadline_to_sleep_time(clock.current_time() + 1.0) <= 1.0


def _open_timer() -> int:
    """A timer's descriptor; -1 where there is none."""
    # Elsewhere the numbers in struct itimerspec may have another length.
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_long) != 8:
        return -1
    create = getattr(ctypes.CDLL(None), "timerfd_create", None)
    return -1 if create is None else int(create(_CLOCK_MONOTONIC, _FLAGS))
