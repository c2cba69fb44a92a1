"""Sound that a program plays: bursts, chunks of any length, marks, interruptions and errors."""

from __future__ import annotations

import io
import tempfile
import time
import wave
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing

from spech import Phone, PortRange, open_conference, open_phone
from spech.audio.tones import tone
from spech.codecs import Samples, create
from spech.errors import CallEnded, LocalProtocolError, MediaError
from spech.media import playback
from spech.media.playback import Mark, Playable, Playback, PlayQueue

from .conftest import Call, frequency, noise

PORTS = PortRange(34_060, 34_079)
TONE = tone((1000,), 3, 8000)


def play(call: Call, sound: Playable | None, *, rate: int = 8000) -> Playback:
    return call.left.media.speech.plays.play(sound, rate)


def cut(sound: Samples, sizes: Iterator[int]) -> Iterator[bytes]:
    """The bytes of a sound in chunks of these sizes, in turn."""
    data = sound.tobytes()
    start = 0
    while start < len(data):
        size = next(sizes)
        yield data[start : start + size]
        start += size


def sizes(*some: int) -> Iterator[int]:
    while True:
        yield from some


async def collect(call: Call, ticks: int, codec: str = "PCMU") -> Samples:
    """What left sends in this many ticks, decoded without a jitter buffer, which splices sound."""
    before = len(call.left.rtp.sent)
    call.tick(ticks)
    await trio.lowlevel.checkpoint()
    decoder = create(codec)
    parts = [decoder.decode(packet.payload) for packet in call.left.packets()[before:]]
    return np.concatenate(parts)


def sounding(heard: Samples) -> int:
    """The number of samples from the first audible one to the last."""
    loud = np.flatnonzero(np.abs(heard) > 100)
    return int(loud[-1] - loud[0] + 1) if len(loud) else 0


@pytest.mark.parametrize("kind", ["bytes", "bytearray", "memoryview", "array"])
async def test_a_burst_is_played_completely(call: Call, kind: str) -> None:
    call.configure()
    data = TONE.tobytes()
    sounds: dict[str, Playable] = {
        "bytes": data,
        "bytearray": bytearray(data),
        "memoryview": memoryview(data),
        "array": TONE,
    }
    handle = play(call, sounds[kind])
    assert handle.queued_ms == 3000
    heard = await collect(call, 170)
    assert sounding(heard) == pytest.approx(24000, abs=10)
    assert noise(heard[4000:20000], 8000, 1000) > 30
    assert (handle.played_ms, handle.queued_ms, handle.dropped_ms) == (3000, 0, 0)
    assert await handle.played()
    assert handle.done


@pytest.mark.parametrize("some", [(1,), (3, 500, 77), (320,), (321,), (7001, 1), (48000,)])
async def test_chunks_may_have_any_length(call: Call, some: tuple[int, ...]) -> None:
    call.configure()
    handle = play(call, None)
    for chunk in cut(TONE, sizes(*some)):
        handle.write(chunk)
    handle.end()
    heard = await collect(call, 170)
    assert sounding(heard) == pytest.approx(24000, abs=10)
    assert noise(heard[4000:20000], 8000, 1000) > 30
    assert await handle.played()


@pytest.mark.parametrize(("rate", "codec"), [(16000, "PCMU"), (24000, "G722"), (8000, "opus")])
async def test_pcm_may_have_its_own_rate(call: Call, rate: int, codec: str) -> None:
    call.configure(codec)
    handle = play(call, tone((1000,), 2, rate), rate=rate)
    heard = await collect(call, 125, codec)
    sent_rate = create(codec).rate
    assert sounding(heard) == pytest.approx(2 * sent_rate, abs=sent_rate // 40)
    assert frequency(heard[sent_rate // 2 : sent_rate], sent_rate) == pytest.approx(1000, abs=3)
    assert handle.played_ms == 2000


async def test_sounds_are_played_without_gaps(call: Call, wav: Path) -> None:
    call.configure()
    for start in range(0, 24000, 1111):
        play(call, TONE[start : start + 1111])
    play(call, wav)
    heard = await collect(call, 200)
    assert sounding(heard) == pytest.approx(28000, abs=10)
    assert noise(heard[4000:20000], 8000, 1000) > 30


async def test_a_mark_is_reached_when_all_earlier_sound_is_played(call: Call) -> None:
    call.configure()
    handle = play(call, None)
    marks: list[Mark] = []
    for start in range(0, 24000, 8000):
        handle.write(TONE[start : start + 8000])
        marks.append(handle.mark())
    reached = []
    for _ in range(160):
        call.tick()
        reached.append(sum(mark.reached for mark in marks))
    assert [reached.index(count) for count in (1, 2, 3)] == [49, 99, 149]
    assert [await mark.played() for mark in (*marks, handle.mark())] == [True] * 4


async def test_a_flush_reports_what_was_played_and_drops_the_rest(call: Call) -> None:
    call.configure()
    handle = play(call, None)
    handle.write(TONE)
    mark = handle.mark()
    call.tick(30)
    assert handle.flush() == 600
    assert handle.queued_ms == handle.played_ms == 0
    assert not await mark.played()
    call.tick(20)
    assert not (await collect(call, 20)).any()
    handle.write(TONE[:1600])  # The next answer, from 0 ms on.
    call.tick(20)
    assert handle.flush() == 200
    handle.end()
    assert await handle.played()


@pytest.mark.parametrize("kind", ["pcm", "file", "iterator"])
async def test_a_flushed_sound_has_ended_and_the_next_one_plays(
    call: Call, wav: Path, kind: str, nursery: trio.Nursery
) -> None:
    async def speech() -> AsyncIterator[bytes]:
        while True:
            yield TONE[:1600].tobytes()

    call.configure()
    call.left.media.speech.plays.spawn = nursery.start_soon
    sounds: dict[str, Playable] = {"pcm": TONE, "file": wav, "iterator": speech()}
    handle = play(call, sounds[kind])
    after = play(call, tone((1500,), 1, 8000))
    await trio.testing.wait_all_tasks_blocked()
    call.tick(10)
    assert handle.flush() == pytest.approx(200, abs=20)
    assert not await handle.played()
    call.tick(10)
    heard = await collect(call, 20)
    assert frequency(heard, 8000) == pytest.approx(1500, abs=10)
    assert after.played_ms == 600


async def test_a_pause_stops_the_queue_and_drops_nothing(call: Call) -> None:
    call.configure()
    handle = play(call, TONE)
    heard = [await collect(call, 50)]
    handle.pause()
    assert not (await collect(call, 60))[1600:].any()
    assert call.left.media.speech.busy
    handle.resume()
    heard.append(await collect(call, 120))
    assert handle.played_ms == 3000
    assert sum(map(sounding, heard)) == pytest.approx(24000, abs=400)


async def test_an_async_iterator_is_read_ahead_within_a_limit(
    call: Call, nursery: trio.Nursery
) -> None:
    taken = 0
    closed = False

    async def speech() -> AsyncIterator[bytes]:
        nonlocal taken, closed
        try:
            for _ in range(30):
                taken += 1
                yield tone((1000,), 1, 8000).tobytes()[:-1] + b"\0"
        finally:
            closed = True

    call.configure()
    call.left.media.speech.plays.spawn = nursery.start_soon
    handle = play(call, speech())
    for _ in range(1600):
        await trio.testing.wait_all_tasks_blocked()
        assert handle.queued_ms <= 11_000
        call.tick()
    assert (taken, closed) == (30, True)
    assert await handle.played()
    assert handle.played_ms == 30_000


async def test_a_failing_async_iterator_ends_its_sound_only(
    call: Call, nursery: trio.Nursery
) -> None:
    async def speech() -> AsyncIterator[bytes]:
        yield TONE[:4000].tobytes()
        raise OSError("the server has gone")

    call.configure()
    call.left.media.speech.plays.spawn = nursery.start_soon
    handle = play(call, speech())
    await trio.testing.wait_all_tasks_blocked()
    heard = await collect(call, 40)
    assert sounding(heard) == pytest.approx(4000, abs=10)
    with pytest.raises(MediaError, match="the server has gone"):
        await handle.played()


async def test_an_async_iterator_without_a_call_is_an_error(call: Call) -> None:
    async def speech() -> AsyncIterator[bytes]:
        yield b""

    with pytest.raises(LocalProtocolError):
        play(call, speech())


async def test_a_queue_holds_minutes_and_counts_dropped_sound(
    call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    call.configure()
    one, other = play(call, None), play(call, None)
    fifth = np.tile(TONE[:8000], round(playback.LONGEST_QUEUE / 5))
    for _ in range(4):
        one.write(fifth)
        other.write(fifth)
    longest_ms = 1000 * playback.LONGEST_QUEUE
    assert one.queued_ms + other.queued_ms == longest_ms
    assert one.dropped_ms + other.dropped_ms == longest_ms * 3 / 5
    assert len(caplog.records) == 2
    call.tick(100)
    one.write(TONE[:16000])
    assert one.dropped_ms + other.dropped_ms == longest_ms * 3 / 5


async def test_a_partial_frame_is_padded_after_a_short_wait(call: Call) -> None:
    call.configure()
    handle = play(call, None)
    handle.write(TONE[:1700])
    call.tick(12)
    assert handle.queued_ms == 12.5
    handle.write(TONE[1700:3200])
    call.tick(10)
    assert handle.queued_ms == 0
    handle.write(TONE[3200:3300])
    call.tick(3)
    assert handle.queued_ms == 12.5
    call.tick()
    assert handle.queued_ms == 0


@pytest.mark.parametrize("sound", [None, TONE])
async def test_the_end_of_the_call_ends_waits(
    call: Call, nursery: trio.Nursery, sound: Samples | None
) -> None:
    call.configure()
    handle = play(call, sound)
    if sound is None:
        handle.write(TONE)
    mark = handle.mark()
    errors: list[CallEnded] = []

    async def wait() -> None:
        try:
            await handle.played()
        except CallEnded as error:
            errors.append(error)

    nursery.start_soon(wait)
    call.tick(10)
    call.left.media.close()
    await trio.testing.wait_all_tasks_blocked()
    assert len(errors) == 1
    assert not await mark.played()
    handle.write(TONE)  # It is discarded.
    assert handle.flush() == 200
    with pytest.raises(CallEnded):
        play(call, TONE)


async def test_a_port_plays_into_the_queue_of_its_call(call: Call) -> None:
    call.configure()
    with call.left.media.voices.open(16000) as port:
        port.send(bytes(640))
        handle = port.play(tone((1000,), 1, 16000))
        after = play(call, tone((1500,), 1, 8000))
        heard = await collect(call, 120)
    assert sounding(heard) == pytest.approx(16000, abs=400)
    assert frequency(heard[10000:14000], 8000) == pytest.approx(1500, abs=5)
    assert (handle.played_ms, after.played_ms) == (1000, 1000)


def test_invalid_pcm_is_an_error() -> None:
    queue = PlayQueue(8000)
    for wrong in (np.zeros(160, np.float32), np.zeros((2, 160), np.int16)):
        with pytest.raises(ValueError, match="int16"):
            queue.play(wrong, 8000)  # type: ignore[arg-type]
    assert not queue


async def test_writing_to_the_playback_of_a_file_is_an_error(call: Call, wav: Path) -> None:
    with pytest.raises(LocalProtocolError):
        play(call, wav).write(b"")


async def test_an_array_may_be_changed_after_writing_it(call: Call) -> None:
    call.configure()
    buffer = np.zeros(160, np.int16)
    handle = play(call, None)
    for start in range(0, 8000, 160):
        buffer[:] = TONE[start : start + 160]
        handle.write(buffer)
    heard = await collect(call, 70)
    steps = [abs(int(b) - int(a)) for a, b in pairwise(heard[1000:7000])]
    assert max(steps) < 9000
    assert noise(heard[1600:7000], 8000, 1000) > 30


async def test_a_call_and_a_conference_play_async_iterators(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def speech() -> AsyncIterator[bytes]:
        for _ in range(10):
            await trio.sleep(0.05)
            yield TONE[:800].tobytes()

    async def answer(phone: Phone) -> None:
        async for incoming in phone.incoming_calls():
            async with incoming.answer() as call:
                await call.ended()

    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as bob,
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as alice,
        open_conference() as conference,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(answer, bob)
        await trio.testing.wait_all_tasks_blocked()
        async with alice.call(f"sip:bob@127.0.0.1:{bob.address[1]}") as call:
            await call.answered()
            with conference.open_audio(8000) as (port, member):
                handles = [call.play(speech()), port.play(speech())]
                for handle in handles:
                    assert await handle.played()
                    assert handle.played_ms == 1000
                assert member.level > -40
        nursery.cancel_scope.cancel()


#: A second of 700 Hz, and then one of 1500 Hz.
TWO = np.concatenate((tone((700,), 1, 8000), tone((1500,), 1, 8000)))


def wav(sound: Samples) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 8000, 0, "NONE", ""))
        writer.writeframes(sound.tobytes())
    return file.getvalue()


async def collect_sound(call: Call, ticks: int) -> Samples:
    """As many ticks with sound; a thread that reads a file may need a moment for the first."""
    parts: list[Samples] = []
    deadline = time.monotonic() + 10
    while len(parts) < ticks and time.monotonic() < deadline:
        part = await collect(call, 1)
        if sounding(part):
            parts.append(part)
        else:
            time.sleep(0.002)  # noqa: ASYNC251 (no other task, and a thread that needs it)
    return np.concatenate(parts)


async def test_pcm_continues_at_another_place(call: Call) -> None:
    call.configure()
    handle = play(call, TWO)
    mark = handle.mark()
    assert frequency(await collect(call, 20), 8000) == pytest.approx(700, abs=5)
    handle.seek(1500)
    assert handle.played_ms == 1500
    assert handle.queued_ms == 500
    assert frequency(await collect(call, 20), 8000) == pytest.approx(1500, abs=5)
    assert handle.played_ms == 1900
    handle.seek(0)
    assert frequency(await collect(call, 50), 8000) == pytest.approx(700, abs=5)
    assert not mark.decided
    assert frequency(await collect(call, 50), 8000) == pytest.approx(1500, abs=5)
    call.tick(2)
    assert await handle.played()
    assert mark.reached
    with pytest.raises(LocalProtocolError, match="the sound has ended"):
        handle.seek(0)


@pytest.mark.parametrize("kind", ["path", "object"])
async def test_a_file_continues_at_another_place(call: Call, tmp_path: Path, kind: str) -> None:
    (tmp_path / "two.wav").write_bytes(wav(TWO))
    call.configure()
    with (tmp_path / "two.wav").open("rb") as file:
        handle = play(call, file if kind == "object" else tmp_path / "two.wav")
        assert frequency(await collect(call, 20), 8000) == pytest.approx(700, abs=5)
        for place, expected in ((1200, 1500), (0, 700), (1200, 1500)):
            handle.seek(place)
            assert handle.played_ms == place
            heard = await collect_sound(call, 20)
            assert frequency(heard[800:], 8000) == pytest.approx(expected, abs=5)
        assert len(await collect_sound(call, 20)) == 20 * 160
        call.tick(2)
        assert await handle.played()
        assert not file.closed


async def test_a_sound_without_places_refuses_to_go_to_one(call: Call) -> None:
    call.configure()
    handle = play(call, None)
    with pytest.raises(LocalProtocolError, match="PCM as a whole"):
        handle.seek(0)
    with pytest.raises(ValueError, match="-1 ms are before the beginning"):
        handle.seek(-1)


async def test_file_objects_are_played_from_where_they_stand(call: Call) -> None:
    call.configure()
    file = io.BytesIO(b"before" + wav(tone((700,), 0.5, 8000)))
    file.seek(6)
    plays = call.left.media.speech.plays
    repeated = plays.play(file, 8000, repeat=True)
    heard = await collect(call, 60)
    assert sounding(heard) > 9000
    assert frequency(heard[800:], 8000) == pytest.approx(700, abs=5)
    repeated.flush()
    with tempfile.NamedTemporaryFile() as named:
        named.write(wav(TWO))
        named.seek(0)
        play(call, named)
        assert frequency(await collect(call, 20), 8000) == pytest.approx(700, abs=5)
    with pytest.raises(LocalProtocolError, match="opened in binary mode"):
        play(call, io.StringIO("text"))  # type: ignore[arg-type]
    with pytest.raises(MediaError, match="the file object"):
        broken = play(call, io.BytesIO(b"no sound"))
        while not broken.done:  # FFmpeg may have to be loaded.
            call.tick()
            time.sleep(0.01)  # noqa: ASYNC251
        await broken.played()
