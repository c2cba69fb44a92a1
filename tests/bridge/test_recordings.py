"""How long recordings are kept."""

from __future__ import annotations

import os
import time
from pathlib import Path

import trio
import trio.testing

from spech.bridge.recordings import RecordingStore


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


async def test_old_recordings_are_deleted_and_nothing_else(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    now = time.time()
    for name, days in (
        ("old.wav", 8),
        ("older.opus", 30),
        ("new.wav", 6),
        ("notes.txt", 30),
        (".hidden.wav", 30),
    ):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (now, now - days * 86400))
    (tmp_path / "folder.wav").mkdir()
    os.utime(tmp_path / "folder.wav", (now, 0))
    (tmp_path / "link.wav").symlink_to(tmp_path / "notes.txt")
    with trio.move_on_after(3600):
        await RecordingStore(tmp_path).keep()
    assert len(names(tmp_path)) == 7
    with trio.move_on_after(3600):
        await RecordingStore(tmp_path, keep_days=7).keep()
    assert names(tmp_path) == [".hidden.wav", "folder.wav", "link.wav", "new.wav", "notes.txt"]
