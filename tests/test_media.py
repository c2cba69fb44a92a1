"""A call's sound, end to end: two Media joined by a wire of lists, or by real sockets."""

from __future__ import annotations

import errno
import itertools
import random
import socket
import wave
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from spech.agreement import Agreed
from spech.audio.dtmf import DigitDetector
from spech.audio.level import dbfs
from spech.audio.tones import digit, tone
from spech.codecs import Samples, create
from spech.errors import CallEnded, LocalProtocolError, MediaError
from spech.media import Media
from spech.rtp import packet as rtp
from spech.rtp import rtcp
from spech.rtp.clock import MediaClock
from spech.rtp.ports import PortPair, PortRange, lease
from spech.testing.audio import speech_level
from spech.testing.speech import SENTENCES
from spech.testing.speech import speak as speech

Address = tuple[str, int]
TICK = 0.02


class FakeSocket:
    """The three methods that a stream needs of a UDP socket, over a dictionary of sockets."""

    def __init__(self, wire: dict[Address, FakeSocket], address: Address) -> None:
        self.waiting: deque[tuple[bytes, Address]] = deque()
        self.sent: list[tuple[bytes, Address]] = []
        self.judge: Callable[[bytes], list[bytes]] = lambda datagram: [datagram]
        self._wire = wire
        self._address = address
        wire[address] = self

    def sendto(self, datagram: bytes, destination: Address) -> int:
        self.sent.append((datagram, destination))
        if destination in self._wire:
            for passed in self.judge(datagram):
                self._wire[destination].waiting.append((passed, self._address))
        return len(datagram)

    def recvmsg_into(self, buffers: list[bytearray], _: int) -> tuple[int, list[Any], int, Address]:
        if not self.waiting:
            raise BlockingIOError(errno.EAGAIN, "nothing waits")
        datagram, source = self.waiting.popleft()
        size = min(len(datagram), len(buffers[0]))
        buffers[0][:size] = datagram[:size]
        flags = socket.MSG_TRUNC if size < len(datagram) else 0
        return size, [], flags, source


class Side:
    """One Media at one end of the wire."""

    def __init__(self, wire: dict[Address, FakeSocket], port: int, seed: int) -> None:
        self.rtp = FakeSocket(wire, ("10.0.0.1", port))
        self.rtcp = FakeSocket(wire, ("10.0.0.1", port + 1))
        pair = PortPair(self.rtp, self.rtcp, "10.0.0.1", port)  # type: ignore[arg-type]
        self.media = Media(pair, rng=random.Random(seed))
        self.digits = ""
        self.tones = ""
        self.media.on_digit = self._hear
        self.media.on_tones = self._hear_tones
        self.peer: Address = ("", 0)

    def _hear(self, key: str) -> None:
        self.digits += key

    def _hear_tones(self, key: str) -> None:
        self.tones += key

    def configure(
        self,
        codec: str = "PCMU",
        direction: str = "sendrecv",
        ptime: int = 20,
        event: int | None = 101,
    ) -> None:
        host, port = self.peer
        kind = {"PCMU": 0, "PCMA": 8}.get(codec, 97)
        self.media.configure(
            Agreed(codec, kind, kind, event, event, self.peer, (host, port + 1), direction, ptime)
        )

    def packets(self) -> list[rtp.RtpPacket]:
        return [rtp.parse(datagram) for datagram, _ in self.rtp.sent]


class Call:
    """Two sides and a clock that is turned by hand."""

    def __init__(self) -> None:
        wire: dict[Address, FakeSocket] = {}
        self.left = Side(wire, 30000, 1)
        self.right = Side(wire, 30002, 2)
        self.left.peer = ("10.0.0.1", 30002)
        self.right.peer = ("10.0.0.1", 30000)
        self.now = 100.0

    def configure(self, codec: str = "PCMU", **options: Any) -> None:
        self.left.configure(codec, **options)
        self.right.configure(codec, **options)

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.now += TICK
            self.left.media.tick(self.now)
            self.right.media.tick(self.now + 0.005)


@pytest.fixture
async def call() -> Call:
    return Call()


def frequency(pcm: Samples, rate: int) -> float:
    """The strongest frequency, in Hz."""
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    return float(np.argmax(spectrum)) * rate / len(pcm)


def noise(pcm: Samples, rate: int, wanted: float) -> float:
    """The level of all that is not the wanted tone, in dB below it."""
    power = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm)))) ** 2
    near = np.abs(np.fft.rfftfreq(len(pcm), 1 / rate) - wanted) < 20
    return float(10 * np.log10(power[near].sum() / (power[~near].sum() + 1e-9)))


async def speak(
    call: Call, sound: Samples, rate: int, *, listen_rate: int | None = None
) -> Samples:
    """Send a sound from left to right, frame by frame, and return what right hears."""
    heard: list[bytes] = []
    with (
        call.left.media.open_audio(rate) as microphone,
        call.right.media.open_audio(listen_rate or rate) as speaker,
    ):
        size = microphone.frame_samples
        for start in range(0, len(sound), size):
            microphone.send(sound[start : start + size].tobytes())
            call.tick()
            while speaker._speaker:
                heard.append(await speaker.receive())
    return np.frombuffer(b"".join(heard), np.int16)


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
    statistics = call.right.media.statistics
    assert statistics.received == 100
    assert statistics.lost == statistics.late == statistics.dropped_invalid == 0


async def test_ports_of_other_rates_are_resampled(call: Call) -> None:
    call.configure("PCMU")
    heard = await speak(call, tone((1000,), 2, 48000), 48000, listen_rate=16000)
    middle = heard[8000:-8000]
    assert frequency(middle, 16000) == pytest.approx(1000, abs=2)
    assert dbfs(middle) == pytest.approx(-12, abs=0.3)
    assert noise(middle, 16000, 1000) > 30


async def test_a_port_opened_before_the_codec_is_known_keeps_its_rate(call: Call) -> None:
    with call.right.media.open_audio() as port:
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


async def test_what_the_next_packet_tells_of_a_lost_one_is_used(call: Call) -> None:
    """Opus sends a copy of each frame in the packet after it, when the peer can use it."""
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
    assert call.right.media.statistics.lost == 10
    assert frames == [("recover", 960)] * 10
    assert noise(heard[24000:-24000], 48000, 440) > 20


@pytest.mark.parametrize(("codec", "purity"), [("PCMU", 35), ("L16/8000", 75)])
@pytest.mark.parametrize("pitch", [300, 1000, 3000])
async def test_a_page_at_48_khz_has_no_clicks_at_the_borders_of_frames(
    call: Call, codec: str, purity: float, pitch: int
) -> None:
    """Purer than the codec itself is cannot be asked; L16 shows what resampling alone adds."""
    call.configure(codec)
    heard = await speak(call, tone((pitch,), 2, 48000), 48000)
    assert len(heard) >= 48000 * 1.9
    assert noise(heard[24000:-24000], 48000, pitch) > purity


async def test_what_the_codec_cannot_carry_does_not_come_back_as_another_pitch(call: Call) -> None:
    call.configure("L16/8000")
    heard = await speak(call, tone((6000,), 1, 48000), 48000)
    assert dbfs(heard[16000:]) < -80


@pytest.mark.parametrize("ptime", [10, 30, 40, 60])
async def test_packets_of_other_lengths(call: Call, ptime: int) -> None:
    call.configure("PCMU", ptime=ptime)
    heard = await speak(call, tone((1000,), 2, 8000), 8000)
    assert {len(packet.payload) for packet in call.left.packets()} == {ptime * 8}
    stamps = [packet.timestamp for packet in call.left.packets()]
    assert {(b - a) & 0xFFFFFFFF for a, b in itertools.pairwise(stamps)} == {ptime * 8}
    assert noise(heard[4000:-4000], 8000, 1000) > 30


async def test_frames_that_are_longer_than_a_tick(call: Call) -> None:
    """iLBC without a word about its mode has frames of 30 ms; 20 ms are asked for in vain."""
    call.configure("iLBC/20")
    heard = await speak(call, tone((1000,), 2, 8000), 8000)
    packets = call.left.packets()
    assert {len(packet.payload) for packet in packets} == {50}
    assert {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in itertools.pairwise(packets)} == {
        240
    }
    assert noise(heard[4000:-4000], 8000, 1000) > 12


@pytest.mark.parametrize(("ptime", "length"), [(0, 80), (-5, 80), (9999, 1600)])
async def test_packet_lengths_without_sense_are_bounded(
    call: Call, ptime: int, length: int
) -> None:
    call.configure("PCMU", ptime=ptime)
    call.tick(10)
    assert {len(packet.payload) for packet in call.left.packets()} == {length}


async def test_sent_packets_keep_the_rules_of_rtp(call: Call) -> None:
    call.configure()
    call.tick(5)
    call.left.media.send_dtmf("5")
    call.tick(30)
    packets = call.left.packets()
    first = packets[0].sequence
    assert [packet.sequence for packet in packets] == [
        (first + index) & 0xFFFF for index in range(len(packets))
    ]
    assert len({packet.ssrc for packet in packets}) == 1
    assert packets[0].marker
    assert not any(packet.marker for packet in packets[1:5])
    # The sound begins a talkspurt again when it goes on after the digit (RFC 3551 section 4.1).
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
    # Time goes on during the digit: 35 ticks in all.
    assert (sound[-1].timestamp - sound[0].timestamp) & 0xFFFFFFFF == 34 * 160


async def test_timestamps_keep_up_with_time_through_many_stalls(call: Call) -> None:
    call.configure()
    media = call.left.media
    began = due = 100.0
    for _ in range(20):
        for _ in range(5):
            media.tick(due)
            due += TICK
        media.tick(due + 0.07)  # Late, and made up for,
        due += TICK + 0.1  # while the clock drops five ticks behind it.
        media.tick(due + 0.005)
        due += TICK
    sent = call.left.packets()
    spoken = (sent[-1].timestamp - sent[0].timestamp) / 8000
    assert spoken == pytest.approx(due - TICK - began, abs=0.11)
    assert [one.sequence for one in sent] == list(
        range(sent[0].sequence, sent[0].sequence + len(sent))
    )


async def test_a_tick_that_is_late_is_no_stall(call: Call) -> None:
    call.configure()
    rng = random.Random(4)
    for number in range(200):
        call.left.media.tick(100.0 + number * TICK + rng.uniform(0, 0.1))
    stamps = [packet.timestamp for packet in call.left.packets()]
    assert {later - earlier for earlier, later in itertools.pairwise(stamps)} == {160}


async def test_digits_arrive_once_each(call: Call) -> None:
    call.configure()
    call.left.media.send_dtmf("1234*0#55", duration_ms=60, gap_ms=60)
    call.tick(80)
    assert call.right.digits == "1234*0#55"


async def test_digits_survive_a_wire_that_loses_duplicates_and_reorders(call: Call) -> None:
    call.configure()
    rng = random.Random(7)
    held: list[bytes] = []

    def judge(datagram: bytes) -> list[bytes]:
        chance = rng.random()
        if chance < 0.2:
            return []
        if chance < 0.3:
            held.append(datagram)
            return []
        passed = [datagram] * (2 if chance > 0.9 else 1) + held
        held.clear()
        return passed

    call.left.rtp.judge = judge
    keys = "11223344556677889900**##"
    call.left.media.send_dtmf(keys)
    call.tick(300)
    assert call.right.digits == keys


@pytest.mark.parametrize(("burst", "duration"), [(1.0, 100), (2.0, 240)])
@pytest.mark.parametrize("codec", ["PCMU", "L16/16000", "opus"])
async def test_no_digit_is_lost_doubled_or_split_while_a_fifth_of_the_packets_is(
    call: Call, codec: str, burst: float, duration: int
) -> None:
    """Alone, and in bursts (Gilbert's model, ``burst`` packets on average).

    Of an event of 100 ms there are 7 packets. One burst in a hundred is as long, so that where
    losses come in bursts a digit has to be longer.
    """
    call.configure(codec)
    rng = random.Random(f"{codec}{burst}")
    losing = False

    def judge(datagram: bytes) -> list[bytes]:
        nonlocal losing
        losing = rng.random() >= 1 / burst if losing else rng.random() < 0.25 / burst
        return [] if losing else [datagram]

    call.left.rtp.judge = judge
    keys = "".join(rng.choice("0123456789*#ABCD") * rng.randint(1, 2) for _ in range(100))
    call.left.media.send_dtmf(keys, duration_ms=duration)
    call.tick(len(keys) * (duration // 20 + 3) + 30)
    assert 0.15 < call.right.media.statistics.lost / call.left.media.statistics.sent < 0.25
    assert call.right.digits == keys


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722", "opus", "L16/8000", "L16/48000"])
async def test_tones_are_heard_where_no_telephone_event_is_agreed(call: Call, codec: str) -> None:
    call.configure(codec, event=None)
    keys = "1234567890*#ABCD" + "55"
    call.left.media.send_dtmf(keys, duration_ms=60, gap_ms=60)
    call.tick(len(keys) * 6 + 30)
    assert call.right.tones == keys
    assert call.right.digits == ""
    assert not call.right.media.keypad.busy


@pytest.mark.parametrize("seed", range(5))
async def test_tones_survive_single_losses(call: Call, seed: int) -> None:
    """A tick that was invented in place of a lost packet neither ends a digit nor begins one."""
    call.configure(event=None)
    rng = random.Random(seed)
    kept = 0

    def judge(datagram: bytes) -> list[bytes]:
        nonlocal kept
        if kept >= 2 and rng.random() < 0.4:
            kept = 0
            return []
        kept += 1
        return [datagram]

    call.left.rtp.judge = judge
    keys = "".join(rng.choice("0123456789*#ABCD") for _ in range(60))
    call.left.media.send_dtmf(keys, duration_ms=160, gap_ms=100)
    call.tick(len(keys) * 13 + 30)
    assert call.right.tones == keys


async def test_a_pause_without_packets_ends_a_tone(call: Call) -> None:
    call.configure(event=None)
    for _ in range(3):
        call.left.media.send_dtmf("5", gap_ms=0)
        call.tick(8)
        call.left.rtp.judge = lambda datagram: []  # It says nothing more for half a second.
        call.tick(25)
        call.left.rtp.judge = lambda datagram: [datagram]
    call.tick(10)
    assert call.right.tones == "555"


async def test_tones_are_looked_for_only_where_they_are_wanted(call: Call) -> None:
    call.configure()
    assert not call.right.media.detects_tones
    call.left.media.send_dtmf("1", method="inband")
    call.tick(30)
    assert call.right.tones == ""
    call.right.media.detects_tones = True
    call.left.media.send_dtmf("2", method="inband")
    call.tick(30)
    assert call.right.tones == "2"
    call.configure()
    assert call.right.media.detects_tones
    call.configure(event=None)
    call.configure()
    assert not call.right.media.detects_tones


async def test_a_key_is_down_while_it_is_held(call: Call) -> None:
    call.configure()
    with call.left.media.press("9"):
        call.tick(450)
        assert call.right.digits == "9"
    call.tick(10)
    call.left.media.send_dtmf("1")
    call.tick(20)
    assert call.right.digits == "91"
    ends = [packet for packet in call.left.packets() if packet.payload_type == 101][-14:-7]
    assert [packet.payload[1] >> 7 for packet in ends] == [0, 0, 0, 0, 1, 1, 1]


async def test_digits_need_an_agreement_and_must_be_digits(call: Call) -> None:
    with pytest.raises(LocalProtocolError):
        call.left.media.send_dtmf("1")
    call.configure()
    for digits in ("1x", "12E"):
        with pytest.raises(LocalProtocolError):
            call.left.media.send_dtmf(digits)
    with pytest.raises(LocalProtocolError):
        call.left.media.send_dtmf("1", method="info")
    for digits in ("12", "", ","):
        with pytest.raises(LocalProtocolError), call.left.media.press(digits):
            pass
    for duration, gap in ((0, 60), (100, -1)):
        with pytest.raises(ValueError, match="no key"):
            call.left.media.send_dtmf("1", duration_ms=duration, gap_ms=gap)
    with pytest.raises(ValueError, match="rfc4733, info, inband"):
        call.left.media.send_dtmf("1", method="rfc2833")  # type: ignore[arg-type]
    call.tick(10)
    assert all(packet.payload_type == 0 for packet in call.left.packets())


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "tone.wav"
    write_wav(path, tone((700,), 0.5, 16000), 16000)
    return path


def write_wav(path: Path, pcm: Samples, rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.tobytes())


async def collect(call: Call, ticks: int) -> Samples:
    heard: list[bytes] = []
    with call.right.media.open_audio(8000) as speaker:
        for _ in range(ticks):
            call.tick()
            heard.append(await speaker.receive())
    return np.frombuffer(b"".join(heard), np.int16)


async def test_files_play_one_after_the_other(call: Call, wav: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.wav"
    write_wav(second, tone((1500,), 0.5, 8000), 8000)
    call.configure()
    call.left.media.play(wav)
    call.left.media.play(str(second))
    heard = await collect(call, 60)
    assert frequency(heard[1200:4000], 8000) == pytest.approx(700, abs=5)
    assert frequency(heard[5200:8000], 8000) == pytest.approx(1500, abs=5)
    assert dbfs(heard[1200:4000]) == pytest.approx(-12, abs=0.5)
    await call.left.media.played()


async def test_sounds_are_summed(call: Call, wav: Path) -> None:
    call.configure("L16/16000")
    call.left.media.play(wav)
    heard = await speak(call, tone((2000,), 0.5, 16000), 16000)
    part = heard[1600:6400]
    spectrum = np.abs(np.fft.rfft(part))
    strongest = np.sort(np.argsort(spectrum)[-2:]) * 16000 / len(part)
    assert strongest == pytest.approx([700, 2000], abs=5)


async def test_a_broken_file_raises_at_once(call: Call, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"this is no sound")
    for path in (broken, tmp_path / "missing.wav"):
        with pytest.raises(MediaError):
            call.left.media.play(path)
    assert not call.left.media._speech.busy


async def test_played_waits_and_flush_ends_the_wait(
    call: Call, wav: Path, nursery: trio.Nursery
) -> None:
    call.configure()
    call.left.media.play(wav)
    call.left.media.send_dtmf("123")
    done = trio.Event()

    async def wait() -> None:
        await call.left.media.played()
        done.set()

    nursery.start_soon(wait)
    for _ in range(5):
        call.tick()
        await trio.testing.wait_all_tasks_blocked()
    assert not done.is_set()
    call.left.media.flush()
    call.tick(10)
    await trio.testing.wait_all_tasks_blocked()
    assert done.is_set()
    assert call.right.digits == "1"


@pytest.mark.parametrize("ptime", [20, 30, 60, 200])
@pytest.mark.parametrize("length", [0.5, 0.491])
async def test_the_last_word_is_heard_before_the_farewell(
    call: Call, tmp_path: Path, nursery: trio.Nursery, ptime: int, length: float
) -> None:
    path = tmp_path / "word.wav"
    write_wav(path, tone((700,), length, 8000), 8000)
    call.configure(ptime=ptime)
    call.left.media.play(path)
    heard: list[bytes] = []
    done = trio.Event()

    async def wait() -> None:
        await call.left.media.played()
        done.set()

    nursery.start_soon(wait)
    with call.right.media.open_audio(8000) as speaker:
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
async def test_a_far_end_that_forgets_its_buffer_at_the_farewell_heard_everything(
    call: Call, wav: Path, nursery: trio.Nursery, ptime: int
) -> None:
    call.configure(ptime=ptime)
    call.left.media.play(wav)
    done = trio.Event()

    async def wait() -> None:
        await call.left.media.played()
        done.set()

    nursery.start_soon(wait)
    heard: list[bytes] = []
    with call.right.media.open_audio(8000) as speaker:
        while not done.is_set():
            call.tick()
            await trio.testing.wait_all_tasks_blocked()
            heard.append(await speaker.receive())
    sounding = np.flatnonzero(np.abs(np.frombuffer(b"".join(heard), np.int16)) > 200)
    assert sounding[-1] - sounding[0] == pytest.approx(4000, abs=20)


async def test_the_last_word_is_in_the_recording_of_who_was_hung_up_on(
    call: Call, wav: Path, tmp_path: Path
) -> None:
    call.configure()
    call.right.media.record(tmp_path / "call.wav")
    call.left.media.play(wav)
    call.tick(25)  # all of it is sent, and not yet all played
    call.right.media.close()
    with wave.open(str(tmp_path / "call.wav")) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    sounding = np.flatnonzero(np.abs(pcm) > 200)
    assert sounding[-1] - sounding[0] == pytest.approx(4000, abs=20)


async def test_what_was_said_before_there_was_a_codec_is_no_delay(call: Call) -> None:
    sound = tone((1000,), 1, 8000)
    with call.left.media.open_audio(8000) as microphone:
        for start in range(0, len(sound), 160):
            microphone.send(sound[start : start + 160].tobytes())
            call.tick()
        assert microphone.dropped == 0
        call.configure()
        microphone.send(bytes(320))
        call.tick()
        assert not call.left.packets()[0].payload.strip(b"\xff")


async def test_closing_ends_waits_and_ports(call: Call, wav: Path) -> None:
    call.configure()
    call.left.media.play(wav)
    call.tick(3)
    with call.left.media.open_audio() as port:
        call.left.media.close()
        call.left.media.close()
        assert b"".join([frame async for frame in port]).strip(b"\0") == b""
        port.send(b"\0\0")  # Nobody hears it, and nobody minds.
        with pytest.raises(CallEnded):
            await port.receive()
        with pytest.raises(CallEnded):
            await call.left.media.played()
    call.tick(3)
    farewell = rtcp.parse(call.left.rtcp.sent[-1][0])
    assert farewell[-1] == rtcp.Farewell(call.left.packets()[0].ssrc)
    for use in (
        lambda: call.left.media.play(wav),
        lambda: call.left.media.send_dtmf("1"),
        lambda: call.left.media.record(wav),
        lambda: call.left.media.open_audio().__enter__(),
    ):
        with pytest.raises(CallEnded):
            use()


async def test_muting_silences_the_microphone_and_not_the_files(call: Call, wav: Path) -> None:
    call.configure()
    call.left.media.voices.muted = True
    heard = await speak(call, tone((1000,), 0.5, 8000), 8000)
    assert not heard.any()
    assert call.left.media.voices.levels[0] == -96
    call.left.media.play(wav)
    assert frequency((await collect(call, 30))[1600:4000], 8000) == pytest.approx(700, abs=5)


async def test_a_silent_microphone_sends_silence_continuously(call: Call) -> None:
    call.configure()
    with call.left.media.open_audio():
        call.tick(50)
    assert len(call.left.packets()) == 50
    assert {packet.payload for packet in call.left.packets()} == {b"\xff" * 160}


async def test_levels_are_measured(call: Call) -> None:
    call.configure()
    await speak(call, tone((1000,), 0.5, 8000, level=-20), 8000)
    assert call.left.media.voices.levels[0] == pytest.approx(-20, abs=0.3)
    assert call.right.media.voices.levels[1] == pytest.approx(-20, abs=0.3)
    assert call.right.media.voices.levels[0] == -96


async def test_what_nobody_reads_does_not_grow(call: Call) -> None:
    call.configure()
    with call.right.media.open_audio() as port, call.left.media.open_audio() as microphone:
        for _ in range(20):
            microphone.send(bytes(320 * 5))
        assert microphone.dropped == 90
        call.tick(200)
        assert len(port._speaker) == 10
        assert port.missed == 190


async def test_a_standing_backlog_is_shortened(call: Call) -> None:
    call.configure()
    with call.left.media.open_audio() as microphone:
        microphone.send(bytes(320 * 8))
        for _ in range(1000):
            microphone.send(bytes(320))
            call.tick()
        assert len(microphone._microphone) <= 2 * 320
        assert microphone.dropped == 0


async def test_hold_pauses_what_is_sent_and_keeps_the_numbering(call: Call, wav: Path) -> None:
    call.configure()
    call.tick(10)
    call.left.configure(direction="inactive")
    call.left.media.play(wav)
    call.tick(50)
    assert len(call.left.packets()) == 10
    call.left.configure()
    call.tick(40)
    packets = call.left.packets()
    assert len(packets) == 50
    assert packets[10].marker
    assert packets[10].ssrc == packets[0].ssrc
    assert (packets[10].sequence - packets[9].sequence) & 0xFFFF == 1
    assert (packets[10].timestamp - packets[9].timestamp) & 0xFFFFFFFF == 51 * 160
    await call.left.media.played()


async def test_the_codec_may_change_in_mid_call(call: Call) -> None:
    call.configure("PCMU")
    await speak(call, tone((1000,), 0.5, 8000), 8000)
    ssrc = call.left.packets()[0].ssrc
    call.configure("L16/16000")
    heard = await speak(call, tone((1000,), 1, 16000), 16000)
    assert frequency(heard[8000:], 16000) == pytest.approx(1000, abs=3)
    assert {packet.ssrc for packet in call.left.packets()} == {ssrc}


@pytest.mark.parametrize("in_flight", [0, 3])
async def test_packets_of_the_codec_before_are_decoded_by_it(call: Call, in_flight: int) -> None:
    """They wait in the buffer, or are on their way, while offer and answer are through already."""
    call.configure("PCMU")
    sound = tone((1000,), 2, 8000)
    heard: list[bytes] = []
    with call.left.media.open_audio() as microphone, call.right.media.open_audio() as speaker:
        for index in range(100):
            if index == 50:
                call.right.configure("PCMA")
            if index == 50 + in_flight:
                call.left.configure("PCMA")
            microphone.send(sound[index * 160 : index * 160 + 160].tobytes())
            call.tick()
            heard.append(await speaker.receive())
    middle = np.frombuffer(b"".join(heard), np.int16)[4000:12000]
    assert noise(middle, 8000, 1000) > 30
    assert call.right.media.statistics.received == 100
    assert call.right.media.statistics.dropped_invalid == 0


async def test_packets_of_a_codec_of_another_rate_are_dropped_at_the_change(call: Call) -> None:
    call.configure("G722")  # runs on the same RTP clock as PCMU, at twice the samples
    await speak(call, tone((1000,), 0.5, 16000), 16000)
    call.configure("PCMU")
    heard = await speak(call, tone((1000,), 1, 8000, level=-30), 8000)
    assert dbfs(heard) == pytest.approx(-30, abs=1)
    assert 1 <= call.right.media.statistics.dropped_invalid <= 5


async def test_sound_has_a_number_for_each_direction(call: Call) -> None:
    """An answer may give a codec another number than the offer did (RFC 3264 section 6.1)."""
    for side, send, receive in ((call.left, 110, 96), (call.right, 96, 110)):
        host, port = side.peer
        side.media.configure(
            Agreed("L16/16000", send, receive, None, None, (host, port), (host, port + 1))
        )
    for _ in range(2):
        heard = await speak(call, tone((1000,), 1, 16000), 16000)
        assert noise(heard[4000:-4000], 16000, 1000) > 60
        call.left, call.right = call.right, call.left
    assert {packet.payload_type for packet in call.left.packets()} == {110}
    assert {packet.payload_type for packet in call.right.packets()} == {96}
    assert call.left.media.statistics.dropped_invalid == 0


@pytest.mark.parametrize("sent", [96, 101])
async def test_digits_have_a_number_for_each_direction(call: Call, sent: int) -> None:
    """We receive on the number of our description, or, leniently, on the number of theirs."""
    for side, send, receive in ((call.left, 96, 101), (call.right, sent, 96)):
        host, port = side.peer
        side.media.configure(Agreed("PCMU", 0, 0, send, receive, (host, port), (host, port + 1)))
    call.left.media.send_dtmf("12")
    call.right.media.send_dtmf("34")
    call.tick(40)
    assert (call.left.digits, call.right.digits) == ("34", "12")
    assert {packet.payload_type for packet in call.left.packets()} == {0, 96}
    assert {packet.payload_type for packet in call.right.packets()} == {0, sent}
    assert call.left.media.statistics.dropped_invalid == 0


async def test_losses_are_concealed_and_counted(call: Call) -> None:
    call.configure()
    count = 0

    def judge(datagram: bytes) -> list[bytes]:
        nonlocal count
        count += 1
        return [] if count % 10 == 0 else [datagram]

    call.left.rtp.judge = judge
    heard = await speak(call, tone((1000,), 2, 8000), 8000)
    middle = heard[4000:12000]
    statistics = call.right.media.statistics
    assert statistics.lost in (9, 10)
    assert frequency(middle, 8000) == pytest.approx(1000, abs=2)
    assert dbfs(middle) == pytest.approx(-12, abs=0.5)


async def test_where_nothing_is_missing_nothing_is_counted_as_concealed(call: Call) -> None:
    call.left.configure()
    call.left.rtp.judge = lambda datagram: []
    call.right.configure()
    call.tick(100)
    call.left.rtp.judge = lambda datagram: [datagram]
    call.tick(100)
    assert call.right.media.statistics.concealed == 0
    call.left.configure(direction="recvonly")
    call.tick(100)
    call.left.configure()
    call.tick(100)
    assert call.right.media.statistics.concealed == 0


async def test_hostile_datagrams_are_dropped_counted_and_logged_once(
    call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    call.configure()
    call.tick(5)
    good = call.left.rtp.sent[-1][0]
    stranger = ("10.6.6.6", 6666)
    hostile = [
        b"",
        b"\x80",
        good[:11],
        b"\x00" + good[1:],
        b"\x80\x03" + good[2:],
        b"\xbf" + good[1:12],
        b"\x90\x00" + good[2:],
        good[:12] + bytes(9000),
        good[:12] + bytes(60000),
        b"\x80\xe5" + good[2:12] + b"\x01",
        b"\x80\xc8\xff\xff" + good[4:],
        b"\x80\xc9\x00\x01" + good[4:8] + b"\x9f\xc8\x00\x01" + good[4:8],
        *(random.Random(seed).randbytes(seed) for seed in range(200)),
    ]
    for datagram in hostile:
        call.right.rtp.waiting.append((datagram, stranger))
        call.right.rtcp.waiting.append((datagram, stranger))
    for datagram in hostile:
        call.right.rtp.waiting.append((datagram, call.right.peer))
        call.right.rtcp.waiting.append((datagram, (call.right.peer[0], 30001)))
    heard = await speak(call, tone((1000,), 1, 8000), 8000)
    statistics = call.right.media.statistics
    assert statistics.dropped_invalid + statistics.dropped_foreign >= 2 * len(hostile)
    assert frequency(heard[4000:], 8000) == pytest.approx(1000, abs=3)
    assert 1 <= len(caplog.records) <= 4


async def test_nothing_is_sent_to_a_port_that_does_not_exist(call: Call) -> None:
    """RTP at port 65535 has no port above it for RTCP."""
    call.left.media.configure(
        Agreed("PCMU", 0, 0, None, None, ("10.0.0.1", 65535), ("10.0.0.1", 65536))
    )
    call.tick(1000)
    call.left.media.close()
    judged = [destination for _, destination in call.left.rtp.sent + call.left.rtcp.sent]
    assert set(judged) == {("10.0.0.1", 65535)}
    assert call.left.media.statistics.send_errors == 0


async def test_a_stranger_who_is_faster_is_neither_heard_nor_spoken_to(call: Call) -> None:
    call.left.configure()
    call.right.configure()
    loud = create("PCMU").encode(tone((2000,), 0.02, 8000))
    for sequence in (1, 2, 3, 9, 10):
        datagram = rtp.build(0, False, sequence, sequence * 160, 1, loud)
        call.right.rtp.waiting.append((datagram, ("10.6.6.6", 6666)))
    call.tick(5)
    assert {destination for _, destination in call.right.rtp.sent} == {call.right.peer}
    assert call.right.media.voices.levels[1] == -96


async def test_only_the_peer_is_heard(call: Call) -> None:
    call.configure()
    call.tick(5)
    stray = rtp.build(0, False, 1, 1, 1, create("PCMU").encode(tone((2000,), 0.02, 8000)))
    for _ in range(50):
        call.right.rtp.waiting.append((stray, ("10.6.6.6", 6666)))
    call.tick(5)
    assert call.right.media.statistics.dropped_foreign == 50
    assert call.right.rtp.sent[-1][1] == call.right.peer


async def test_a_peer_behind_nat_is_answered_where_it_is(call: Call) -> None:
    call.configure()
    call.right.peer = ("192.168.7.7", 4000)  # what its SDP says, and nobody can reach
    call.right.configure()
    call.tick(6)
    assert call.right.rtp.sent[-1][1] == ("10.0.0.1", 30000)
    call.tick(20)
    assert call.left.media.statistics.received > 15


@pytest.mark.parametrize("remote", [("0.0.0.0", 30002), ("10.0.0.1", 0)])
async def test_nothing_is_sent_to_no_address(call: Call, remote: Address) -> None:
    call.configure()
    call.tick(3)
    call.left.peer = remote
    call.left.configure()
    call.tick(10)
    assert len(call.left.packets()) == 3
    assert call.left.media.statistics.send_errors == 0


async def test_a_name_is_no_address(call: Call) -> None:
    call.left.peer = ("pbx.example", 4000)
    with pytest.raises(ValueError, match=r"pbx\.example"):
        call.left.configure()
    call.tick(3)


async def test_reports_measure_loss_and_the_round_trip(call: Call) -> None:
    call.configure()
    sequence = 0

    def judge(datagram: bytes) -> list[bytes]:
        nonlocal sequence
        sequence += 1
        return [] if sequence % 4 == 0 else [datagram]

    call.left.rtp.judge = judge
    call.tick(1500)
    statistics = call.left.media.statistics
    assert statistics.remote_lost == pytest.approx(375, abs=100)
    assert statistics.round_trip_ms == pytest.approx(200, abs=210)
    reports = [datagram for datagram, _ in call.left.rtcp.sent]
    assert 4 <= len(reports) <= 12
    first = rtcp.parse(reports[-1])
    assert isinstance(first[0], rtcp.Report)
    assert first[0].sender is not None
    assert isinstance(first[1], rtcp.SourceDescription)


async def test_a_suspended_machine_goes_on_at_the_present(call: Call) -> None:
    call.configure()
    call.tick(20)
    before = call.left.packets()[-1]
    call.now += 60
    call.tick(20)
    after = call.left.packets()
    assert len(after) == 40
    assert after[20].marker
    assert (after[20].timestamp - before.timestamp) & 0xFFFFFFFF == 3001 * 160
    assert len(call.right.media._session.buffer) <= 4


async def test_a_silent_side_keeps_the_way_open(call: Call) -> None:
    call.left.configure(direction="inactive")
    call.right.configure()
    call.tick(10)
    assert [packet.payload for packet in call.left.packets()] == [b""]  # Who latches learns us.
    call.tick(50 * 61)
    empty = call.left.packets()
    assert len(empty) == 5
    assert {packet.payload_type for packet in empty} == {0}
    numbers = [packet.sequence - empty[0].sequence & 0xFFFF for packet in empty]
    assert numbers == [0, 1, 2, 3, 4]
    statistics = call.right.media.statistics
    assert statistics.received == 5
    assert statistics.dropped_invalid == statistics.concealed == 0


async def test_who_speaks_needs_no_keepalive(call: Call) -> None:
    call.configure()
    call.tick(50 * 20)
    assert all(packet.payload for packet in call.left.packets())


async def test_where_reports_share_the_port_they_keep_the_way_open(call: Call) -> None:
    peer = call.left.peer
    call.left.media.configure(Agreed("PCMU", 0, 0, None, None, peer, peer, direction="inactive"))
    call.tick(50 * 40)
    sent = [datagram for datagram, destination in call.left.rtp.sent if destination == peer]
    assert len(sent) >= 4
    assert all(rtp.is_rtcp(datagram) for datagram in sent)
    assert not call.left.rtcp.sent


async def test_a_recording_holds_both_sides(call: Call, tmp_path: Path) -> None:
    call.configure()
    path = tmp_path / "call.wav"
    left = tone((600,), 1.5, 8000)
    right = tone((1800,), 1.5, 8000)
    with (
        call.left.media.record(path),
        call.left.media.open_audio() as one,
        call.right.media.open_audio() as two,
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
    recording = call.left.media.record(tmp_path / "call.wav")
    call.tick(10)
    call.left.media.close()
    assert recording.stopped
    with wave.open(str(tmp_path / "call.wav")) as file:
        assert file.getnframes() >= 1600
    with pytest.raises(MediaError):
        call.right.media.record(tmp_path / "missing" / "call.wav")


async def test_in_band_digits_pass_the_codec(call: Call) -> None:
    call.configure("PCMA")
    sound = np.concatenate(
        [np.append(digit(key, 0.1, 8000), np.zeros(800, np.int16)) for key in "159#"]
    )
    heard = await speak(call, np.append(sound, np.zeros(1600, np.int16)), 8000)
    assert DigitDetector(8000).feed(heard) == "159#"


async def test_a_call_over_real_sockets() -> None:
    ports = PortRange(30000, 31999)
    rng = random.Random(3)
    clock = MediaClock()
    with lease("127.0.0.1", ports, rng) as one, lease("127.0.0.1", ports, rng) as two:
        left, right = Media(one, rng=rng), Media(two, rng=rng)
        digits: list[str] = []
        right.on_digit = digits.append
        for media, peer in ((left, two), (right, one)):
            media.configure(
                Agreed(
                    "PCMA", 8, 8, 101, 101, ("127.0.0.1", peer.port), ("127.0.0.1", peer.port + 1)
                )
            )
        errors: list[Exception] = []
        heard: list[bytes] = []
        async with trio.open_nursery() as nursery:
            await nursery.start(clock.run)
            with (
                clock.attach(left.tick, errors.append),
                clock.attach(right.tick, errors.append),
                left.open_audio() as microphone,
                right.open_audio() as speaker,
            ):
                sound = tone((1000,), 1, 8000)
                left.send_dtmf("7")
                for start in range(0, len(sound), 160):
                    microphone.send(sound[start : start + 160].tobytes())
                    heard.append(await speaker.receive())
                await left.played()
            nursery.cancel_scope.cancel()
        left.close()
        right.close()
    assert not errors
    assert digits == ["7"]
    pcm = np.frombuffer(b"".join(heard), np.int16)
    assert frequency(pcm[4000:], 8000) == pytest.approx(1000, abs=4)
    assert left.statistics.sent > 40


async def test_gain_in_both_directions(call: Call) -> None:
    call.configure("L16/16000")
    call.left.media.voices.microphone.gain = -6
    call.right.media.voices.speaker.gain = 10
    heard = await speak(call, tone((1000,), 1, 16000, level=-30), 16000)
    assert dbfs(heard[8000:-1600]) == pytest.approx(-26, abs=0.2)
    assert call.left.media.voices.levels[0] == pytest.approx(-36, abs=0.2)
    assert call.right.media.voices.peaks[1] == pytest.approx(-23, abs=0.3)


async def test_a_peer_who_whispers_is_heard(call: Call) -> None:
    call.configure("L16/16000")
    call.right.media.voices.speaker.automatic = True
    said = np.tile(speech(SENTENCES, 16000, peak=0.03), 2)
    heard = await speak(call, said, 16000)
    assert speech_level(said, 16000) < -45
    assert speech_level(heard[len(heard) // 2 :], 16000) == pytest.approx(-19, abs=3)


async def test_a_tone_of_the_network_is_heard(call: Call) -> None:
    call.configure()
    call.left.media.play_tone("busy", country="us", seconds=1.0)
    with pytest.raises(ValueError, match="none of"):
        call.left.media.play_tone("melody")
    with call.right.media.open_audio() as speaker:
        call.tick(15)
        heard = []
        while speaker._speaker:
            heard.append(np.frombuffer(await speaker.receive(), "<i2"))
    assert max(map(dbfs, heard)) == pytest.approx(-16, abs=1.5)
