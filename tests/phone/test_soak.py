"""Half an hour of short calls, in virtual time, which must not leak resources.

Two complete phones on loopback; only the clock is virtual. `bench/soak` does the same in real
time, with more calls at once.
"""

from __future__ import annotations

import gc
import os
import random
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import trio
import trio.testing

from spech import CallEnded, CallFailed, IncomingCall, Phone, PortRange, open_phone
from spech.phone import calls
from spech.rtp.ports import lease
from spech.sip import timeline

LOOPBACK = ("127.0.0.1", 0)
PORTS = PortRange(34_000, 34_031)
LINES = 2
WARM_UP = 180.0
MINUTES = 30.0
#: Seconds until the last transaction has been deleted (RFC 3261 17.2.2: 64 * T1).
REST = 60.0
CODECS = ("PCMU", "PCMU", "PCMU", "PCMA", "L16/8000", "GSM")


@pytest.fixture(autouse=True)
def unobserved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report of a failed test needs its last calls, which stay in memory until then."""
    monkeypatch.setattr(calls, "call_observers", [])


class Remains(NamedTuple):
    """Resources of the process: memory blocks, objects, files, tasks, resident bytes."""

    blocks: int
    objects: Counter[str]
    files: frozenset[str]
    tasks: int
    resident: int


def remains() -> Remains:
    for _ in range(3):
        gc.collect()
    objects = Counter(
        f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects()
    )
    files = list(Path("/proc/self/fd").iterdir())
    targets = Counter(str(file.readlink()) for file in files if file.is_symlink())
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Remains(
        sys.getallocatedblocks(),
        objects,
        frozenset(f"{count} {target}" for target, count in targets.items()),
        trio.lowlevel.current_statistics().tasks_living,
        pages * os.sysconf("SC_PAGE_SIZE"),
    )


def ports_are_free() -> bool:
    """Whether every pair of the range can be leased again."""
    with ExitStack() as leases:
        rng = random.Random(1)
        for _ in range(PORTS.pairs):
            leases.enter_context(lease("127.0.0.1", PORTS, rng))
    return True


async def serve(phone: Phone, rng: random.Random) -> None:
    """Answer calls to bob and hang up some of them; let silent ring, and refuse for busy."""

    async def take(incoming: IncomingCall) -> None:
        user = incoming.called
        if user == "busy":
            incoming.reject(486)
        elif user == "silent":
            await incoming.ended()
        else:
            async with incoming.answer() as call:
                with trio.move_on_after(rng.uniform(1, 120)):
                    await call.ended()

    async with trio.open_nursery() as nursery:
        async for incoming in phone.incoming_calls():
            nursery.start_soon(take, incoming)


class Caller:
    """Place calls continuously, in various ways."""

    def __init__(self, phone: Phone, other: Phone, seed: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self._phone = phone
        self._other = other
        self._rng = random.Random(seed)

    async def run(self) -> None:
        while True:
            user = self._rng.choices(("bob", "silent", "busy"), (8, 1, 1))[0]
            await self._call(f"sip:{user}@127.0.0.1:{self._other.address[1]}")
            await trio.sleep(self._rng.uniform(0, 4))

    async def _call(self, target: str) -> None:
        rng = self._rng
        try:
            async with self._phone.call(target, codecs=[rng.choice(CODECS)]) as call:
                await call.answered(timeout=rng.uniform(1, 10))
                self.outcomes["answered"] += 1
                with trio.move_on_after(rng.uniform(0.1, 90)), call.open_audio() as port:
                    port.send(bytes(3200))
                    if rng.random() < 0.4:
                        call.send_dtmf("12#")
                        await call.played()
                    if rng.random() < 0.3:
                        call.hold()
                        await trio.sleep(rng.uniform(0, 5))
                        call.resume()
                    await call.ended()
            assert call.statistics.lost == 0
        except CallFailed as failed:
            self.outcomes[str(failed.status)] += 1
        except CallEnded:
            self.outcomes["ended by them"] += 1


async def test_half_an_hour_of_calls_leaks_nothing(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The timelines of the last calls are kept, so they have to be full before the start.
    monkeypatch.setattr(timeline, "_CALLS", 4)
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS, codecs=tuple(dict.fromkeys(CODECS))) as bob,
        open_phone(listen=LOOPBACK, ports=PORTS) as alice,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(serve, bob, random.Random(1))
        outcomes: Counter[str] = Counter()

        async def calls(seconds: float, seed: int) -> None:
            callers = [Caller(alice, bob, seed + line) for line in range(LINES)]
            with trio.move_on_after(seconds):
                async with trio.open_nursery() as lines:
                    for caller in callers:
                        lines.start_soon(caller.run)
            await trio.sleep(REST)
            for caller in callers:
                outcomes.update(caller.outcomes)

        await calls(WARM_UP, 1)
        before = remains()
        outcomes.clear()
        await calls(MINUTES * 60, 100)
        after = remains()
        nursery.cancel_scope.cancel()
    assert outcomes["answered"] > 60
    assert {"408", "486"} <= set(outcomes)
    assert after.tasks == before.tasks
    assert after.files == before.files
    assert ports_are_free()
    # A leak in every call, or in every other one, would exceed this.
    few = outcomes["answered"] // 2
    assert {one: more for one, more in (after.objects - before.objects).items() if more > few} == {}
    # The kept timelines differ in length; a leak of a block for each packet would be 300,000.
    assert after.blocks - before.blocks < 5_000
    assert after.resident - before.resident < 8_000_000
