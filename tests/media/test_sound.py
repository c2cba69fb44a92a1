"""A call's sound, end to end: codecs, packets, levels, and the time."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spech.agreement import Agreed
from spech.audio.level import dbfs
from spech.audio.tones import tone
from spech.codecs import Samples, create
from spech.media.engine import Media
from spech.testing.audio import speech_level
from spech.testing.speech import SENTENCES
from spech.testing.speech import speak as speech

from ..inside import microphone_of, rtp_of, unread_of
from .conftest import TICK, Call, collect, frequency, noise, speak


@pytest.mark.parametrize(
    ("codec", "rate"),
    [
        ("PCMU", 8000),
        ("PCMA", 8000),
        ("G722", 16000),
        ("opus", 48000),
        ("L16/11025", 22050),
        ("L16/16000", 16000),
        ("L16/44100", 44100),
    ],
)
async def test_a_tone_arrives_with_its_frequency_and_level(
    call: Call, codec: str, rate: int
) -> None:
    call.configure(codec)
    heard = await speak(call, tone((1000,), 2, rate), rate)
    middle = heard[rate // 2 : -rate // 2]
    assert frequency(middle, rate) == pytest.approx(1000, abs=2)
    assert dbfs(middle) == pytest.approx(-12, abs=0.3)
    assert noise(middle, rate, 1000) > 30
    statistics = call.right.media.monitor.statistics
    assert statistics.received == 100
    assert statistics.lost == statistics.late == statistics.dropped_invalid == 0


async def test_ports_of_other_rates_are_resampled(call: Call) -> None:
    call.configure("PCMU")
    heard = await speak(call, tone((1000,), 2, 48000), 48000, listen_rate=16000)
    middle = heard[8000:-8000]
    assert frequency(middle, 16000) == pytest.approx(1000, abs=2)
    assert dbfs(middle) == pytest.approx(-12, abs=0.3)
    assert noise(middle, 16000, 1000) > 30


async def test_a_port_opened_before_the_codec_keeps_its_rate(call: Call) -> None:
    with call.right.open_audio() as port:
        assert port.rate == 8000
        call.configure("L16/16000")
        sound = tone((500,), 1, 16000)
        await speak(call, sound, 16000)
        assert len(await port.receive()) == 320


@pytest.mark.parametrize(
    ("codec", "units"), [("G722", {160}), ("opus", {960}), ("L16/11025", {220, 221})]
)
async def test_timestamps_follow_the_clock_of_the_codec(
    call: Call, codec: str, units: set[int]
) -> None:
    call.configure(codec)
    call.tick(50)
    stamps = [packet.timestamp for packet in call.left.packets()]
    assert {(b - a) & 0xFFFFFFFF for a, b in itertools.pairwise(stamps)} == units
    total = (stamps[-1] - stamps[0]) & 0xFFFFFFFF
    assert total == pytest.approx(49 * create(codec).clock_rate / 50, abs=1)


async def test_redundancy_in_the_next_packet_is_used(call: Call) -> None:
    """Opus sends a copy of each frame in the next packet, if the peer can use it."""
    frames: list[tuple[str, int]] = []

    def count(media: Media) -> None:
        codec = media._codec
        assert codec is not None
        for name in ("recover", "conceal"):
            original = getattr(codec, name)

            def counted(*arguments: Any, name: str = name, original: Any = original) -> Samples:
                frames.append((name, arguments[-1]))
                heard: Samples = original(*arguments)
                return heard

            setattr(codec, name, counted)

    call.configure("opus")
    host, port = call.left.peer
    call.left.media.configure(
        Agreed("opus", 97, 97, 101, 101, (host, port), (host, port + 1), fmtp="useinbandfec=1")
    )
    call.tick(20)
    count(call.right.media)
    number = itertools.count()
    call.left.rtp.judge = lambda datagram: [] if next(number) % 10 == 5 else [datagram]
    heard = await speak(call, tone((440,), 2, 48000), 48000)
    assert call.right.media.monitor.statistics.lost == 10
    assert frames == [("recover", 960)] * 10
    assert noise(heard[24000:-24000], 48000, 440) > 20


@pytest.mark.parametrize(("codec", "purity"), [("PCMU", 35), ("L16/8000", 75)])
@pytest.mark.parametrize("pitch", [300, 1000, 3000])
async def test_a_port_at_48_khz_has_no_clicks_at_frame_borders(
    call: Call, codec: str, purity: float, pitch: int
) -> None:
    """The codec limits the purity; L16 shows what resampling alone adds."""
    call.configure(codec)
    heard = await speak(call, tone((pitch,), 2, 48000), 48000)
    assert len(heard) >= 48000 * 1.9
    assert noise(heard[24000:-24000], 48000, pitch) > purity


async def test_frequencies_above_the_codecs_band_do_not_alias(call: Call) -> None:
    call.configure("L16/8000")
    heard = await speak(call, tone((6000,), 1, 48000), 48000)
    assert dbfs(heard[16000:]) < -80


@pytest.mark.parametrize(("asked", "ptime"), [(10, 10), (30, 30), (35, 30), (60, 60)])
async def test_other_packet_lengths_are_sent_and_heard(call: Call, asked: int, ptime: int) -> None:
    """35 ms could not be sent at even intervals."""
    call.configure("PCMU", ptime=asked)
    heard = await speak(call, tone((1000,), 2, 8000), 8000)
    assert {len(packet.payload) for packet in call.left.packets()} == {ptime * 8}
    stamps = [packet.timestamp for packet in call.left.packets()]
    assert {(b - a) & 0xFFFFFFFF for a, b in itertools.pairwise(stamps)} == {ptime * 8}
    assert noise(heard[4000:-4000], 8000, 1000) > 30


async def test_frames_may_be_longer_than_a_tick(call: Call) -> None:
    """iLBC without a mode parameter has frames of 30 ms, even if 20 ms are requested."""
    call.configure("iLBC/20")
    heard = await speak(call, tone((1000,), 2, 8000), 8000)
    packets = call.left.packets()
    assert {len(packet.payload) for packet in packets} == {50}
    assert {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in itertools.pairwise(packets)} == {
        240
    }
    assert noise(heard[4000:-4000], 8000, 1000) > 12


@pytest.mark.parametrize(("ptime", "length"), [(0, 80), (-5, 80), (9999, 1600)])
async def test_absurd_packet_lengths_are_bounded(call: Call, ptime: int, length: int) -> None:
    call.configure("PCMU", ptime=ptime)
    call.tick(10)
    assert {len(packet.payload) for packet in call.left.packets()} == {length}


async def test_sent_packets_keep_the_rules_of_rtp(call: Call) -> None:
    call.configure()
    call.tick(5)
    call.left.media.speech.keypad.send("5")
    call.tick(30)
    packets = call.left.packets()
    first = packets[0].sequence
    assert [packet.sequence for packet in packets] == [
        (first + index) & 0xFFFF for index in range(len(packets))
    ]
    assert len({packet.ssrc for packet in packets}) == 1
    assert packets[0].marker
    assert not any(packet.marker for packet in packets[1:5])
    # Sound after the digit begins a new talkspurt (RFC 3551 section 4.1).
    resumed = max(index for index, packet in enumerate(packets) if packet.payload_type == 101) + 1
    assert [packet.marker for packet in packets[resumed:]] == (
        [True] + [False] * (len(packets) - resumed - 1)
    )
    events = [packet for packet in packets if packet.payload_type == 101]
    assert len({packet.timestamp for packet in events}) == 1
    assert [packet.marker for packet in events] == [True] + [False] * (len(events) - 1)
    assert [int.from_bytes(packet.payload[2:], "big") for packet in events] == [
        160, 320, 480, 640, 800, 800, 800,
    ]  # fmt: skip
    assert [packet.payload[1] >> 7 for packet in events] == [0, 0, 0, 0, 1, 1, 1]
    sound = [packet for packet in packets if packet.payload_type == 0]
    for packet in sound:
        assert (packet.timestamp - sound[0].timestamp) % 160 == 0
    # Time continues during the digit: 35 ticks in total.
    assert (sound[-1].timestamp - sound[0].timestamp) & 0xFFFFFFFF == 34 * 160


async def test_timestamps_follow_time_through_many_stalls(call: Call) -> None:
    call.configure()
    media = call.left.media
    began = due = 100.0
    for _ in range(20):
        for _ in range(5):
            media.tick(due)
            due += TICK
        media.tick(due + 0.07)  # Late, but made up for,
        due += TICK + 0.1  # while the clock drops the next five ticks.
        media.tick(due + 0.005)
        due += TICK
    sent = call.left.packets()
    spoken = (sent[-1].timestamp - sent[0].timestamp) / 8000
    assert spoken == pytest.approx(due - TICK - began, abs=0.11)
    assert [one.sequence for one in sent] == list(
        range(sent[0].sequence, sent[0].sequence + len(sent))
    )


async def test_a_late_tick_is_not_a_stall(call: Call) -> None:
    call.configure()
    rng = random.Random(4)
    for number in range(200):
        call.left.media.tick(100.0 + number * TICK + rng.uniform(0, 0.1))
    stamps = [packet.timestamp for packet in call.left.packets()]
    assert {later - earlier for earlier, later in itertools.pairwise(stamps)} == {160}


async def test_sound_from_before_the_codec_adds_no_delay(call: Call) -> None:
    sound = tone((1000,), 1, 8000)
    with call.left.open_audio() as microphone:
        for start in range(0, len(sound), 160):
            microphone.send(sound[start : start + 160].tobytes())
            call.tick()
        assert microphone.dropped == 0
        call.configure()
        microphone.send(bytes(320))
        call.tick()
        assert not call.left.packets()[0].payload.strip(b"\xff")


async def test_muting_silences_the_microphone_and_not_the_files(call: Call, wav: Path) -> None:
    call.configure()
    call.left.media.voices.muted = True
    heard = await speak(call, tone((1000,), 0.5, 8000), 8000)
    assert not heard.any()
    assert call.left.media.voices.levels[0] == -96
    call.left.play(wav)
    assert frequency((await collect(call, 30))[1600:4000], 8000) == pytest.approx(700, abs=5)


async def test_a_silent_microphone_sends_silence_continuously(call: Call) -> None:
    call.configure()
    with call.left.open_audio():
        call.tick(50)
    assert len(call.left.packets()) == 50
    assert {packet.payload for packet in call.left.packets()} == {b"\xff" * 160}


async def test_levels_of_both_directions_are_measured(call: Call) -> None:
    call.configure()
    await speak(call, tone((1000,), 0.5, 8000, level=-20), 8000)
    assert call.left.media.voices.levels[0] == pytest.approx(-20, abs=0.3)
    assert call.right.media.voices.levels[1] == pytest.approx(-20, abs=0.3)
    assert call.right.media.voices.levels[0] == -96


async def test_unread_sound_does_not_accumulate(call: Call) -> None:
    call.configure()
    with call.right.open_audio() as port, call.left.open_audio() as microphone:
        for _ in range(20):
            microphone.send(bytes(320 * 5))
        assert microphone.dropped == 90
        call.tick(200)
        assert len(unread_of(port)) == 10
        assert port.missed == 190


async def test_a_standing_backlog_is_shortened(call: Call) -> None:
    call.configure()
    with call.left.open_audio() as microphone:
        microphone.send(bytes(320 * 8))
        for _ in range(1000):
            microphone.send(bytes(320))
            call.tick()
        assert len(microphone_of(microphone)) <= 2 * 320
        assert microphone.dropped == 0


async def test_sound_is_current_after_a_suspend(call: Call) -> None:
    call.configure()
    call.tick(20)
    before = call.left.packets()[-1]
    call.now += 60
    call.tick(20)
    after = call.left.packets()
    assert len(after) == 40
    assert after[20].marker
    assert (after[20].timestamp - before.timestamp) & 0xFFFFFFFF == 3001 * 160
    assert len(rtp_of(call.right.media).buffer) <= 4


async def test_gain_applies_in_both_directions(call: Call) -> None:
    call.configure("L16/16000")
    call.left.media.voices.microphone.gain = -6
    call.right.media.voices.speaker.gain = 10
    heard = await speak(call, tone((1000,), 1, 16000, level=-30), 16000)
    assert dbfs(heard[8000:-1600]) == pytest.approx(-26, abs=0.2)
    assert call.left.media.voices.levels[0] == pytest.approx(-36, abs=0.2)
    assert call.right.media.voices.peaks[1] == pytest.approx(-23, abs=0.3)


async def test_automatic_gain_amplifies_a_soft_peer(call: Call) -> None:
    call.configure("L16/16000")
    call.right.media.voices.speaker.automatic = True
    said = np.tile(speech(SENTENCES, 16000, peak=0.03), 2)
    heard = await speak(call, said, 16000)
    assert speech_level(said, 16000) < -45
    assert speech_level(heard[len(heard) // 2 :], 16000) == pytest.approx(-19, abs=3)
