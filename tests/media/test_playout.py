"""Playout of a stream: concealment, stretching and delay, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spech import codecs
from spech.codecs import Samples
from spech.media.playout import Playout
from spech.rtp import packet as rtp
from spech.rtp.session import RtpSession
from spech.testing.audio import sine, tone
from spech.testing.speech import SENTENCES, signal_to_noise, speak

RATE = 8000
TICK = 0.02
BEGIN = 100.0
#: 20 ms are a whole number of periods, so that packets can be repeated indefinitely.
TONE = sine(400, RATE, TICK, level=-12)
STEEPEST = int(np.abs(np.diff(np.concatenate((TONE, TONE)).astype(int))).max())


@dataclass
class Ear:
    """A playout, its sound and its reports in each tick."""

    ptime_ms: int = 20
    codec: str = "PCMU"
    heard: list[Samples] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        codec = codecs.create(self.codec)
        self.session = RtpSession(rng=random.Random(1), epoch=0.0)
        self.session.configure(
            clock_rate=codec.clock_rate,
            audio_send=96,
            audio_receive=96,
            event_send=None,
            event_receive=None,
        )
        self.units = codec.clock_rate // 50
        self.playout = Playout(self.session, codec, codec.rate // 50)

    def listen(self, packets: Iterator[tuple[float, bytes]], ticks: int) -> Ear:
        waiting = next(packets, None)
        for tick in range(ticks):
            now = BEGIN + 0.007 + tick * TICK
            while waiting is not None and waiting[0] <= now:
                self.session.receive_rtp(rtp.parse(waiting[1]), waiting[0])
                waiting = next(packets, None)
            self.heard.append(self.playout.next(self.units, now))
            self.delays.append(self.playout.delay)
        return self

    @property
    def sound(self) -> NDArray[np.int64]:
        return np.concatenate(self.heard).astype(np.int64)


def packets(
    sound: Samples,
    delay: Callable[[int], float | None] = lambda _: 0.0,
    *,
    count: int,
    drift: float = 0.0,
    ptime_ms: int = 20,
    codec: str = "PCMU",
) -> Iterator[tuple[float, bytes]]:
    """``count`` packets of a repeated sound and their arrival times, in that order."""
    encoder = codecs.create(codec)
    encoder.configure(encoder.fmtp)
    size = encoder.packet_samples(ptime_ms)
    units = size * encoder.clock_rate // encoder.rate
    whole = np.tile(sound, -(-size // len(sound))) if len(sound) < size else sound
    payloads = [
        encoder.encode(whole[at : at + size]) for at in range(0, len(whole) - size + 1, size)
    ]
    flying: list[tuple[float, bytes]] = []
    for number in range(count):
        sent = BEGIN + number * size / encoder.rate * (1 + drift)
        while flying and flying[0][0] <= sent:
            yield flying.pop(0)
        late = delay(number)
        if late is not None:
            datagram = rtp.build(
                96,
                number == 0,
                (65000 + number) & 0xFFFF,
                (0xFFFF0000 + number * units) & 0xFFFFFFFF,
                7,
                payloads[number % len(payloads)],
            )
            flying.append((sent + late, datagram))
            flying.sort()
    yield from flying


def assert_smooth(sound: NDArray[np.int64]) -> None:
    """Assert that there is no step larger than those of the tone, and no silence for a period."""
    assert np.abs(np.diff(sound)).max() <= STEEPEST * 1.3
    loud = np.abs(sound[: len(sound) // 20 * 20].reshape(-1, 20)).max(axis=1)
    assert loud.min() > np.abs(TONE).max() * 0.6


@pytest.mark.parametrize("drift", [-200e-6, 200e-6])
def test_half_an_hour_of_drift_is_inaudible(drift: float) -> None:
    count = 90000
    ear = Ear().listen(packets(TONE, count=count, drift=drift), int(count * (1 + drift)) - 10)
    assert ear.playout.concealed == 0
    assert max(ear.delays[500:]) < 0.06
    assert_smooth(ear.sound[500 * 160 :])
    stretched = ear.playout.accelerated if drift < 0 else ear.playout.expanded
    assert stretched == pytest.approx(count * 160 * 200e-6, rel=0.15)
    assert ear.session.counts.late == ear.session.buffer.discarded == 0


def test_delay_from_a_burst_of_jitter_is_removed() -> None:
    rng = random.Random(4)
    delay = {number: rng.uniform(0, 0.1) if number < 500 else 0.0 for number in range(1200)}
    ear = Ear().listen(packets(TONE, delay.__getitem__, count=1200), 1190)
    assert min(ear.delays[450:500]) > 0.08
    # The jitter is remembered for eight seconds; recovery takes less than two more.
    assert ear.delays[999] < 0.045
    assert ear.playout.accelerated > 0.05 * RATE
    assert_smooth(ear.sound[300 * 160 :])


def test_delay_grows_by_stretching_when_jitter_begins() -> None:
    rng = random.Random(4)
    ear = Ear().listen(
        packets(TONE, lambda number: 0.0 if number < 500 else rng.uniform(0, 0.06), count=2000),
        1990,
    )
    assert ear.delays[499] < 0.04
    assert min(ear.delays[700:]) > 0.045
    assert ear.playout.concealed <= 5
    assert ear.session.counts.late <= 2


def test_silence_is_shortened_before_speech() -> None:
    speech = np.concatenate((np.tile(TONE, 15), np.zeros(15 * 160, np.int16)))
    ear = Ear().listen(packets(speech, count=300), 290)
    assert ear.playout.accelerated == 160
    said = np.abs(ear.sound) > 2000
    begins = np.flatnonzero(said[1:] & ~said[:-1])
    lengths = [
        int(said[at : at + 3600].sum()) for at in begins[np.diff(begins, prepend=-9999) > 2400]
    ]
    assert max(lengths) - min(lengths) <= 8


@pytest.mark.parametrize("ptime_ms", [5, 10, 20, 30, 40, 60, 120])
@pytest.mark.parametrize("jitter", [0.0, 0.03])
def test_the_delay_settles_for_packets_of_any_length(ptime_ms: int, jitter: float) -> None:
    rng = random.Random(2)
    count = 30000 // ptime_ms
    stream = packets(TONE, lambda _: rng.uniform(0, jitter), count=count, ptime_ms=ptime_ms)
    ear = Ear().listen(stream, 1490)
    assert ear.playout.concealed <= 3
    playout = ear.playout
    before = playout.accelerated + playout.expanded
    assert before <= 0.1 * RATE
    # Half of a packet and half of a tick may be added.
    assert np.mean(ear.delays[-300:]) < jitter + 0.02 + 0.02 + ptime_ms / 1000
    assert_smooth(ear.sound[300 * 160 : -200 * 160])


def test_a_lost_packet_is_concealed_without_shifting_sound() -> None:
    speech = sine(230, RATE, 4, level=-12)
    ear = Ear().listen(
        packets(speech, lambda n: None if n > 100 and n % 20 == 7 else 0.0, count=200), 190
    )
    whole = Ear().listen(packets(speech, count=200), 190)
    lost = len([n for n in range(101, 188) if n % 20 == 7])
    assert abs(ear.playout.concealed - lost) <= 1
    assert np.count_nonzero(ear.sound != whole.sound) < (lost + 1) * 260


def test_late_packets_are_played_and_the_delay_shrinks_again() -> None:
    """After 100 ms in which nothing arrives, no speech is lost."""
    ear = Ear().listen(
        packets(TONE, lambda n: max(0.0, 0.1 - (n - 200) * TICK) if n >= 200 else 0.0, count=1000),
        990,
    )
    assert ear.session.lost == ear.session.counts.late == ear.session.buffer.discarded == 0
    assert 2 <= ear.playout.concealed <= 5
    assert max(ear.delays[200:260]) > 0.08
    assert ear.delays[-1] < 0.045


def test_opus_recovers_a_lost_packet_from_the_next_one() -> None:
    said = speak(SENTENCES, 48000)
    count = len(said) // 960

    def heard(lost: Callable[[int], bool], recover: bool) -> Samples:
        ear = Ear(codec="opus")
        if not recover:
            codec: Any = ear.playout._codec
            codec.recover = lambda _, samples: codec.conceal(samples)
        stream = packets(said, lambda n: None if lost(n) else 0.0, count=count, codec="opus")
        return np.concatenate(ear.listen(stream, count).heard)

    whole = heard(lambda _: False, True)
    scores = [
        signal_to_noise(whole, heard(lambda n: n > 20 and n % 6 == 2, recover), 48000)
        for recover in (False, True)
    ]
    assert scores[1] > scores[0] + 1


@pytest.mark.parametrize(
    ("ssrc", "sequence", "timestamp"),
    [(8, 100, 5), (7, 40000, 0x1000_0000), (7, 0, 0x8000_0000)],
    ids=["another source", "numbers begin anew", "timestamps jump"],
)
def test_a_restarted_stream_is_heard_within_100_ms(
    ssrc: int, sequence: int, timestamp: int
) -> None:
    payload = codecs.create("PCMU").encode(TONE)
    other = sine(1000, RATE, TICK, level=-12)
    later = codecs.create("PCMU").encode(other)

    def stream() -> Iterator[tuple[float, bytes]]:
        for number in range(100):
            arrival = BEGIN + number * TICK
            if number < 50:
                yield arrival, rtp.build(96, False, number, number * 160, 7, payload)
            else:
                number_then = (sequence + number) & 0xFFFF if sequence else number
                stamp = timestamp + number * 160
                yield arrival, rtp.build(96, False, number_then, stamp, ssrc, later)

    ear = Ear().listen(stream(), 98)
    assert ear.session.counts.resynchronised == (sequence != 40000)
    assert np.array_equal(ear.heard[20], ear.heard[21])
    quiet = [tick for tick in range(20, 98) if np.abs(ear.heard[tick]).max() < 2000]
    assert len(quiet) <= 5
    assert min(quiet, default=50) >= 50
    assert tone(ear.sound[60 * 160 :].astype(np.int16), RATE).frequency == pytest.approx(1000, 0.02)


@pytest.mark.parametrize("ahead", [-160, 0, 80])
@pytest.mark.parametrize("every", [0, 7, 50])
def test_noise_descriptions_among_sound_do_not_interrupt_it(ahead: int, every: int) -> None:
    """Comfort noise whose time has sound of its own; ``ahead`` of its timestamp, in units."""

    def mixed() -> Iterator[tuple[float, bytes]]:
        sequence = 0
        for number, (arrival, datagram) in enumerate(packets(TONE, count=150)):
            packet = rtp.parse(datagram)
            kinds = [(96, packet.timestamp, packet.payload)]
            if number == 40 if every == 0 else number % every == every - 1:
                stamp = (packet.timestamp + ahead) & 0xFFFFFFFF
                kinds.insert(0, (13, stamp, b"\x28\x40"))
            for kind, stamp, payload in kinds:
                yield arrival, rtp.build(kind, number == 0, sequence, stamp, 7, payload)
                sequence += 1

    ear = Ear().listen(mixed(), 160)
    plain = Ear().listen(packets(TONE, count=150), 160)
    # The initial delay may be removed one packet earlier, which changes rounding.
    assert np.abs(ear.sound - plain.sound)[: 140 * 160].max() <= 1
    assert ear.playout.expanded == 0
    assert ear.playout.accelerated < plain.playout.accelerated + len(TONE)
    assert ear.playout.concealed == 0
