"""How long sound takes through a bot, and how soon a bot falls silent: `spech bridge` and Asterisk.

The same telephones call `spech bridge --protocol asterisk-text` and Asterisk's `Dial(WebSocket/…)`,
with PCMU, five at once, and both lead to the same bots in this process.

- Mouth to ear: a bot sends back what it hears. Once a second the far end sends 20 ms of tone; the
  delay lasts from sending the tone's packet to the first sample of the tone that comes back, at the
  time the kernel received its packet.
- Barge-in: a bot speaks, and empties its queue (FLUSH_MEDIA) at the first loud frame or at
  DTMF_END. The time lasts from the packet with the far end's first voiced frame, or from the first
  packet of its digit (100 ms, RFC 4733), to the end of the last sample that is heard of the bot.

The bridge is measured as it is by default (`--ear low-latency`). All times are in milliseconds.
"""

from __future__ import annotations

import random
import socket
import statistics
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import numpy as np
import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from bench import plot, servers
from bench.farend import RtpPeer, SipPeer
from bench.load import percentile
from bench.machine import watching
from bench.parts import Part, Scale, Side
from bench.results import Figures, Values
from bench.tables import sides_table
from spech import codecs
from spech.audio.tones import tone
from spech.rtp.ports import SO_TIMESTAMPNS
from spech.testing.waiting import until

_RATE: Final = 8000
_FRAME: Final = 160
_FRAME_SECONDS: Final = 0.02
_EVENT_TYPE: Final = 101
#: Calls at once, and trials in each.
_CALLS: Final = 5
_TRIALS: Final = 3
#: Samples above this are loud, of 32,768.
_LOUD: Final = 1_000
#: Frames of quiet after which the bot speaks again.
_PAUSE: Final = 20
#: Bytes of a message to Asterisk at most.
_MESSAGE: Final = 64_000

_CODEC: Final = codecs.create("PCMU")
_TONE: Final = _CODEC.encode(tone((400,), _FRAME_SECONDS, _RATE))
_SILENCE: Final = _CODEC.encode(np.zeros(_FRAME, np.int16))


class TimedStream(RtpPeer):
    """Sends a packet every 20 ms, and notes when tone arrives (seconds of the system's clock)."""

    def __init__(self) -> None:
        super().__init__()
        self._rtp.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._timestamp = 0
        #: The payload of the next packets: sound, or an event and whether it is its first packet.
        self.speaks = False
        self._digit_packets = 0
        #: When the current tone or digit was first sent.
        self.began = 0.0
        #: Begin and end of the tone that was received last.
        self.heard_from = 0.0
        self.heard_until = 0.0

    @property
    def quiet(self) -> float:
        """Seconds since tone was heard last."""
        return time.time() - self.heard_until

    def speak(self) -> None:
        """Send tone from the next packet on."""
        self.speaks, self.began = True, 0.0

    def press(self) -> None:
        """Send a digit of 100 ms from the next packet on."""
        self._digit_packets, self.began = 8, 0.0

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive)
            next_frame = trio.current_time() + random.random() * _FRAME_SECONDS
            while True:
                await trio.sleep_until(next_frame)
                next_frame += _FRAME_SECONDS
                self._send()

    def _send(self) -> None:
        if self._digit_packets:
            self._digit_packets -= 1
            number = 8 - self._digit_packets
            payload = struct.pack("!BBH", 5, 0x80 * (number > 5) + 10, min(number, 5) * _FRAME)
            packet_type, timestamp = _EVENT_TYPE, self._timestamp - (number - 1) * _FRAME
        else:
            payload, packet_type = _TONE if self.speaks else _SILENCE, 0
            timestamp = self._timestamp
        self._sequence += 1
        head = struct.pack("!BBHII", 0x80, packet_type, self._sequence & 0xFFFF, timestamp, 0x5EC4)
        self._timestamp += _FRAME
        if not self.began:
            self.began = time.time()
        self._rtp.sendto(head + payload, self._there)

    async def _receive(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._rtp)
            packet, ancillary, _, _ = self._rtp.recvmsg(2048, socket.CMSG_SPACE(16))
            if packet[1] & 0x7F:
                continue
            seconds, nanoseconds = struct.unpack("@ll", ancillary[0][2])
            arrived = seconds + nanoseconds * 1e-9
            loud = np.flatnonzero(np.abs(_CODEC.decode(packet[12:]).astype(int)) > _LOUD)
            if len(loud):
                if arrived - self.heard_until > 5 * _FRAME_SECONDS:
                    self.heard_from = arrived + loud[0] / _RATE
                self.heard_until = arrived + loud[-1] / _RATE


@asynccontextmanager
async def call(server: servers.Server) -> AsyncIterator[TimedStream]:
    host, _, port = server.address.rpartition(":")
    with SipPeer(TimedStream) as peer:
        peer.target = (host, int(port))
        async with trio.open_nursery() as nursery:
            caller = await peer.call(number=server.bridged)
            assert isinstance(caller.stream, TimedStream)
            nursery.start_soon(caller.stream.run)
            yield caller.stream
            nursery.cancel_scope.cancel()
            with trio.move_on_after(2, shield=True):
                await caller.end()


async def mouth_to_ear(stream: TimedStream, trials: int) -> list[float]:
    """A tone that is lost, as on a busy machine, is sent again."""
    delays: list[float] = []
    await trio.sleep(1)
    while len(delays) < trials:
        stream.speak()
        await until(lambda: stream.began > 0)
        stream.speaks = False
        with trio.move_on_after(1):
            await until(lambda: stream.heard_from > stream.began)
            delays.append((stream.heard_from - stream.began) * 1000)
        await trio.sleep(0.7 + random.random() * 0.3)
    return delays


async def barge_in(stream: TimedStream, trials: int, interrupt: str) -> list[float]:
    times = []
    for _ in range(trials):
        await until(lambda: stream.quiet < 3 * _FRAME_SECONDS)
        await trio.sleep(0.5 + random.random() * 0.3)
        if interrupt == "digit":
            stream.press()
        else:
            stream.speak()
        await until(lambda: stream.quiet > 10 * _FRAME_SECONDS)
        stream.speaks = False
        times.append((stream.heard_until - stream.began) * 1000)
    return times


async def echo(request: WebSocketRequest) -> None:
    """Send back what is heard."""
    connection = await request.accept(subprotocol="media")
    try:
        while True:
            message = await connection.get_message()
            if isinstance(message, bytes):
                await connection.send_message(message)
            elif message.startswith("MEDIA_START"):
                await connection.send_message("ANSWER")
    except ConnectionClosed:
        pass


async def talk(request: WebSocketRequest) -> None:
    """Speak until the caller speaks or presses a digit, and again after a pause."""
    connection = await request.accept(subprotocol="media")
    words = tone((400,), 20.0, _RATE).tobytes()
    speaking, quiet = False, 0
    try:
        while True:
            message = await connection.get_message()
            if isinstance(message, str):
                if message.startswith("MEDIA_START"):
                    await connection.send_message("ANSWER")
                loud = message.startswith("DTMF_END")
            else:
                loud = bool(np.abs(np.frombuffer(message, "<i2").astype(int)).max() > _LOUD)
            if loud and speaking:
                await connection.send_message("FLUSH_MEDIA")
                speaking = False
            quiet = 0 if loud else quiet + isinstance(message, bytes)
            if not speaking and quiet >= _PAUSE:
                speaking = True
                await connection.send_message("START_MEDIA_BUFFERING")
                for start in range(0, len(words), _MESSAGE):
                    await connection.send_message(words[start : start + _MESSAGE])
                await connection.send_message("STOP_MEDIA_BUFFERING 1")
    except ConnectionClosed:
        pass


_BOTS: Final[dict[str, Callable[[WebSocketRequest], Awaitable[None]]]] = {
    "mouth to ear": echo,
    "barge-in by voice": talk,
    "barge-in by digit": talk,
}


async def _measure(server: servers.Server, case: str, calls: int) -> list[float]:
    """All trials of all calls."""
    every: list[float] = []

    async def one() -> None:
        async with call(server) as stream:
            if case == "mouth to ear":
                every.extend(await mouth_to_ear(stream, _TRIALS))
            else:
                every.extend(await barge_in(stream, _TRIALS, case.rpartition(" ")[2]))

    async with trio.open_nursery() as nursery:
        for _ in range(calls):
            nursery.start_soon(one)
    return every


async def _with_bot(start: servers.Start, case: str, calls: int) -> Values:
    async with trio.open_nursery() as nursery:
        bots = await nursery.start(partial(serve_websocket, _BOTS[case], "127.0.0.1", 0, None))
        starting = start(f"ws://127.0.0.1:{bots.port}/")
        server = await trio.to_thread.run_sync(starting.__enter__)
        try:
            with watching(server.process) as window:
                delays = await _measure(server, case, calls)
        finally:
            with trio.CancelScope(shield=True):
                leave = partial(starting.__exit__, None, None, None)
                await trio.to_thread.run_sync(leave)
        nursery.cancel_scope.cancel()
    return {
        "median": statistics.median(delays),
        "p95": percentile(delays, 0.95),
        **window.values(),
    }


def _each(start: servers.Start, scale: Scale) -> Iterator[tuple[str, Values]]:
    for case in _BOTS:
        yield case, trio.run(_with_bot, start, case, min(_CALLS, scale.calls))


def _sides() -> Mapping[str, Side]:
    starts: dict[str, servers.Start] = {
        **servers.bridges(),
        "Spech": partial(servers.spech, protocol="asterisk-text"),
    }
    starts.pop("Spech, compiled", None)
    return {name: partial(_each, start) for name, start in starts.items()}


def _text(figures: Figures) -> str:
    median = sides_table(figures, "delay", "median", "Median of a round, ms", digits=1)
    worst = sides_table(figures, "delay", "p95", "95th percentile of a round, ms", digits=1)
    return f"{median}\n![Delay and barge-in](pictures/bench-delay.svg)\n\n{worst}"


def _plots(figures: Figures) -> Mapping[str, str]:
    return {"delay": plot.rows(figures, "median", "Delay and barge-in (ms)")}


PART: Final = Part("delay", "delay and barge-in", 21, _sides, _text, _plots)
