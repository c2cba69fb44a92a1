"""Recording from a page: the files, their names and their contents."""

from __future__ import annotations

import os
import re
import stat
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from spech.errors import MediaError
from spech.testing.audio import assert_silence, assert_tone, read_wav
from spech.web.messages.command import Refused
from spech.web.recordings import RecordingFolder, RecordingLimits

from .conftest import Installation, Page, get


async def fetch(
    installation: Installation, name: str, headers: dict[str, str] | None = None
) -> tuple[int, Any, bytes]:
    url = f"{installation.url}recordings/{name}"
    return await get(url, installation.cookie, **(headers or {}))


async def status(installation: Installation, name: str) -> int:
    return (await fetch(installation, name))[0]


@pytest.fixture
async def call(page: Page) -> str:
    """A call to a number that sends 700 Hz."""
    call: str = (await page.ask("dial", target="7700"))["call"]
    await page.call_in_state("answered")
    return call


async def test_a_call_is_recorded_and_played_back(
    installation: Installation, page: Page, call: str, data_folder: Path, tmp_path: Path
) -> None:
    assert await page.ask("recordings") == {"recordings": []}
    name = (await page.ask("record", call=call))["recording"]
    assert re.fullmatch(r"\d{8}-\d{6}-7700\.wav", name)
    await page.until(
        lambda state: state["calls"][0]["recording"] == {"name": name, "paused": False, "error": ""}
    )
    assert (await page.refused("record", call=call))["code"] == "busy"
    assert (await page.refused("delete_recording", name=name))["code"] == "busy"
    await trio.sleep(1.5)
    await page.ask("pause_record", call=call, paused=True)
    await page.until(lambda state: state["calls"][0]["recording"]["paused"])
    await trio.sleep(0.5)
    await page.ask("stop_record", call=call)
    await page.ask("stop_record", call=call)
    await page.until(lambda state: state["calls"][0]["recording"] is None)

    (listed,) = (await page.ask("recordings"))["recordings"]
    path = data_folder / "recordings" / name
    assert (listed["name"], listed["bytes"]) == (name, path.stat().st_size)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    code, headers, content = await fetch(installation, name)
    assert (code, headers["Content-Type"]) == (200, "audio/wav")
    assert content == path.read_bytes()
    (tmp_path / "copy.wav").write_bytes(content)
    sound, rate = read_wav(tmp_path / "copy.wav")
    assert 1.2 < len(sound) / rate < 1.9
    assert_tone(sound[-rate:], rate, 700, level=-15)

    code, headers, part = await fetch(installation, name, {"Range": "bytes=10-19"})
    assert (code, part) == (206, content[10:20])
    code, headers, part = await fetch(installation, name, {"Range": "bytes=-100"})
    assert (code, part) == (206, content[-100:])
    code, headers, part = await fetch(installation, name, {"Range": "bytes=100-999999999"})
    assert (code, part) == (206, content[100:])
    code, headers, _ = await fetch(installation, name, {"Range": "bytes=999999999-"})
    assert code == 416
    await page.ask("delete_recording", name=name)
    assert (await page.refused("delete_recording", name=name))["code"] == "no_such_recording"
    assert await page.ask("recordings") == {"recordings": []}
    assert await status(installation, name) == 404


async def test_a_stereo_opus_recording_ends_with_the_call(
    page: Page, call: str, data_folder: Path
) -> None:
    import av

    name = (await page.ask("record", call=call, format="opus", stereo=True))["recording"]
    await trio.sleep(1.5)
    await page.ask("hang_up", call=call)
    await page.until(lambda state: state["calls"][0]["state"] == "ended")
    assert page.state["calls"][0]["recording"] is None
    with av.open(str(data_folder / "recordings" / name)) as container:
        resampler = av.AudioResampler("s16", "stereo", 8000)
        parts = [
            piece.to_ndarray()
            for frame in container.decode(audio=0)
            for piece in resampler.resample(frame)
        ]
    left, right = np.concatenate(parts, axis=1, dtype=np.int16).reshape(-1, 2).T
    assert_silence(left)
    assert_tone(right[-6400:-800], 8000, 700, level=-15)


async def test_only_recordings_are_served_or_deleted(
    installation: Installation, page: Page, call: str, data_folder: Path
) -> None:
    folder = data_folder / "recordings"
    folder.mkdir()
    (folder / "link.wav").symlink_to(data_folder / "devices.vault")
    (folder / "notes.txt").write_text("notes")
    names = ("..%2fdevices.vault", "%2e%2e/vault.key", "notes.txt", "link.wav", "none.wav", "")
    for name in names:
        assert await status(installation, name) == 404
    for name in ("../devices.vault", "notes.txt", "link.wav", "/etc/passwd", "a\0.wav", ""):
        refused = await page.refused("delete_recording", name=name)
        assert refused["code"] == "no_such_recording"
    assert (data_folder / "devices.vault").exists()
    for fields in ({"format": "exe"}, {"path": "/tmp/x"}):
        assert (await page.refused("record", call=call, **fields))["code"] == "bad_request"


async def test_an_unwritable_folder_is_reported(page: Page, call: str, data_folder: Path) -> None:
    (data_folder / "recordings").write_text("in the way")
    refused = await page.refused("record", call=call)
    assert refused["code"] == "cannot_record"
    assert refused["hint"] == "File exists"
    assert page.state["calls"][0]["recording"] is None


class FakeCall:
    def __init__(self) -> None:
        self.paths: list[Path] = []

    def record(self, path: Path, *, stereo: bool) -> Any:
        if stereo:
            raise MediaError("no room")
        self.paths.append(path)
        return type("Recording", (), {"stopped": False, "path": path})


def test_file_names_are_harmless_and_unique(tmp_path: Path) -> None:
    folder, call = RecordingFolder(tmp_path / "deep" / "folder"), FakeCall()
    now = datetime(2026, 3, 1, 10, 15, 0)
    for remote in ("../../etc/passwd", "sip:a b@c", "", "....", "é\0/\n", "+49 30 1", "+49 30 1"):
        folder.begin(call, remote, "wav", stereo=False, now=now)  # type: ignore[arg-type]
    assert [path.name.removeprefix("20260301-101500-") for path in call.paths] == [
        "etc-passwd.wav",
        "a-b@c.wav",
        "unknown.wav",
        "unknown-2.wav",
        "unknown-3.wav",
        "+49-30-1.wav",
        "+49-30-1-2.wav",
    ]
    folder.begin(call, "x" * 999, "opus", stereo=False, now=now)  # type: ignore[arg-type]
    assert len(call.paths[-1].name) < 100
    assert {path.parent for path in call.paths} == {tmp_path / "deep" / "folder"}
    assert [each.name for each in folder.stored()] == sorted(
        (path.name for path in call.paths), reverse=True
    )
    with pytest.raises(Refused, match="did not begin"):
        folder.begin(call, "600", "wav", stereo=True, now=now)  # type: ignore[arg-type]


def test_recordings_have_a_quota(tmp_path: Path) -> None:
    folder = RecordingFolder(tmp_path, RecordingLimits(quota=1000))
    for number in range(2):
        folder.require_room()
        (tmp_path / f"{number}.wav").write_bytes(bytes(500))
    with pytest.raises(Refused, match="space") as refused:
        folder.require_room()
    assert refused.value.code == "cannot_record"
    folder.delete("0.wav")
    folder.require_room()


def test_expired_recordings_are_deleted(tmp_path: Path) -> None:
    folder, call = RecordingFolder(tmp_path, RecordingLimits(keep=100.0)), FakeCall()
    now = datetime(2026, 3, 1, 10, 15, 0)
    folder.begin(call, "600", "wav", stereo=False, now=now)  # type: ignore[arg-type]
    for name in ("old.wav", "new.wav", "note.txt"):
        (tmp_path / name).write_bytes(b"x")
    for path in tmp_path.iterdir():
        os.utime(path, (1050.0, 1050.0) if path.name == "new.wav" else (1000.0, 1000.0))
    folder.delete_expired(1120.0)
    left = {path.name for path in tmp_path.iterdir()}
    # What is still running, or is no recording, stays.
    assert left == {"new.wav", "note.txt", call.paths[0].name}
