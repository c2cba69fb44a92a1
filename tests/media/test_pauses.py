"""Silence suppression, end to end."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import numpy as np
import pytest

from spech.agreement import Agreed
from spech.audio.level import dbfs
from spech.codecs import Samples, create
from spech.media.engine import Media
from spech.rtp import packet as rtp
from spech.rtp.ports import PortPair
from spech.testing.speech import SENTENCES, intelligibility, speak

from .conftest import FakeSocket

NOISE = 13
TICK = 0.02


class Line:
    """Left speaks with silence suppression, right listens; tests may drop packets in between."""

    def __init__(
        self, codec: str = "PCMU", *, suppression: bool = True, noise: bool = True
    ) -> None:
        wire: dict[tuple[str, int], FakeSocket] = {}
        self.rate = create(codec).rate
        kind = {"PCMU": 0, "PCMA": 8, "G722": 9, "G729": 18}.get(codec, 97)
        number = (NOISE if create(codec).clock_rate == 8000 else 98) if noise else None
        self.number = number
        self.now = 100.0
        ends = []
        for port, peer in ((30000, 30002), (30002, 30000)):
            here = FakeSocket(wire, ("10.0.0.1", port))
            reports = FakeSocket(wire, ("10.0.0.1", port + 1))
            pair = PortPair(here, reports, "10.0.0.1", port)  # type: ignore[arg-type]
            media = Media(pair, rng=random.Random(port), silence_suppression=suppression)
            media.configure(
                Agreed(
                    codec, kind, kind, None, None, ("10.0.0.1", peer), ("10.0.0.1", peer + 1),
                    comfort_noise_send=number, comfort_noise_receive=number,
                )
            )  # fmt: skip
            ends.append((here, media))
        (self.wire, self.left), (_, self.right) = ends
        self.times: list[float] = []

    async def say(self, sound: Samples) -> Samples:
        heard = []
        with self.left.voices.open(self.rate) as said, self.right.voices.open(self.rate) as speaker:
            for start in range(0, len(sound), said.frame_samples):
                said.send(sound[start : start + said.frame_samples].tobytes())
                self.now += TICK
                before = len(self.wire.sent)
                self.left.tick(self.now)
                self.times += [self.now] * (len(self.wire.sent) - before)
                self.right.tick(self.now + 0.005)
                heard.append(await speaker.receive())
        return np.frombuffer(b"".join(heard), np.int16)

    def packets(self) -> list[rtp.RtpPacket]:
        return [rtp.parse(datagram) for datagram, _ in self.wire.sent]

    def longest_gap(self) -> float:
        return max(b - a for a, b in itertools.pairwise(self.times))


def room(rate: int, seconds: float, level: float = -55) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 32768 * 10 ** (level / 20), round(rate * seconds))


def conversation(rate: int, level: float = -55) -> tuple[Samples, list[slice]]:
    """Speech in a room, half of it pauses, and the positions of its sentences."""
    parts = [np.zeros(rate * 2)]
    sentences = []
    begin = rate * 2
    for sentence in SENTENCES.split(". "):
        said = speak(sentence, rate, peak=0.4)
        loud = np.flatnonzero(np.abs(said) > 50)
        said = said[loud[0] : loud[-1] + 1]
        parts += [said, np.zeros(len(said))]
        sentences.append(slice(begin, begin + len(said)))
        begin += 2 * len(said)
    clean = np.concatenate(parts)
    clean = clean[: len(clean) // (rate // 50) * (rate // 50)]
    noisy = clean + room(rate, len(clean) / rate + 1, level)[: len(clean)]
    return np.rint(noisy).astype(np.int16), sentences


@pytest.mark.parametrize("codec", ["PCMU", "G722", "L16/16000", "GSM"])
async def test_speech_is_heard_and_pauses_need_few_packets(codec: str) -> None:
    line = Line(codec)
    said, sentences = conversation(line.rate)
    heard = await line.say(said)
    packets = line.packets()
    sound = [packet for packet in packets if packet.payload_type != line.number]
    noise = [packet for packet in packets if packet.payload_type == line.number]
    ticks = len(said) * 50 // line.rate
    assert len(packets) < 0.65 * ticks
    assert 5 <= len(noise) < 0.05 * ticks
    assert {len(packet.payload) for packet in noise} == {11}
    # One sequence, and each packet has the timestamp of its tick.
    assert [packet.sequence for packet in packets] == [
        (packets[0].sequence + index) & 0xFFFF for index in range(len(packets))
    ]
    # Only packets in which sound begins again have the marker (RFC 3551 section 4.1).
    for before, packet in itertools.pairwise(packets):
        begins = packet in sound and before in noise
        assert packet.marker == begins
    # Packets are frequent enough for NAT bindings.
    assert line.longest_gap() <= 2.05
    # During the first sentence the jitter buffer is still adapting.
    for sentence in sentences[1:]:
        later = heard[sentence.start : sentence.stop + line.rate // 10]
        assert intelligibility(said[sentence], later, line.rate) > (0.98, 0.85)[codec == "GSM"]
    statistics = line.right.monitor.statistics
    assert statistics.lost == statistics.late == statistics.concealed == 0
    assert statistics.dropped_invalid == statistics.resynchronised == 0


@pytest.mark.parametrize("level", [-45, -55, -65])
async def test_comfort_noise_has_the_level_of_the_room(level: float) -> None:
    line = Line("L16/8000")
    said, _ = conversation(8000, level)
    await line.say(said)
    heard = await line.say(np.rint(room(8000, 4, level)).astype(np.int16))
    # After the hangover and the delay it is our noise, before that theirs.
    for start in range(0, len(heard) - 4000, 4000):
        assert dbfs(heard[start : start + 4000]) == pytest.approx(level, abs=2)


def lose(share: float, seed: int = 1) -> Callable[[bytes], list[bytes]]:
    rng = random.Random(seed)
    return lambda datagram: [] if rng.random() < share else [datagram]


async def test_noise_survives_lost_descriptions_and_lost_sound_is_counted() -> None:
    line = Line("PCMU")
    line.wire.judge = lose(0.2)
    said, _ = conversation(8000)
    heard = await line.say(said)
    statistics = line.right.monitor.statistics
    assert 0.1 < statistics.lost / line.left.monitor.statistics.sent < 0.3
    # No more is concealed than was lost, apart from pauses.
    assert statistics.concealed <= 1.5 * statistics.lost
    quiet = [dbfs(heard[start : start + 160]) for start in range(16000, len(heard), 160)]
    assert sorted(quiet)[len(quiet) // 5] > -65


async def test_without_comfort_noise_everything_is_sent() -> None:
    for line in (
        Line(suppression=False),
        Line(noise=False),
        *(Line(codec, suppression=False) for codec in ("opus", "G729", "speex/8000")),
    ):
        await line.say(np.zeros(line.rate * 2, np.int16))
        assert line.number not in {packet.payload_type for packet in line.packets()}
        assert len(line.packets()) == 100


async def test_files_and_tones_are_never_suppressed() -> None:
    line = Line()
    await line.say(np.zeros(8000, np.int16))
    before = len(line.packets())
    line.left.speech.keypad.send("5", duration_ms=400, method="inband")
    await line.say(np.zeros(4000, np.int16))
    kinds = [packet.payload_type for packet in line.packets()[before:]]
    assert kinds[:20] == [0] * 20


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722"])
async def test_comfort_noise_is_played_without_negotiation(codec: str) -> None:
    """Payload type 13 is static (RFC 3551), and some peers send it without negotiation."""
    line = Line(codec, suppression=False, noise=False)
    await line.say(np.zeros(line.rate // 2, np.int16))
    session = line.left._session
    session._noise_send = NOISE
    heard = []
    with line.right.voices.open(line.rate) as speaker:
        for tick in range(50):
            line.now += TICK
            session.advance(160)
            if tick == 0:
                line.wire.sendto(session.send_noise(b"\x2d"), ("10.0.0.1", 30002))
            line.right.tick(line.now + 0.005)
            heard.append(await speaker.receive())
    sound = np.frombuffer(b"".join(heard), np.int16)
    assert dbfs(sound[len(sound) // 2 :]) == pytest.approx(-45, abs=1.5)
    assert line.right.monitor.statistics.dropped_invalid == 0


@pytest.mark.parametrize("codec", ["opus", "G729", "speex/8000", "speex/16000"])
async def test_codecs_with_their_own_dtx_describe_pauses(codec: str) -> None:
    line = Line(codec, noise=False)
    said, sentences = conversation(line.rate, -70)
    quiet = np.rint(room(line.rate, 12, -70)).astype(np.int16)
    heard = await line.say(np.concatenate((said, quiet)))
    ticks = (len(said) + len(quiet)) * 50 // line.rate
    packets = line.packets()
    assert len(packets) < 0.75 * ticks
    assert line.longest_gap() <= 2.1
    for sentence in sentences[1:]:
        later = heard[sentence.start : sentence.stop + line.rate // 10]
        assert intelligibility(said[sentence], later, line.rate) > 0.75
    # After a pause the marker shows that sound begins.
    for before, packet in itertools.pairwise(packets):
        gap = (packet.timestamp - before.timestamp) & 0xFFFFFFFF
        assert packet.marker == (gap > line.rate // 50)
    statistics = line.right.monitor.statistics
    assert statistics.lost == statistics.concealed == statistics.dropped_invalid == 0
