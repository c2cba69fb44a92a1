"""What a test may leave behind."""

from __future__ import annotations

from pathlib import Path


def open_sockets() -> set[str]:
    """The inodes of this process's IP sockets, as Linux's ``/proc`` tells them."""
    tables = [Path("/proc/net", name) for name in ("udp", "udp6", "tcp", "tcp6")]
    lines = [line for table in tables if table.exists() for line in _entries(table)]
    held = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            held.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
        except FileNotFoundError:  # That of the folder itself.
            continue
    return {line.split()[9] for line in lines} & held


def _entries(table: Path) -> list[str]:
    return table.read_text().splitlines()[1:]
