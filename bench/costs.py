"""The cost of a call in exact counts, so that an increase is noticed.

    python -m bench.costs            compare with bench/costs.json, as `make bench-check` does
    python -m bench.costs --update   accept what was counted

It counts Python calls in Spech, calls from Spech to functions written in C, and system calls on its
sockets: per tick of 20 ms and call, and per call that is set up and ended. Only ticks advance the
clock, randomness is seeded, and the far ends are plain sockets of this program. So the counts are
the same in every run, on every machine and under any load.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import select
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol, TypeVar

import trio
import trio.testing

import spech
from bench import farend
from bench.farend import PageClient, SipPeer, WebSocketEcho
from spech.bridge.bridge import Bridge
from spech.bridge.routes import Routes
from spech.bridge.url import WebSocketUrl
from spech.web.app import serve

STORED: Final = Path(__file__).with_name("costs.json")
#: Growth of a count, as a share, above which the check fails.
ROOM: Final = 0.03
_TICKS: Final = 200
_SETTLE_TICKS: Final = 60
_SET_UPS: Final = 20
_MEMBERS: Final = 5
_SLOT: Final = 0.01
_SPECH: Final = str(Path(spech.__file__).parent)
_POSIX: Final = sys.modules["posix"]
_POLL: Final = type(select.poll())
_HERE: Final = str(Path(__file__).parent)
_RAW_SOCKET: Final = socket.socket.__mro__[1]
#: Methods of a socket that make no system call.
_NO_SYSTEM_CALL: Final = ("fileno", "detach", "gettimeout", "settimeout")
_FILE_CALLS: Final = ("read", "write", "open", "close", "readv", "writev")
#: Code that has its own frame in Python 3.11 only.
_INLINED: Final = ("<listcomp>", "<setcomp>", "<dictcomp>")

#: How many of the functions that are called most are printed.
_show: list[int] = []

Costs = dict[str, float]
_T = TypeVar("_T")


class Meter(Protocol):
    """Counts between :meth:`start` and :meth:`stop`."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def costs(self, count: int) -> Costs:
        """What was counted, per each of ``count``."""


class Counting:
    """Counts what Spech does between :meth:`start` and :meth:`stop`, by :func:`sys.setprofile`.

    The counts of Python 3.11, 3.12 and 3.13 differ by less than 1 %.

    Attributes:
        python: calls of Python functions in Spech; each resumption of a coroutine is one.
        native: calls from Spech to functions written in C.
        system: system calls on sockets and files, by Spech or by Trio for it.
    """

    def __init__(self) -> None:
        self.python = self.native = self.system = 0
        self.by_name: Counter[str] = Counter()
        self._places: dict[object, str] = {}

    def start(self) -> None:
        sys.setprofile(self._note)

    def stop(self) -> None:
        sys.setprofile(None)

    def costs(self, count: int) -> Costs:
        """What was counted, per each of ``count``."""
        for limit in _show:
            for name, calls in self.by_name.most_common(limit):
                print(f"    {calls / count:8.2f} {name}")
        return {
            "Python calls": round(self.python / count, 2),
            "C calls": round(self.native / count, 2),
            "system calls": round(self.system / count, 2),
        }

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        if event not in ("call", "c_call"):
            return
        code = frame.f_code
        place = self._places.get(code)
        if place is None:
            place = self._places[code] = _place(code.co_filename, code.co_name)
        if place == "spech":
            if event == "call":
                self.python += 1
                self.by_name[code.co_qualname] += 1
            else:
                self.native += 1
        if event == "c_call" and place != "bench" and _is_system_call(argument, place):
            self.system += 1
            self.by_name[f"system call {argument.__name__}"] += 1


def _place(file: str, name: str) -> str:
    if file.startswith(_SPECH):
        return "" if name in _INLINED else "spech"
    if file.startswith(_HERE):
        return "bench"
    return "other"


def _is_system_call(function: Any, place: str) -> bool:
    owner = getattr(function, "__self__", None)
    if isinstance(owner, _RAW_SOCKET):
        return function.__name__ not in _NO_SYSTEM_CALL and owner not in farend.sockets
    if isinstance(owner, _POLL):
        return function.__name__ == "poll"
    return place == "spech" and owner is _POSIX and function.__name__ in _FILE_CALLS


class Stage:
    """Advances time by ticks, and counts."""

    def __init__(
        self, clock: trio.testing.MockClock, counting: Callable[[], Meter] = Counting
    ) -> None:
        self._clock = clock
        self._counting = counting

    async def settle(self) -> None:
        """Run all tasks that need no time."""
        await trio.testing.wait_all_tasks_blocked()

    async def passing(self, awaited: Callable[[], Awaitable[_T]]) -> _T:
        """Advance time until it is done."""
        results: list[_T] = []

        async def wait() -> None:
            results.append(await awaited())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            while not results:
                await self.tick()
        return results[0]

    async def tick(self) -> None:
        """Advance time by 20 ms."""
        for _ in range(2):
            self._clock.jump(_SLOT)
            await trio.testing.wait_all_tasks_blocked()

    async def count_ticks(self, far_ends: list[Callable[[], None]], calls: int) -> Costs:
        """The cost of a tick in which the ``far_ends`` each send and receive 20 ms of sound."""
        for _ in range(_SETTLE_TICKS):
            await self._exchange(far_ends)
        counting = self._counting()
        counting.start()
        for _ in range(_TICKS):
            await self._exchange(far_ends)
        counting.stop()
        self._clock.autojump_threshold = 0.0  # Let the farewells time out.
        return counting.costs(_TICKS * calls)

    async def _exchange(self, far_ends: list[Callable[[], None]]) -> None:
        for exchange in far_ends:
            exchange()
        await self.settle()
        await self.tick()

    async def count_calls(self, one: Callable[[], Awaitable[None]]) -> Costs:
        """The cost to set up and end a call."""
        await one()
        counting = self._counting()
        counting.start()
        for _ in range(_SET_UPS):
            await one()
        counting.stop()
        self._clock.autojump_threshold = 0.0
        costs = counting.costs(_SET_UPS)
        costs.pop("C calls", None)  # Versions of Python differ by a few percent in these.
        return costs


# ---------------------------------------------------------------------- what is measured


def _loopback() -> tuple[str, int]:
    return "127.0.0.1", farend.usual_port()


@asynccontextmanager
async def _bridge(peer: SipPeer) -> AsyncIterator[WebSocketEcho]:
    with WebSocketEcho() as echo:
        async with (
            spech.open_phone(listen=_loopback(), drain=0.1) as phone,
            trio.open_nursery() as nursery,
        ):
            url = WebSocketUrl.parse(f"ws://127.0.0.1:{echo.port}/")
            bridge = Bridge(Routes(default=url))
            nursery.start_soon(bridge.serve, phone)
            nursery.start_soon(echo.accept)
            peer.target = phone.address
            await trio.testing.wait_all_tasks_blocked()
            yield echo
            nursery.cancel_scope.cancel()


async def bridged(stage: Stage, *, events: bool) -> Costs:
    """A call between RTP and a WebSocket, as ``spech bridge`` carries it."""
    with SipPeer() as peer:
        async with _bridge(peer) as echo:
            call = await peer.call(events=events)
            await stage.settle()
            return await stage.count_ticks([call.exchange, echo.exchange], 1)


async def bridged_set_up(stage: Stage) -> Costs:
    with SipPeer() as peer:
        async with _bridge(peer) as echo:

            async def one() -> None:
                call = await peer.call()
                await stage.settle()
                await call.end()
                await stage.settle()
                echo.exchange()
                await stage.tick()

            return await stage.count_calls(one)


async def set_up(stage: Stage) -> Costs:
    """A call that is only answered and ended, over UDP."""

    async def answer(incoming: spech.IncomingCall) -> None:
        async with incoming.answer() as call:
            await call.ended()

    with SipPeer() as peer:
        async with (
            spech.open_phone(listen=_loopback(), drain=0.1) as phone,
            trio.open_nursery() as nursery,
        ):

            async def answer_all() -> None:
                async for incoming in phone.incoming_calls():
                    nursery.start_soon(answer, incoming)

            nursery.start_soon(answer_all)
            peer.target = phone.address
            await stage.settle()

            async def one() -> None:
                call = await peer.call()
                await stage.settle()
                await call.end()
                await stage.settle()
                await stage.tick()

            costs = await stage.count_calls(one)
            nursery.cancel_scope.cancel()
            return costs


async def conference(stage: Stage) -> Costs:
    """A member of a conference of five, each with sound of its own."""

    async def join(incoming: spech.IncomingCall, room: spech.Conference) -> None:
        async with incoming.answer() as call:
            room.add(call)
            await call.ended()

    with SipPeer() as peer:
        async with (
            spech.open_phone(listen=_loopback(), drain=0.1) as phone,
            spech.open_conference() as room,
            trio.open_nursery() as nursery,
        ):

            async def answer_all() -> None:
                async for incoming in phone.incoming_calls():
                    nursery.start_soon(join, incoming, room)

            nursery.start_soon(answer_all)
            peer.target = phone.address
            await stage.settle()
            calls = [await peer.call() for _ in range(_MEMBERS)]
            await stage.settle()
            costs = await stage.count_ticks([call.exchange for call in calls], _MEMBERS)
            nursery.cancel_scope.cancel()
            return costs


async def page(stage: Stage) -> Costs:
    """A call from the page: its microphone and speaker, with meters and quality."""
    with SipPeer() as peer, tempfile.TemporaryDirectory(prefix="spech-costs-") as folder:
        async with trio.open_nursery() as nursery:
            serving = await nursery.start(
                lambda task_status: serve(
                    port=0,
                    audio_port=0,
                    sip_listen=_loopback(),
                    data_folder=Path(folder),
                    drain=0.1,
                    task_status=task_status,
                )
            )
            async with PageClient(serving.link, serving.audio_port) as client:
                async with trio.open_nursery() as registrar:
                    registrar.start_soon(peer.register)
                    await stage.passing(lambda: client.save_account(peer.port))
                    registrar.cancel_scope.cancel()
                answering = await stage.passing(lambda: peer.take_call(client.dial))
                await stage.settle()
                await stage.passing(client.attach)
                costs = await stage.count_ticks([answering.exchange, client.exchange], 1)
            nursery.cancel_scope.cancel()
            return costs


SUBJECTS: Final[dict[str, Callable[[Stage], Awaitable[Costs]]]] = {
    "tick, bridged call": lambda stage: bridged(stage, events=True),
    "tick, bridged call without telephone-event": lambda stage: bridged(stage, events=False),
    "tick, the page's call": page,
    "tick, member of a conference": conference,
    "call set up and ended": set_up,
    "bridged call set up and ended": bridged_set_up,
}


@contextmanager
def _repeatable() -> Iterator[None]:
    """Remove time of day and randomness, which differ from run to run."""
    wall, secret = time.time, random.SystemRandom
    # Kernel timestamps are then in the future, and count as "now".
    time.time = lambda: 0.0
    random.SystemRandom = lambda *_: random.Random(1)  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        time.time, random.SystemRandom = wall, secret  # type: ignore[misc]


def measure(
    subject: Callable[[Stage], Awaitable[Costs]], counting: Callable[[], Meter] = Counting
) -> Costs:
    clock = trio.testing.MockClock()

    async def main() -> Costs:
        with trio.fail_after(1e6):
            return await subject(Stage(clock, counting))

    with _repeatable():
        return trio.run(main, clock=clock)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--update", action="store_true", help="accept what is counted")
    parser.add_argument("--show", type=int, help="print the functions called most as well")
    parser.add_argument("--only", default="", help="subjects whose name contains this")
    options = parser.parse_args()
    _show.extend([options.show] if options.show else [])
    logging.getLogger("spech").setLevel(logging.ERROR)
    stored: dict[str, Costs] = json.loads(STORED.read_text()) if STORED.exists() else {}
    grown = []
    for name, subject in SUBJECTS.items():
        if options.only not in name:
            continue
        counted = measure(subject)
        before = stored.get(name, {})
        stored[name] = counted
        for what, count in counted.items():
            was = before.get(what)
            change = "new" if was is None else f"{count / was - 1:+.1%}" if was else ""
            print(f"{name:45} {what:14} {count:9.2f}  {change}", flush=True)
            if was is None or count > was * (1 + ROOM):
                grown.append(f"{name}: {what} {was} -> {count}")
    if options.update:
        STORED.write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n")
        print(f"stored in {STORED.name}")
        return 0
    if grown:
        print(f"\nThese counts have grown by more than {ROOM:.0%} ({STORED.name}):")
        print("\n".join(f"  {line}" for line in grown))
        print(
            "Make the code cheaper; or accept the counts with `make bench-check ARGS=--update` and "
            "say in the commit what they buy.\n"
            "`make bench-check ARGS='--only NAME --show 30'` lists the functions called most."
        )
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
