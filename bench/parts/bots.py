"""Fifty bots behind one `spech bridge`, a third of which misbehave: what do the others hear?

Three processes: the bridge, the bots (``python -m bench.parts.bots``), and a phone that calls them
all and sends a tone. Two of three bots send the sound back. Of the others one after the other
floods with small messages, floods with messages of 1 MB, never reads, sends nonsense, never
accepts, or dies after three seconds. Calls with bots that misbehave may end at any time.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

import numpy as np
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from bench import servers
from bench.machine import memory, open_files, watching
from bench.parts import Part, Scale, Side
from bench.results import Figures, Values
from bench.tables import values_table
from spech import CallEnded, CallFailed, Phone, PortRange, open_phone
from spech.audio.tones import tone

_CALLS: Final = 50
#: Calls last this many times a usual measurement, and afterwards everything rests for so long (s).
_LENGTH: Final = 3
_REST: Final = 3.0
#: Of 32,768: what is heard of the tone is louder, and of comfort noise softer.
_LOUD: Final = 1_000
_RATE: Final = 8000
#: Seconds until sound has come back from a bot.
_SETTLE: Final = 2.0


async def echo(connection: WebSocketConnection) -> None:
    while True:
        message = await connection.get_message()
        if isinstance(message, bytes):
            await connection.send_message(message)


async def flood_small(connection: WebSocketConnection) -> None:
    while True:
        await connection.send_message(b"\0")


async def flood_large(connection: WebSocketConnection) -> None:
    while True:
        await connection.send_message(bytes(1 << 20))


async def freeze(connection: WebSocketConnection) -> None:
    await trio.sleep_forever()


async def talk_nonsense(connection: WebSocketConnection) -> None:
    while True:
        await connection.send_message('{"command": ["mark"')
        await connection.send_message(os.urandom(333))
        await trio.sleep(0.02)


async def die(connection: WebSocketConnection) -> None:
    await trio.sleep(3)
    await connection._stream.aclose()


BOTS: Final[dict[str, Callable[[WebSocketConnection], Awaitable[None]]]] = {
    "flood_small": flood_small,
    "flood_large": flood_large,
    "freeze": freeze,
    "talk_nonsense": talk_nonsense,
    "never_accept": freeze,
    "die": die,
    "echo": echo,
}


async def serve(request: WebSocketRequest) -> None:
    kind = request.path.strip("/")
    if kind == "never_accept":
        await trio.sleep_forever()
    with suppress(ConnectionClosed, trio.ClosedResourceError):
        await BOTS[kind](await request.accept())


async def run_bots() -> None:
    async with trio.open_nursery() as nursery:
        listening = await nursery.start(partial(serve_websocket, serve, "127.0.0.1", 0, None))
        print(listening.port, flush=True)


class Heard:
    """What a phone hears of one good call: its longest gap, in seconds."""

    def __init__(self) -> None:
        self.up = False
        self.longest_gap = 0.0
        self._gap = 0

    def take(self, pcm: np.ndarray) -> None:
        loud = np.flatnonzero(np.abs(pcm.astype(int)) > _LOUD)
        edges = np.diff(loud, prepend=-1 - self._gap)
        longest = int(edges.max(initial=0)) if len(loud) else self._gap + len(pcm)
        self._gap = len(pcm) - 1 - int(loud[-1]) if len(loud) else self._gap + len(pcm)
        self.longest_gap = max(self.longest_gap, longest / _RATE)


async def call_good(phone: Phone, address: str, seconds: float, heard: Heard) -> None:
    said = tone((440,), 1.0, _RATE)
    async with phone.call(address, codecs=["PCMU"]) as call:
        await call.answered(timeout=10)
        with call.open_audio(rate=_RATE) as port, trio.move_on_after(seconds):
            begin, position = trio.current_time() + _SETTLE, 0
            async for pcm in port:
                samples = np.frombuffer(pcm, np.int16)
                port.send(np.roll(said, -position)[: len(samples)].tobytes())
                position = (position + len(samples)) % len(said)
                if trio.current_time() > begin:
                    heard.take(samples)
        heard.up = call.state == "answered"


async def call_bad(phone: Phone, address: str, seconds: float) -> None:
    with suppress(CallFailed, CallEnded), trio.move_on_after(seconds):
        async with phone.call(address) as call:
            await call.answered(timeout=20)
            await trio.sleep_forever()


async def call_all(bridge: str, calls: int, seconds: float) -> list[Heard]:
    bad = [kind for kind in BOTS if kind != "echo"]
    heard = []
    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PortRange(20_000, 20_999)) as phone,
        trio.open_nursery() as nursery,
    ):
        for number in range(calls):
            if number % 3 == 2:
                address = f"sip:{bad[number // 3 % len(bad)]}@{bridge}"
                nursery.start_soon(call_bad, phone, address, seconds)
            else:
                heard.append(Heard())
                nursery.start_soon(call_good, phone, f"sip:echo@{bridge}", seconds, heard[-1])
            await trio.sleep(0.05)
    return heard


def _call_bots(start: servers.Start, scale: Scale) -> Iterator[tuple[str, Values]]:
    seconds, calls = _LENGTH * scale.seconds, min(_CALLS, scale.calls)
    script = [sys.executable, "-m", __name__]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as bots:
        assert bots.stdout is not None
        url = f"ws://127.0.0.1:{int(bots.stdout.readline())}/{{called}}"
        try:
            with start(url) as bridge:
                files, begun = open_files(bridge.process), memory(bridge.process)
                with watching(bridge.process) as window:
                    heard = trio.run(call_all, bridge.address, calls, seconds)
                time.sleep(_REST)
                left = open_files(bridge.process) - files
                rested = memory(bridge.process)
        finally:
            bots.send_signal(signal.SIGKILL)
    gaps = sorted(one.longest_gap * 1000 for one in heard)
    yield (
        f"{_CALLS} bots",
        {
            "lost": float(sum(not one.up for one in heard)),
            "gap": statistics.median(gaps),
            "worst": gaps[-1],
            "files": float(left),
            "begun": begun,
            "memory": window.memory,
            "rested": rested,
            "core": window.cpu / window.seconds * 100,
            **window.values(),
        },
    )


def _sides() -> Mapping[str, Side]:
    return {
        name: partial(_call_bots, partial(servers.spech, build=build))
        for name, build in servers.builds().items()
    }


def _text(figures: Figures) -> str:
    rows = {
        "good calls that were lost, of 34": ("lost", 0),
        "longest gap in the sound of a good call, median, ms": ("gap", 0),
        "the same, of all good calls, ms": ("worst", 0),
        "CPU of the bridge, % of a core": ("core", 0),
        "open files that were left": ("files", 0),
        "memory before the calls, MB": ("begun", 0),
        "memory at the end of the calls, MB": ("memory", 0),
        "memory after the calls, MB": ("rested", 0),
    }
    return values_table(figures, rows)


PART: Final = Part("bots", "bots that misbehave", 16, _sides, _text)


if __name__ == "__main__":
    trio.run(run_bots)
