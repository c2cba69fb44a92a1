"""Fixed ports for tests and for the programs that they start.

Each pytest-xdist worker has ports of its own, so that tests which run at the same time do not meet.
The other ranges are taken: phones lease RTP ports from 10000 on, Asterisk from 20000 on, the
exchange from 30000 on, and the kernel hands out ports from 32768 on.
"""

from __future__ import annotations

import os
from typing import Final

_FIRST: Final = 31_000
_PER_WORKER: Final = 250
_MOST_WORKERS: Final = 7

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_unused = list(range(_FIRST + _worker * _PER_WORKER, _FIRST + (_worker + 1) * _PER_WORKER))


def reserve(count: int = 1) -> int:
    """The first of ``count`` consecutive ports, an even number. No later call returns them again.

    Raises:
        RuntimeError: this worker's ports are used up, or there are more workers than ranges.
    """
    count += count % 2
    if count > len(_unused) or _worker >= _MOST_WORKERS:
        raise RuntimeError(f"worker {_worker} has no {count} ports left")
    first = _unused[0]
    del _unused[:count]
    return first
