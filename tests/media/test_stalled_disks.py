"""Disks and pipes that stall: the tick never waits for them, neither to play nor to record.

A stalled operation continues only when the test lets it. If a tick waited for it, the test would
not end.
"""

from __future__ import annotations

import os
import threading
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from spech.audio import player, readahead, recorder, writer
from spech.audio.level import dbfs
from spech.audio.player import Player
from spech.audio.tones import tone
from spech.codecs import Samples
from spech.errors import MediaError

from .conftest import Call, collect, frequency, write_wav


class Gate:
    """Blocks threads until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()

    def stop(self) -> None:
        self.reached.set()
        self._open.wait()

    def open(self) -> None:
        self._open.set()

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def gated(*arguments: Any, **options: Any) -> Any:
            self.stop()
            return function(*arguments, **options)

        return gated


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


async def hear(call: Call, wanted: Callable[[Samples], bool]) -> Samples:
    """Tick until the last half second of right's sound satisfies the condition."""
    for _ in range(400):
        heard = await collect(call, 25)
        if wanted(heard):
            return heard
        await _pause()
    raise AssertionError("the sound never arrived")


async def _pause() -> None:
    """Give the reading thread a moment of real time."""
    await trio.to_thread.run_sync(time.sleep, 0.005)


def loud(heard: Samples) -> bool:
    return dbfs(heard[-2000:]) > -15


def header(path: Path) -> bytes:
    write_wav(path, np.zeros(0, np.int16), 8000)
    return path.read_bytes()[:40] + b"\xff\xff\xff\xff"


async def test_a_fifo_is_silent_until_a_writer_opens_it(call: Call, tmp_path: Path) -> None:
    call.configure()
    pipe = tmp_path / "say.wav"
    os.mkfifo(pipe)
    call.left.play(pipe)
    assert not (await collect(call, 50)).any()
    with pipe.open("wb", buffering=0) as file:
        file.write(header(tmp_path / "header.wav") + tone((700,), 3, 8000).tobytes())
        heard = await hear(call, loud)
    assert frequency(heard, 8000) == pytest.approx(700, abs=5)


async def test_a_fifo_continues_after_its_writer_pauses(call: Call, tmp_path: Path) -> None:
    call.configure()
    pipe = tmp_path / "say.wav"
    os.mkfifo(pipe)
    call.left.play(pipe)
    with pipe.open("wb", buffering=0) as file:
        file.write(header(tmp_path / "header.wav") + tone((700,), 1.5, 8000).tobytes())
        await hear(call, loud)
        await hear(call, lambda heard: not heard.any())
        file.write(tone((1500,), 1.5, 8000).tobytes())
        heard = await hear(call, loud)
    assert frequency(heard, 8000) == pytest.approx(1500, abs=5)


@pytest.mark.parametrize("content", [b"", b"no sound at all" * 500])
async def test_a_pipe_without_sound_ends(call: Call, tmp_path: Path, content: bytes) -> None:
    call.configure()
    pipe = tmp_path / "say.wav"
    os.mkfifo(pipe)
    call.left.play(pipe)
    with pipe.open("wb", buffering=0) as file:
        file.write(content)
    while call.left.media.speech.busy:
        call.tick()
        await _pause()


async def test_a_reader_of_a_pipe_ends_with_its_call(call: Call, tmp_path: Path) -> None:
    pipe = tmp_path / "ends.wav"
    os.mkfifo(pipe)
    call.configure()
    call.left.play(pipe)
    call.left.media.close()
    for thread in threading.enumerate():
        if thread.name == "playing ends.wav":
            thread.join(10)
            assert not thread.is_alive()


async def test_a_stall_while_opening_a_file_does_not_block_the_tick(
    call: Call, wav: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    call.configure()
    monkeypatch.setattr(player, "open_input", gate.before(player.open_input))  # type: ignore[attr-defined]
    call.left.play(wav)
    assert gate.reached.is_set()
    assert not (await collect(call, 100)).any()
    gate.open()
    assert frequency((await hear(call, loud))[-2000:], 8000) == pytest.approx(700, abs=5)


async def test_an_error_after_a_stall_is_raised_to_those_who_wait_for_the_sound(
    call: Call, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stall is also what the first compressed file of a program meets: FFmpeg is loaded."""
    call.configure()
    path = tmp_path / "broken.mp3"
    path.write_bytes(b"this is no sound")
    monkeypatch.setattr(player, "_decoder", gate.before(player._decoder))
    playback = call.left.play(path)
    assert not (await collect(call, 20)).any()
    gate.open()
    while not playback.done:
        await collect(call, 1)
    with pytest.raises(MediaError, match=r"broken\.mp3"):
        await playback.played()


async def test_a_stall_within_a_file_does_not_block_the_tick(
    call: Call, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    call.configure()
    path = tmp_path / "long.wav"
    write_wav(path, tone((700,), 10, 8000), 8000)
    read = Player.read

    def stall(self: Player, samples: int, rate: int) -> Samples:
        counted.append(samples)
        if sum(counted) > 16000:
            gate.stop()
        return read(self, samples, rate)

    counted: list[int] = []
    monkeypatch.setattr(readahead.Player, "read", stall)  # type: ignore[attr-defined]
    call.left.play(path)
    heard = await collect(call, 300)
    sounding = np.flatnonzero(np.abs(heard) > 200)
    assert sounding[-1] - sounding[0] == pytest.approx(16000, abs=200)
    gate.open()
    await hear(call, loud)


async def test_a_stall_while_creating_a_recording_does_not_block_the_tick(
    call: Call, wav: Path, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    call.configure()
    monkeypatch.setattr(writer, "_create_private", gate.before(writer._create_private))
    recording = call.right.record(tmp_path / "call.wav")
    call.left.play(wav)
    call.tick(50)
    call.right.media.close()
    gate.open()
    recording.wait(10)
    with wave.open(str(tmp_path / "call.wav")) as file:
        assert file.getnframes() >= 50 * 160


@pytest.mark.parametrize("operation", ["write", "sync", "close"])
async def test_a_stall_during_a_recording_does_not_block_the_tick(
    call: Call,
    wav: Path,
    tmp_path: Path,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
) -> None:
    call.configure()
    stalled = gate.before(getattr(writer.WavFile, operation))
    recording = call.right.record(tmp_path / "call.wav")
    monkeypatch.setattr(writer.WavFile, operation, stalled)
    call.left.play(wav)
    call.tick(100)
    call.right.media.close()
    assert gate.reached.wait(10)
    gate.open()
    recording.wait(10)
    with wave.open(str(tmp_path / "call.wav")) as file:
        assert file.getnframes() >= 100 * 160


async def test_a_late_disk_error_is_reported_by_the_recording(
    call: Call, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, flags: int) -> int:
        gate.stop()
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(writer, "_create_private", refuse)
    monkeypatch.setattr(recorder, "_PATIENCE", 0.01)
    call.configure()
    recording = call.right.record(tmp_path / "call.wav")
    call.tick(5)
    gate.open()
    recording.wait(10)
    assert recording.error is not None
    assert recording.stopped
    call.tick(5)
