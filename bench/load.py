"""Telephones that call a server, send speech, and note what comes back.

    with Load(FORMATS["PCMU"]) as load:
        load.call(server, server.bridged, 50)
        heard = load.hear(seconds=4)

All share one pair of sockets for RTP, and one thread: so four hundred calls take a third of a
processor, and the kernel notes when each packet arrived.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import gc
import heapq
import os
import select
import socket
import statistics
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import trio
from pylibsrtp import Policy, Session

from bench import farend, servers
from bench.servers import Server
from spech import codecs
from spech.rtp.ports import SO_TIMESTAMPNS
from spech.testing.speech import SENTENCES, speak

_FRAME: Final = 0.02
#: Seconds in which a call must be answered.
_PATIENCE: Final = 5.0
#: Phases of the calls within 20 ms: the golden ratio spreads them evenly, however many there are.
_GOLDEN: Final = 0.618034
#: SO_RCVBUFFORCE, for which the limit of the system does not count.
_FORCE: Final = 33
_BUFFER: Final = 1 << 23
_BATCH: Final = 512
#: A telephone that is later than this leaves frames out, in seconds.
_LATEST: Final = 0.1
#: Seconds in which all calls of a step must be answered.
_STEP: Final = 20.0


class Overloaded(Exception):
    """A call was not answered in time."""


@dataclass(frozen=True)
class Format:
    """What a call sends.

    Attributes:
        codec: its name in Spech.
        number: the payload type.
        clock: of its RTP timestamps, in Hz.
        pcm: name of the linear PCM of the same rate in Asterisk.
    """

    codec: str
    number: int
    clock: int
    name: str
    pcm: str = "slin"

    @functools.cached_property
    def payloads(self) -> list[bytes]:
        """Thirteen seconds of speech, in packets of 20 ms."""
        codec = codecs.create(self.codec)
        said = speak(SENTENCES, codec.rate)
        size = codec.packet_samples(20)
        return [codec.encode(said[at : at + size]) for at in range(0, len(said) - size + 1, size)]


FORMATS: Final = {
    "PCMU": Format("PCMU", 0, 8000, "PCMU/8000"),
    "G722": Format("G722", 9, 8000, "G722/8000", "slin16"),
    "G729": Format("G729", 18, 8000, "G729/8000"),
    "opus": Format("opus", 111, 48000, "opus/48000/2", "slin48"),
}


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back.

    Attributes:
        p99: how far packets were off their 20 ms grid, the 99th percentile, in ms.
        lost: the share of packets that did not come.
        late: the same as ``p99`` for what this program sent.
    """

    p99: float
    lost: float
    late: float


class Stream:
    """The RTP of one call, on the sockets of a load."""

    def __init__(self, load: Load, number: int) -> None:
        self._load = load
        self.number = number
        self._there = ("", 0)
        self._sequence = 0
        self._begin = (number * 37) % len(load.format.payloads)
        self._identifier = 0x10000 + number
        self._key = os.urandom(30)
        self._srtp = (
            Session(Policy(self._key, Policy.SSRC_ANY_OUTBOUND)) if load.encrypted else None
        )
        self.closed = False

    def description(self, *, events: bool) -> str:
        format = self._load.format
        profile = "RTP/AVP" if self._srtp is None else "RTP/SAVP"
        clock = 48000 if format.clock == 48000 else 8000
        lines = [
            "v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0",
            f"m=audio {self._load.port} {profile} {format.number}{' 101' if events else ''}",
            f"a=rtpmap:{format.number} {format.name}",
        ]  # fmt: skip
        if events:
            lines += [f"a=rtpmap:101 telephone-event/{clock}", "a=fmtp:101 0-16"]
        if self._srtp is not None:
            key = base64.b64encode(self._key).decode()
            lines.append(f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}")
        return "\r\n".join([*lines, "a=ptime:20", "a=sendrecv", ""])

    def follow(self, message: str) -> None:
        """Send to the address in the session description of ``message``."""
        self._there = ("127.0.0.1", farend.audio_port(message))
        self._load.send(self)

    def skip(self, frames: int) -> None:
        """Leave frames out."""
        self._sequence += frames

    def exchange(self) -> None:
        """Send 20 ms of speech."""
        format, sequence = self._load.format, self._sequence
        payload = format.payloads[(self._begin + sequence) % len(format.payloads)]
        head = struct.pack(
            "!BBHII", 0x80, format.number, sequence & 0xFFFF,
            sequence * format.clock // 50, self._identifier,
        )  # fmt: skip
        packet = head + payload
        if self._srtp is not None:
            packet = self._srtp.protect(packet)
        self._sequence += 1
        with contextlib.suppress(OSError):
            self._load.rtp.sendto(packet, self._there)

    def close(self) -> None:
        self.closed = True


class Load:
    """Calls to a server.

    Args:
        format: what they send.
        events: whether they offer telephone-event, or digits can only be heard in the sound.
        user: whom the calls are from.
        encrypted: whether they use SRTP, with keys by SDES.
    """

    def __init__(
        self,
        format: Format = FORMATS["PCMU"],
        *,
        events: bool = True,
        user: str = "guest",
        encrypted: bool = False,
    ) -> None:
        self.format = format
        self.encrypted = encrypted
        self._events = events
        self.rtp, self._rtcp = farend.bound_pair()
        self.port = int(self.rtp.getsockname()[1])
        with contextlib.suppress(OSError):
            self.rtp.setsockopt(socket.SOL_SOCKET, _FORCE, _BUFFER)
        self.rtp.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._peer = farend.SipPeer(self._open, user=user)
        self._calls: list[farend.Caller] = []
        self._opened = 0
        self._new: deque[Stream] = deque()
        self._noted: list[tuple[int, float, int]] | None = None
        self._sent_late: list[float] = []
        self._over = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        _ = self.format.payloads  # Made here, and not while a call waits.
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join()
        self._peer.__exit__()
        self.rtp.close()
        self._rtcp.close()

    @property
    def calls(self) -> int:
        """How many are up."""
        return len(self._calls)

    def call(self, server: Server, number: str, count: int = 1) -> list[float]:
        """Call one after the other; return the seconds from each INVITE to its answer.

        Raises:
            Overloaded: the server did not answer in time.
        """
        host, _, port = server.address.rpartition(":")
        self._peer.target = (host, int(port))
        return trio.run(self._call, number, count)

    def hang_up(self) -> None:
        """End all calls.

        Raises:
            Overloaded: the server did not answer in time.
        """
        trio.run(self._hang_up)

    async def _call(self, number: str, count: int) -> list[float]:
        took = []
        give_up = trio.current_time() + _STEP
        for _ in range(count):
            begun = time.perf_counter()
            with _patience(give_up - trio.current_time()):
                self._calls.append(await self._peer.call(number=number, events=self._events))
            took.append(time.perf_counter() - begun)
        return took

    async def _hang_up(self) -> None:
        while self._calls:
            with _patience(_PATIENCE):
                await self._calls.pop().end()

    # ------------------------------------------------------------------------------- sound

    def _open(self) -> Stream:
        self._opened += 1
        return Stream(self, self._opened)

    def send(self, stream: Stream) -> None:
        """Begin to send a stream."""
        self._new.append(stream)

    def hear(self, seconds: float) -> Heard:
        """Listen to all calls for a while."""
        gc.disable()
        try:
            self._sent_late, self._noted = [], []
            time.sleep(seconds)
            noted, self._noted = self._noted, None
        finally:
            gc.enable()
        return judge(noted, self._sent_late, self.calls * seconds, self.format.clock)

    def _run(self) -> None:
        servers.prefer(threading.get_native_id())
        due: list[tuple[float, int, Stream]] = []
        begun = time.monotonic()
        while not self._over:
            while self._new:
                stream = self._new.popleft()
                phase = (stream.number * _GOLDEN) % 1 * _FRAME
                frames = int((time.monotonic() - begun) / _FRAME) + 1
                heapq.heappush(due, (begun + frames * _FRAME + phase, stream.number, stream))
            now = time.monotonic()
            while due and due[0][0] <= now:
                at, number, stream = heapq.heappop(due)
                if stream.closed:
                    continue
                missed = int((now - at) / _FRAME) if now - at > _LATEST else 0
                stream.skip(missed)
                stream.exchange()
                self._sent_late.append(now - at)
                heapq.heappush(due, (at + (missed + 1) * _FRAME, number, stream))
            wait = due[0][0] - time.monotonic() if due else _FRAME
            if select.select([self.rtp, self._rtcp], [], [], max(0.0, min(wait, _FRAME)))[0]:
                self._receive()

    def _receive(self) -> None:
        noted = self._noted
        with contextlib.suppress(BlockingIOError):
            for _ in range(_BATCH):
                packet, ancillary, _, source = self.rtp.recvmsg(2048, socket.CMSG_SPACE(16))
                if noted is not None and packet[1] & 0x7F == self.format.number:
                    seconds, nanoseconds = struct.unpack("@ll", ancillary[0][2])
                    timestamp = int.from_bytes(packet[4:8])
                    noted.append((source[1], seconds % 100_000 + nanoseconds * 1e-9, timestamp))
        with contextlib.suppress(BlockingIOError):
            self._rtcp.recv(2048)


@contextlib.contextmanager
def _patience(seconds: float) -> Iterator[None]:
    try:
        with trio.fail_after(max(0.0, min(seconds, _PATIENCE))):
            yield
    except (trio.TooSlowError, farend.Refused) as error:
        raise Overloaded(str(error)) from error


def judge(
    noted: list[tuple[int, float, int]], late: list[float], seconds: float, clock: int
) -> Heard:
    """How even and how complete streams are.

    Args:
        noted: of each packet the stream, when it arrived (s), and its RTP timestamp.
        late: by how much each sent packet was late, in seconds.
        seconds: that were listened to, of all calls together.
        clock: of the timestamps, in Hz.
    """
    offsets: dict[int, list[float]] = defaultdict(list)
    clocks: dict[int, int] = {}
    for stream, arrived, timestamp in noted:
        # The timestamp has 32 bits; the clock does not wrap.
        before = clocks.get(stream, timestamp)
        ticks = before + ((timestamp - before + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
        clocks[stream] = ticks
        offsets[stream].append(arrived - ticks / clock)
    off = []
    for found in offsets.values():
        middle = statistics.median(found)
        off += [abs(offset - middle) * 1000 for offset in found]
    # A stream may begin and end between two packets.
    expected = seconds / _FRAME - len(offsets)
    return Heard(
        percentile(off, 0.99),
        max(0.0, 1 - len(noted) / expected) if expected > 0 else 0.0,
        percentile([each * 1000 for each in late], 0.99),
    )


def percentile(values: list[float], share: float) -> float:
    """The value that this share of ``values`` does not exceed; 0 without values."""
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0.0
