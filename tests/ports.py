"""Fixed ports for tests and for the programs that they start.

Each process that runs tests claims ports of its own, so that tests which run at the same time do
not meet. The other ranges are taken: phones lease RTP ports from 10000 on, Asterisk from 20000 on,
the exchange from 30000 on, and the kernel hands out ports from 32768 to 60999.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from typing import Final

_PORTS: Final = 290
#: The first port of each range.
_FIRST: Final = (*range(31_000, 32_500, _PORTS), *range(61_000, 65_200, _PORTS))

_unused: list[int] = []
_claimed = False


def reserve(count: int = 1) -> int:
    """The first of ``count`` consecutive ports, an even number. No later call returns them again.

    Raises:
        RuntimeError: this process's ports are used up, or there are more processes than ranges.
    """
    if not _claimed:
        _claim()
    count += count % 2
    if count > len(_unused):
        raise RuntimeError(f"this process has no {count} ports left")
    first = _unused[0]
    del _unused[:count]
    return first


def _claim() -> None:
    global _claimed
    for number, first in enumerate(_FIRST):
        try:
            lock = os.open(f"{tempfile.gettempdir()}/spech-test-ports-{number}", os.O_CREAT)
        except PermissionError:
            continue  # It is another user's.
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        # The lock lasts as long as the process, which never closes the file.
        _unused[:] = range(first, first + _PORTS)
        _claimed = True
        return
    raise RuntimeError(f"{len(_FIRST)} other processes run tests on this machine")
