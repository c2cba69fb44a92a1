"""One process at a time works on a data folder: a server, or a command for a moment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spech.errors import SpechError
from spech.locks import lock_file

_NAME = "server.lock"


@contextmanager
def data_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a data folder, which is made if it does not exist.

    The lock goes with the process, however it ends. The file names the process and stays.

    Raises:
        SpechError: another process holds it, or there are no locks of files here.
        OSError: the folder cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            lock_file(descriptor)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
            raise SpechError(
                f"Another Spech server (process {holder}) is using {folder}. Stop it first, or "
                "choose another folder with --data."
            ) from None
        except OSError as error:
            raise SpechError(f"{folder} cannot be locked: {error.strerror}.") from error
        leave_to_owner(descriptor, folder)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


def leave_to_owner(descriptor: int, folder: Path) -> None:
    """Give a file in ``folder`` to the owner of the folder, if root runs a command there."""
    if os.geteuid() == 0:
        owner = folder.stat()
        with suppress(PermissionError):  # A root without that capability.
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
