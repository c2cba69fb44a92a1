"""Files, recordings, and the last sound of a call, end to end."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import trio

import spech.audio.ffmpeg  # noqa: F401 (the first file that needs it is opened late)
from spech.audio.level import dbfs
from spech.audio.progress import ProgressTone
from spech.audio.tones import tone
from spech.errors import CallEnded, MediaError
from spech.rtp import rtcp

from ..inside import unread_of
from .conftest import Call, collect, frequency, speak, write_wav


async def test_files_are_played_one_after_the_other(call: Call, wav: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.wav"
    write_wav(second, tone((1500,), 0.5, 8000), 8000)
    call.configure()
    call.left.play(wav)
    call.left.play(str(second))
    heard = await collect(call, 60)
    assert frequency(heard[1200:4000], 8000) == pytest.approx(700, abs=5)
    assert frequency(heard[5200:8000], 8000) == pytest.approx(1500, abs=5)
    assert dbfs(heard[1200:4000]) == pytest.approx(-12, abs=0.5)
    await call.left.media.speech.played()


async def test_simultaneous_sounds_are_mixed(call: Call, wav: Path) -> None:
    call.configure("L16/16000")
    call.left.play(wav)
    heard = await speak(call, tone((2000,), 0.5, 16000), 16000)
    part = heard[1600:6400]
    spectrum = np.abs(np.fft.rfft(part))
    strongest = np.sort(np.argsort(spectrum)[-2:]) * 16000 / len(part)
    assert strongest == pytest.approx([700, 2000], abs=5)


async def test_a_background_goes_on_beneath_what_is_played(call: Call, wav: Path) -> None:
    call.configure("L16/16000")
    plays = call.left.media.speech.plays
    replaced = plays.play_background(wav, 16000, gain=0.0, repeat=True)
    background = plays.play_background(wav, 16000, gain=-20.0, repeat=True)
    assert not await replaced.played()
    speech = plays.play(tone((2000,), 0.5, 16000), 16000)
    heard = (await collect(call, 100)).astype(float)
    assert await speech.played()
    await call.left.media.speech.played()

    def level(part: slice, frequency: int) -> float:
        wave = np.exp(-2j * np.pi * frequency / 16000 * np.arange(4000))
        return 20 * float(np.log10(np.abs(heard[part] @ wave) / 2000 / 32768 / np.sqrt(2)))

    for during in (slice(2000, 6000), slice(20000, 24000)):
        assert level(during, 700) == pytest.approx(-32, abs=0.5)
    assert level(slice(2000, 6000), 2000) == pytest.approx(-12, abs=0.5)
    call.left.flush()
    call.tick()
    assert not background.done
    background.flush()
    assert not np.any((await collect(call, 30))[8000:])


async def test_a_broken_file_raises_at_once(call: Call, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"this is no sound")
    for path in (broken, tmp_path / "missing.wav"):
        with pytest.raises(MediaError):
            call.left.play(path)
    assert not call.left.media.speech.busy


async def test_flush_ends_the_wait_for_played(call: Call, wav: Path, nursery: trio.Nursery) -> None:
    call.configure()
    call.left.play(wav)
    call.left.media.speech.keypad.send("123")
    done = trio.Event()

    async def wait() -> None:
        await call.left.media.speech.played()
        done.set()

    nursery.start_soon(wait)
    for _ in range(5):
        call.tick()
        await trio.testing.wait_all_tasks_blocked()
    assert not done.is_set()
    call.left.flush()
    call.tick(10)
    await trio.testing.wait_all_tasks_blocked()
    assert done.is_set()
    assert call.right.digits == "1"


@pytest.mark.parametrize("ptime", [20, 30, 60, 200])
@pytest.mark.parametrize("length", [0.5, 0.491])
async def test_the_last_sound_is_sent_before_the_bye(
    call: Call, tmp_path: Path, nursery: trio.Nursery, ptime: int, length: float
) -> None:
    path = tmp_path / "word.wav"
    write_wav(path, tone((700,), length, 8000), 8000)
    call.configure(ptime=ptime)
    call.left.play(path)
    heard: list[bytes] = []
    done = trio.Event()

    async def wait() -> None:
        await call.left.media.speech.played()
        done.set()

    nursery.start_soon(wait)
    with call.right.open_audio() as speaker:
        while not done.is_set():
            call.tick()
            await trio.testing.wait_all_tasks_blocked()
            heard.append(await speaker.receive())
        call.left.media.close()
        sent = [packet for packet in call.left.packets() if packet.payload.strip(b"\xff")]
        assert sum(len(packet.payload) for packet in sent) >= length * 8000
        call.right.media.close()
        heard += [frame async for frame in speaker]
    pcm = np.frombuffer(b"".join(heard), np.int16)
    sounding = np.flatnonzero(np.abs(pcm) > 200)
    assert sounding[-1] - sounding[0] == pytest.approx(length * 8000, abs=20)


@pytest.mark.parametrize("ptime", [10, 20, 60, 200])
async def test_all_sound_is_played_before_the_bye_empties_the_buffer(
    call: Call, wav: Path, nursery: trio.Nursery, ptime: int
) -> None:
    call.configure(ptime=ptime)
    call.left.play(wav)
    done = trio.Event()

    async def wait() -> None:
        await call.left.media.speech.played()
        done.set()

    nursery.start_soon(wait)
    heard: list[bytes] = []
    with call.right.open_audio() as speaker:
        while not done.is_set():
            call.tick()
            await trio.testing.wait_all_tasks_blocked()
            heard.append(await speaker.receive())
    sounding = np.flatnonzero(np.abs(np.frombuffer(b"".join(heard), np.int16)) > 200)
    assert sounding[-1] - sounding[0] == pytest.approx(4000, abs=20)


async def test_a_recording_contains_the_last_sound_before_the_bye(
    call: Call, wav: Path, tmp_path: Path
) -> None:
    call.configure()
    call.right.record(tmp_path / "call.wav")
    call.left.play(wav)
    call.tick(25)  # all of it is sent, but not all is played yet
    call.right.media.close()
    with wave.open(str(tmp_path / "call.wav")) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    sounding = np.flatnonzero(np.abs(pcm) > 200)
    assert sounding[-1] - sounding[0] == pytest.approx(4000, abs=20)


async def test_closing_ends_waiting_and_ports(call: Call, wav: Path) -> None:
    call.configure()
    call.left.play(wav)
    call.tick(3)
    with call.left.open_audio() as port:
        call.left.media.close()
        call.left.media.close()
        assert b"".join([frame async for frame in port]).strip(b"\0") == b""
        port.send(b"\0\0")  # It is discarded without an error.
        with pytest.raises(CallEnded):
            await port.receive()
        with pytest.raises(CallEnded):
            await call.left.media.speech.played()
    call.tick(3)
    farewell = rtcp.parse(call.left.rtcp.sent[-1][0])
    assert farewell[-1] == rtcp.Goodbye(call.left.packets()[0].ssrc)
    for use in (
        lambda: call.left.play(wav),
        lambda: call.left.media.speech.keypad.send("1"),
        lambda: call.left.record(wav),
        lambda: call.left.open_audio().__enter__(),
    ):
        with pytest.raises(CallEnded):
            use()


async def test_a_recording_holds_both_sides(call: Call, tmp_path: Path) -> None:
    call.configure()
    path = tmp_path / "call.wav"
    left = tone((600,), 1.5, 8000)
    right = tone((1800,), 1.5, 8000)
    with (
        call.left.record(path),
        call.left.open_audio() as one,
        call.right.open_audio() as two,
    ):
        for start in range(0, len(left), 160):
            one.send(left[start : start + 160].tobytes())
            two.send(right[start : start + 160].tobytes())
            call.tick()
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    assert len(pcm) == 75 * 160
    spectrum = np.abs(np.fft.rfft(pcm[2000:10000]))
    assert np.sort(np.argsort(spectrum)[-2:]) == pytest.approx([600, 1800], abs=2)


async def test_closing_completes_recordings(call: Call, tmp_path: Path) -> None:
    call.configure()
    recording = call.left.record(tmp_path / "call.wav")
    call.tick(10)
    call.left.media.close()
    assert recording.stopped
    with wave.open(str(tmp_path / "call.wav")) as file:
        assert file.getnframes() >= 1600
    with pytest.raises(MediaError):
        call.right.record(tmp_path / "missing" / "call.wav")


async def test_a_progress_tone_is_played(call: Call) -> None:
    call.configure()
    call.left.media.speech.plays.play(ProgressTone("busy", "us", 1.0), 8000)
    with pytest.raises(ValueError, match="not one of"):
        call.left.media.speech.plays.play(ProgressTone("melody"), 8000)
    with call.right.open_audio() as speaker:
        call.tick(15)
        heard = []
        while unread_of(speaker):
            heard.append(np.frombuffer(await speaker.receive(), "<i2"))
    assert max(map(dbfs, heard)) == pytest.approx(-16, abs=1.5)
