"""Files that only the owner of their folder can read, replaced as a whole."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from spech.web.data_lock import leave_to_owner


def create_private(path: Path) -> int:
    """Create a file of mode 0600 for the owner of its folder, and return its descriptor.

    Raises:
        FileExistsError: it exists.
        OSError: the disk refused.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    leave_to_owner(descriptor, path.parent)
    return descriptor


def replace_private(path: Path, content: bytes) -> None:
    """Write beside ``path``, sync, rename over it: a crash leaves the old file or the new one.

    Raises:
        OSError: the disk refused; then the old file is in place.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(create_private(beside), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
