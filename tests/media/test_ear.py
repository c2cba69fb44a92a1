"""What a machine hears: all of it, in order, at once."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
import trio
import trio.testing

from spech import codecs
from spech.codecs import Samples
from spech.media.ear import Ear
from spech.media.playout import Playout
from spech.rtp import packet as rtp
from spech.rtp.clock import MediaClock
from spech.rtp.session import RtpSession
from spech.testing.audio import sine

from ..inside import unread_of
from .conftest import Call, fail, speak

RATE, TICK, SIZE = 8000, 0.02, 160
BEGIN = 100.0
#: Each packet has a level of its own.
LEVELS = np.arange(200, dtype=np.int16) * 64 + 64


def hear(arrivals: Sequence[float | None], ticks: int) -> list[Samples]:
    """What there is to hear in each tick, of packets of 20 ms that arrive then; None is lost."""
    codec = codecs.create("L16/8000")
    session = RtpSession(rng=random.Random(1), epoch=0.0)
    session.configure(
        clock_rate=RATE, audio_send=96, audio_receive=96, event_send=None, event_receive=None
    )
    session.buffer.immediate = True
    playout, ear = Playout(session, codec, SIZE), Ear()
    flying = sorted((at, number) for number, at in enumerate(arrivals) if at is not None)
    heard = []
    for tick in range(ticks):
        now = BEGIN + tick * TICK
        while flying and BEGIN + flying[0][0] <= now:
            at, number = flying.pop(0)
            payload = codec.encode(np.full(SIZE, LEVELS[number], np.int16))
            packet = rtp.RtpPacket(96, number == 0, number, number * SIZE, 1, payload)
            session.receive_rtp(packet, BEGIN + at)
        sounds = list(ear.listen(playout, SIZE, now))
        heard.append(np.concatenate(sounds) if sounds else np.zeros(0, np.int16))
    return heard


def levels(heard: list[Samples]) -> list[int]:
    """The levels of the packets that were heard, in order."""
    sound = np.concatenate(heard)
    return [int(level) for level in sound[SIZE // 2 :: SIZE] if level]


def test_late_packets_and_bursts_are_heard_unchanged() -> None:
    """Nothing is left out to make up for a delay, because no delay is kept."""
    rng = random.Random(3)
    late = [0.001 if number < 10 else 0.03 + rng.uniform(0.0, 0.02) for number in range(200)]
    arrivals = [number * TICK + late[number] for number in range(200)]
    arrivals[50:53] = [arrivals[52]] * 3
    heard = np.concatenate(hear(arrivals, 210))
    assert heard[: 200 * SIZE].tolist() == np.repeat(LEVELS, SIZE).tolist()


def test_packets_are_heard_in_the_tick_after_they_arrive() -> None:
    heard = hear([number * TICK + 0.001 for number in range(50)], 52)
    for number in range(50):
        assert heard[number + 1].tolist() == [LEVELS[number]] * SIZE


def test_late_packets_are_heard_in_order_and_nothing_is_concealed() -> None:
    rng = random.Random(3)
    arrivals = [number * TICK + rng.uniform(0, 0.055) for number in range(150)]
    heard = hear(arrivals, 160)
    begin = next(index for index, sound in enumerate(heard) if len(sound) and sound[0])
    assert levels(heard[begin:153]) == LEVELS[:150].tolist()


def test_a_lost_packet_is_concealed_and_costs_no_delay_for_long() -> None:
    arrivals: list[float | None] = [number * TICK + 0.001 for number in range(100)]
    arrivals[50] = None
    heard = hear(arrivals, 100)
    assert sum(len(sound) for sound in heard[:70]) == 69 * SIZE
    assert [len(heard[tick]) // SIZE for tick in range(50, 56)] == [1, 0, 0, 0, 4, 1]
    assert heard[54].tolist()[-SIZE:] == [LEVELS[53]] * SIZE


def test_a_pause_is_silence() -> None:
    heard = hear([number * TICK for number in range(20)], 60)
    assert all(len(sound) == SIZE for sound in heard[30:])
    assert not np.any(np.concatenate(heard[45:]))


async def test_what_a_program_answers_within_10_ms_leaves_with_the_same_tick(
    call: Call, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    call.configure("L16/8000")
    left, right = call.left.media, call.right.media
    right.low_latency = True
    sound = np.full(SIZE, 6400, np.int16)
    sent_at: list[float] = []

    def note(datagram: bytes) -> list[bytes]:
        if any(rtp.parse(datagram).payload):
            sent_at.append(trio.current_time())
        return [datagram]

    call.right.rtp.judge = note
    clock = MediaClock()
    await nursery.start(clock.run)
    with right.voices.open(RATE) as port, clock.attach(right.tick, fail):
        await trio.sleep(1.001)
        while unread_of(port):
            await port.receive()
        with left.voices.open(RATE) as microphone:
            microphone.send(sound.tobytes())
            left.tick(trio.current_time())
        while not np.any(np.frombuffer(await port.receive(), np.int16)):
            pass
        heard_at = trio.current_time()
        await trio.sleep(0.008)
        port.send(sound.tobytes())
        await trio.sleep(0.1)
    assert sent_at == [pytest.approx(heard_at + 0.01)]


async def test_what_was_not_answered_yet_leaves_with_the_codec_before(call: Call) -> None:
    """Another codec, with another rate, comes between the halves of a tick."""
    media = call.left.media
    media.low_latency = True
    call.configure("PCMU")
    recorded: list[Samples] = []
    media.recordings.tap(recorded.append, RATE)
    media.tick(1.0)
    call.configure("G722")
    rest = media.tick(1.02)
    assert rest is not None
    rest()
    media.tick(1.04)
    media.close()
    rest()
    assert [packet.payload_type for packet in call.left.packets()] == [0, 97]
    assert [len(sound) > 0 for sound in recorded] == [True, True]


@pytest.mark.parametrize("codec", ["PCMU", "G722", "opus", "L16/16000"])
async def test_ports_and_recordings_of_a_call_hear_the_same_tone(call: Call, codec: str) -> None:
    call.configure(codec)
    rate = call.right.media.rate
    call.right.media.low_latency = True
    recorded: list[Samples] = []
    call.right.media.recordings.tap(recorded.append, rate)
    heard = await speak(call, sine(1000, rate, 1, level=-12), rate)
    theirs = np.concatenate(recorded)[1::2]
    for sound in (heard, theirs):
        part = sound[rate // 4 : rate // 4 * 3].astype(float)
        spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part))))
        assert np.argmax(spectrum) * rate / len(part) == pytest.approx(1000, abs=5)
        assert np.sqrt(np.mean(part**2)) / 32768 == pytest.approx(10 ** (-15 / 20), rel=0.5)
