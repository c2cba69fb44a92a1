"""Locks of files, which go with the process that holds them, however it ends."""

from __future__ import annotations

import errno

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def lock_file(descriptor: int) -> None:
    """Lock an open file until it is closed or the process ends.

    Raises:
        BlockingIOError: another process holds the lock.
        OSError: the operating system or the file system has no such locks.
    """
    if fcntl is None:
        raise OSError(errno.ENOTSUP, "this operating system has no flock(2)")
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
