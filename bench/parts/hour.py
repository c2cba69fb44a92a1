"""A call of an hour in virtual time: both ends in one process, on real sockets of loopback.

    python -m bench.parts.hour SECONDS

makes one call of so many virtual seconds, and prints the values as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Final

import trio
import trio.testing

from bench import servers
from bench.machine import memory
from bench.parts import Part, Scale, Side
from bench.results import Figures, Values
from bench.tables import values_table
from spech import Call, IncomingCall, Phone, open_phone
from spech.audio.tones import tone

#: Virtual seconds for each second of a usual measurement.
_STRETCH: Final = 1200
_RATE: Final = 8000
_LOOPBACK: Final = ("127.0.0.1", 0)


async def _echo(incoming: IncomingCall) -> None:
    async with incoming.answer() as call:
        with call.open_audio(rate=_RATE) as port:
            async for frame in port:
                port.send(frame)


async def _talk(call: Call, seconds: float) -> None:
    said = tone((400,), 0.02, _RATE).tobytes()
    with call.open_audio(rate=_RATE) as port, trio.move_on_after(seconds):
        async for _ in port:
            port.send(said)


async def _call(caller: Phone, callee: Phone, seconds: float) -> Values:
    address = f"sip:bob@127.0.0.1:{callee.address[1]}"
    async with caller.call(address, codecs=["PCMU"]) as call:
        await call.answered(timeout=10)
        await _talk(call, 60)  # Memory has then its size.
        before, begun = memory(os.getpid()), time.process_time()
        await _talk(call, seconds)
        spent = time.process_time() - begun
        statistics = call.statistics
        return {
            "cpu": spent / seconds * 1000,
            "total": spent,
            "growth": memory(os.getpid()) - before,
            "lost": float(statistics.lost),
            "delay": statistics.delay_ms,
        }


async def _measure(seconds: float) -> Values:
    async with (
        open_phone(listen=_LOOPBACK) as alice,
        open_phone(listen=_LOOPBACK) as bob,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(bob.serve, _echo)
        values = await _call(alice, bob, seconds)
        nursery.cancel_scope.cancel()
    return values


def _side(scale: Scale) -> Iterator[tuple[str, Values]]:
    seconds = _STRETCH * scale.seconds
    yield from servers.in_build({}, __name__, str(seconds)).items()


def _sides() -> Mapping[str, Side]:
    return {"Spech": _side}


def _text(figures: Figures) -> str:
    rows = {
        "CPU of both ends, in all, s": ("total", 1),
        "CPU of both ends, per second of the call, ms": ("cpu", 2),
        "growth of memory after the first minute, MB": ("growth", 1),
        "packets lost": ("lost", 0),
        "playout delay at the end, ms": ("delay", 0),
    }
    return values_table(figures, rows)


PART: Final = Part("hour", "an hour in virtual time", 25, _sides, _text)


if __name__ == "__main__":
    clock = trio.testing.MockClock(autojump_threshold=0)
    print(json.dumps({"call": trio.run(_measure, float(sys.argv[1]), clock=clock)}))
