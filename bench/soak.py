"""Ten minutes of calls in real time, with the resources of the process before and after.

    nice python bench/soak.py [--calls 20] [--minutes 10]

Two phones in one process keep about this many calls up over loopback, each for 5 to 60 seconds, in
cheap and expensive codecs. It prints memory, ports, file descriptors and tasks: when the phones are
open, after a first minute in which everything was used once, every minute, and at the end.
The exit status is 1 when files, ports or tasks are left behind.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import statistics
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import trio

from spech import (
    Call,
    CallEnded,
    CallFailed,
    IncomingCall,
    Phone,
    PortRange,
    PortsExhausted,
    codecs,
    open_phone,
)
from spech.audio.tones import tone
from spech.rtp.ports import lease
from spech.sip import timeline

LOOPBACK = ("127.0.0.1", 0)
PORTS = PortRange(34_200, 34_399)
#: The installed ones of these codecs.
CODECS = tuple(
    name for name in ("PCMU", "PCMA", "G722", "GSM", "L16/16000", "opus") if name in codecs.names()
)
WARM_UP = 60.0
#: Seconds until the last transaction has been deleted (RFC 3261 17.2.2: 64 * T1).
REST = 40.0


class Soak:
    """Keeps ``calls`` calls up between two phones, and counts their outcomes."""

    def __init__(self, alice: Phone, bob: Phone, seed: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self.marks: list[float] = []
        self.used: set[str] = set()
        self._alice = alice
        self._bob = bob
        self._rng = random.Random(seed)

    async def run(self, calls: int, seconds: float) -> None:
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                for _ in range(calls):
                    nursery.start_soon(self._line)
        await trio.sleep(REST)

    async def serve(self) -> None:
        async with trio.open_nursery() as nursery:
            async for incoming in self._bob.incoming_calls():
                nursery.start_soon(self._answer, incoming)

    async def _answer(self, incoming: IncomingCall) -> None:
        async with incoming.answer() as call:
            with call.open_audio() as port:
                async for heard in port:
                    port.send(heard)

    async def _line(self) -> None:
        while True:
            await trio.sleep(self._rng.uniform(0, 2))
            name = self._rng.choice(CODECS)
            target = f"sip:bob@127.0.0.1:{self._bob.address[1]}"
            try:
                async with self._alice.call(target, codecs=[name]) as call:
                    await call.answered(timeout=10)
                    self.outcomes["answered"] += 1
                    self.used.add(name)
                    try:
                        with trio.move_on_after(self._rng.uniform(5, 60)):
                            await _talk(call)
                    finally:
                        if (mark := call.statistics.mos_mean) is not None:
                            self.marks.append(mark)
            except (CallFailed, CallEnded) as error:
                self.outcomes[str(error)] += 1


async def _talk(call: Call) -> None:
    with call.open_audio() as port:
        said = tone((440,), 1.0, port.rate).tobytes()
        while True:
            for start in range(0, len(said), 2 * port.frame_samples):
                port.send(said[start : start + 2 * port.frame_samples])
                await port.receive()


def holds(label: str, calls: int) -> tuple[int, int, int]:
    """Print the current resources of the process; return files, free ports and tasks."""
    gc.collect()
    files = list(Path("/proc/self/fd").iterdir())
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    ports, tasks = free_ports(), trio.lowlevel.current_statistics().tasks_living
    print(
        f"{label:>10} {megabytes:8.1f} MB {len(gc.get_objects()):8d} objects "
        f"{len(files):4d} files {ports:4d} free pairs of ports "
        f"{tasks:4d} tasks {calls:4d} calls",
        flush=True,
    )
    return len(files), ports, tasks


def free_ports() -> int:
    """How many pairs of the range can be leased now."""
    with ExitStack() as leases:
        rng = random.Random(1)
        for count in range(PORTS.pairs):
            try:
                leases.enter_context(lease("127.0.0.1", PORTS, rng))
            except PortsExhausted:
                return count
    return PORTS.pairs


async def main(calls: int, minutes: float) -> None:
    # A phone keeps the timelines of a thousand calls; use fewer, so that the limit is reached soon.
    timeline._CALLS = 20  # type: ignore[misc]
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS, codecs=CODECS) as bob,
        open_phone(listen=LOOPBACK, ports=PORTS) as alice,
        trio.open_nursery() as nursery,
    ):
        soak = Soak(alice, bob, seed=1)
        began, used = time.monotonic(), time.process_time()

        async def watch() -> None:
            while True:
                await trio.sleep(60)
                holds(f"{(time.monotonic() - began) / 60:.0f} min", len(alice.active_calls))

        nursery.start_soon(soak.serve)
        nursery.start_soon(watch)
        await trio.sleep(1)
        opened = holds("opened", 0)
        await soak.run(calls, WARM_UP)
        holds("start", len(alice.active_calls))
        soak.outcomes.clear()
        soak.marks.clear()
        began, used = time.monotonic(), time.process_time()
        await soak.run(calls, minutes * 60)
        ended = holds("end", len(alice.active_calls))
        nursery.cancel_scope.cancel()
        load = (time.process_time() - used) / (time.monotonic() - began - REST)
        print(f"calls: {dict(soak.outcomes)}; {len(soak.used)} codecs; {load:.0%} of a core")
        print(f"MOS: mean {statistics.mean(soak.marks):.2f}, worst {min(soak.marks):.2f}")
    if ended != opened:
        sys.exit("files, ports or tasks were left behind")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    trio.run(main, options.calls, options.minutes)
