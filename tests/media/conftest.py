"""Two Media connected by lists, and a clock that tests advance."""

from __future__ import annotations

import errno
import random
import socket
import wave
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spech.agreement import Agreed, Direction
from spech.audio.recorder import Recording
from spech.audio.tones import tone
from spech.codecs import Samples
from spech.media.engine import Media
from spech.media.events import EventDigit, MediaEvent, ToneDigit
from spech.media.playback import Playback
from spech.media.port import AudioPort
from spech.rtp import packet as rtp
from spech.rtp.ports import PortPair

from ..inside import unread_of

Address = tuple[str, int]
TICK = 0.02


class FakeSocket:
    """The three methods that a stream needs from a UDP socket, over a dictionary of sockets."""

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

    def recvmsg(self, size: int, _: int) -> tuple[bytes, list[Any], int, Address]:
        if not self.waiting:
            raise BlockingIOError(errno.EAGAIN, "nothing waits")
        datagram, source = self.waiting.popleft()
        flags = socket.MSG_TRUNC if size < len(datagram) else 0
        return datagram[:size], [], flags, source


class Side:
    """One Media at one end of the wire."""

    def __init__(self, wire: dict[Address, FakeSocket], port: int, seed: int) -> None:
        self.rtp = FakeSocket(wire, ("10.0.0.1", port))
        self.rtcp = FakeSocket(wire, ("10.0.0.1", port + 1))
        pair = PortPair(self.rtp, self.rtcp, "10.0.0.1", port)  # type: ignore[arg-type]
        self.media = Media(pair, rng=random.Random(seed))
        self.digits = ""
        self.tones = ""
        self.media.on_event = self._take
        self.peer: Address = ("", 0)

    def _take(self, event: MediaEvent) -> None:
        match event:
            case EventDigit(digit):
                self.digits += digit
            case ToneDigit(digit):
                self.tones += digit

    def open_audio(self) -> AbstractContextManager[AudioPort]:
        return self.media.voices.open(self.media.rate)

    def play(self, path: str | Path) -> Playback:
        return self.media.speech.plays.play(path, self.media.rate)

    def record(self, path: Path) -> Recording:
        return self.media.recordings.start(path, self.media.rate, stereo=False)

    def flush(self) -> None:
        self.media.speech.flush()
        self.media.voices.flush()

    def configure(
        self,
        codec: str = "PCMU",
        direction: Direction = "sendrecv",
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
    """Two sides and a clock that tests advance."""

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
            for media, now in ((self.left.media, self.now), (self.right.media, self.now + 0.005)):
                rest = media.tick(now)
                if rest is not None:
                    rest()


def fail(error: Exception) -> None:
    """Takes the errors of a media clock whose ticks must have none."""
    raise error


@pytest.fixture
async def call() -> Call:
    return Call()


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


def frequency(pcm: Samples, rate: int) -> float:
    """The strongest frequency, in Hz."""
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    return float(np.argmax(spectrum)) * rate / len(pcm)


def noise(pcm: Samples, rate: int, wanted: float) -> float:
    """The level of everything except the wanted tone, in dB below it."""
    power = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm)))) ** 2
    near = np.abs(np.fft.rfftfreq(len(pcm), 1 / rate) - wanted) < 20
    return float(10 * np.log10(power[near].sum() / (power[~near].sum() + 1e-9)))


async def speak(
    call: Call, sound: Samples, rate: int, *, listen_rate: int | None = None
) -> Samples:
    """Send a sound from left to right, frame by frame, and return what right hears."""
    heard: list[bytes] = []
    with (
        call.left.media.voices.open(rate) as microphone,
        call.right.media.voices.open(listen_rate or rate) as speaker,
    ):
        size = microphone.frame_samples
        for start in range(0, len(sound), size):
            microphone.send(sound[start : start + size].tobytes())
            call.tick()
            while unread_of(speaker):
                heard.append(await speaker.receive())
    return np.frombuffer(b"".join(heard), np.int16)


async def collect(call: Call, ticks: int) -> Samples:
    heard: list[bytes] = []
    with call.right.open_audio() as speaker:
        for _ in range(ticks):
            call.tick()
            heard.append(await speaker.receive())
    return np.frombuffer(b"".join(heard), np.int16)
