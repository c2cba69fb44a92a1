"""An hour of calls during floods, deaths of peers and kills: what grows, and what is lost?

    nice python bench/soak.py [--minutes 60] [--calls 20] [--state FILE]

Two phones in this process keep about this many calls up over loopback, in cheap and expensive
codecs. At the same time

- a flood from many addresses sends SIP requests to one phone, and junk to the ports of its calls;
- a neighbour, a phone with a journal in another process, answers and places calls. It is killed
  with SIGKILL and started again: each call that was up must get a farewell from its successor;
- a peer in a third process answers calls, is stopped during these calls (SIGSTOP) and killed: each
  call must end because there is no sign of life.

A run consists of rounds. After each round the phones rest until the last transaction is deleted.
Then what the process holds is compared with what it held after the first round: tasks, open files,
free ports, objects by type, memory. No duration is judged.

The result of each round is printed and appended to the state file. A run that was interrupted
continues from this file with the remaining minutes. The exit status is 1 when something grew or was
lost.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Self

import trio
from flood import flood
from trio._core._run import GLOBAL_RUN_CONTEXT

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
from spech.phone.running import run
from spech.rtp.ports import lease
from spech.sip import timeline

HOST: Final = "127.0.0.1"
PORTS: Final = PortRange(34_200, 34_399)
THEIR_PORTS: Final = PortRange(34_600, 34_799)
#: The installed ones of these codecs.
CODECS: Final = tuple(
    name for name in ("PCMU", "PCMA", "G722", "GSM", "L16/16000", "opus") if name in codecs.names()
)
#: Requests and junk packets a second, and the addresses that they come from.
FLOOD_RATE: Final = 200
FLOOD_SOURCES: Final = 100
#: Seconds without a sign of life after which Alice ends a call.
GIVE_UP: Final = 15.0
#: Calls at once with the neighbour, and with the peer.
CALLS_EACH: Final = 2
#: Seconds until the last transaction has been deleted (RFC 3261 17.2.2: 64 * T1).
REST: Final = 34.0
#: About the seconds that starting and ending the other processes takes.
STARTING: Final = 4.0
#: Seconds of a round in a long run, including its rest.
ROUND: Final = 300.0
#: Seconds after which an awaited event counts as missing.
TOO_LONG: Final = 120.0
#: By how much the objects of one type, and the blocks and bytes of memory, may exceed those after
#: the first round, even when there were few calls.
FEW_OBJECTS: Final = 60
FEW_BLOCKS: Final = 5_000
FEW_BYTES: Final = 24_000_000


# ---------------------------------------------------------------------- the other processes


async def play_phone(port: int, journal: str, theirs: int) -> None:
    """The phone of another process. It ends when its standard input does.

    It places calls to the phone at the port ``theirs``, unless that is 0.
    """

    async def serve(phone: Phone, nursery: trio.Nursery) -> None:
        async for incoming in phone.incoming_calls():
            nursery.start_soon(echo, incoming)

    async def place(phone: Phone, user: str) -> None:
        while True:
            with suppress(CallFailed, CallEnded):
                async with phone.call(f"sip:{user}@{HOST}:{theirs}") as call:
                    with trio.move_on_after(random.uniform(5, 10)):
                        await call.ended()
            await trio.sleep(1)

    async def watch(nursery: trio.Nursery) -> None:
        with suppress(OSError):
            await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()

    async with (
        open_phone(listen=(HOST, port), ports=THEIR_PORTS, journal=journal or None) as phone,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(serve, phone, nursery)
        nursery.start_soon(watch, nursery)
        if theirs:
            for user in ("bob", "ring"):
                nursery.start_soon(place, phone, user)
        print("ready", flush=True)


async def echo(incoming: IncomingCall) -> None:
    """Answer, and send back what is heard."""
    with suppress(CallFailed, CallEnded):
        async with incoming.answer() as call:
            with call.open_audio() as port:
                async for heard in port:
                    port.send(heard)


def flood_and_junk(port: int) -> None:
    """Send SIP requests to ``port`` and junk to the ports of calls, until standard input ends."""
    endless = 1e6
    requests = partial(flood, FLOOD_RATE, FLOOD_SOURCES, endless, (HOST, port), 127)
    for target in (requests, send_junk):
        threading.Thread(target=target, daemon=True).start()
    sys.stdin.read()


def send_junk() -> None:
    """Send packets that nobody asked for, from 200 ports, to the ports of calls."""
    rng = random.Random(1)
    senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(200)]
    while True:
        first = rng.choice((0x80, 0x81, 0xA6, 0x00, 0x16, 0xFF))
        junk = bytes((first, rng.randrange(256))) + rng.randbytes(rng.choice((2, 10, 40, 170)))
        to = rng.randrange(PORTS.first, PORTS.last + 1)
        with suppress(OSError):
            rng.choice(senders).sendto(junk, (HOST, to))
        time.sleep(1 / FLOOD_RATE)


class Process:
    """A phone in another process, which can be killed and started again at the same port.

    A spare process has its modules loaded, so that a start is quick even on a busy machine.
    """

    def __init__(self, *arguments: str) -> None:
        self.port = _free_port()
        self._command = [sys.executable, __file__, "--play", "phone", "--at", str(self.port)]
        self._command += arguments
        self._process: trio.Process | None = None
        self._spare: trio.Process | None = None
        self._loaded = False

    async def _load(self) -> trio.Process:
        return await trio.lowlevel.open_process(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    async def loaded(self) -> None:
        """Wait until the spare can be started at once."""
        if self._spare is None:
            self._spare = await self._load()
        if not self._loaded:
            await _hear(self._spare)
            self._loaded = True

    async def start(self) -> None:
        """Start the spare, wait until it takes calls, and begin to load another one."""
        await self.loaded()
        assert self._spare is not None
        self._process, self._spare, self._loaded = self._spare, None, False
        assert self._process.stdin is not None
        await self._process.stdin.send_all(b"start\n")
        await _hear(self._process)
        self._spare = await self._load()

    def stop(self) -> None:
        """Stop it, so that it no longer answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    async def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it by a signal, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            await _release(process)

    async def close(self) -> None:
        """End the spare."""
        if self._spare is not None:
            self._spare.kill()
            await _release(self._spare)


async def _hear(process: trio.Process) -> None:
    """Wait for the next output of the process."""
    assert process.stdout is not None
    assert await process.stdout.receive_some(), "another process has failed"


async def _release(process: trio.Process) -> None:
    with trio.CancelScope(shield=True):
        await process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            await stream.aclose()


# ---------------------------------------------------------------------- the calls


class Soak:
    """Keeps calls up between two phones and with the other processes, and counts their outcomes."""

    def __init__(self, alice: Phone, bob: Phone, folder: Path, calls: int) -> None:
        self.outcomes: Counter[str] = Counter()
        #: Outcomes that must not happen.
        self.lost: Counter[str] = Counter()
        self.marks: list[float] = []
        self._alice = alice
        self._bob = bob
        self._calls = calls
        self._rng = random.Random(1)
        bobs = str(bob.address[1])
        self._neighbour = Process("--journal", str(folder / "journal"), "--theirs", bobs)
        self._peer = Process()
        #: The calls that are up with another process, by its port.
        self._up_with: dict[int, set[Call]] = {}

    async def close(self) -> None:
        """End the spare processes."""
        for process in (self._neighbour, self._peer):
            await process.close()

    async def round(self, seconds: float) -> None:
        """Calls for this many seconds and until each kind of trouble has happened, then a rest."""
        async with trio.open_nursery() as nursery:
            for process in (self._neighbour, self._peer):
                nursery.start_soon(process.start)
        command = [sys.executable, __file__, "--play", "flood", "--at", str(self._bob.address[1])]
        flooding = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE)
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(self._calls):
                    nursery.start_soon(self._line, seconds)
                for process in (self._neighbour, self._peer):
                    for _ in range(CALLS_EACH):
                        nursery.start_soon(self._line_to, process)
                async with trio.open_nursery() as trouble:
                    happened = [trio.Event(), trio.Event()]
                    trouble.start_soon(self._kill, happened[0])
                    trouble.start_soon(self._let_die, happened[1])
                    await trio.sleep(seconds)
                    for event in happened:
                        with trio.move_on_after(TOO_LONG) as waiting:
                            await event.wait()
                        self.lost["trouble that did not happen"] += waiting.cancelled_caught
                    trouble.cancel_scope.cancel()
                nursery.cancel_scope.cancel()
        finally:
            flooding.kill()
            with trio.CancelScope(shield=True):
                await flooding.wait()
                assert flooding.stdin is not None
                await flooding.stdin.aclose()
                await self._neighbour.end(signal.SIGTERM)
                await self._peer.end()
        await trio.sleep(REST)

    # ------------------------------------------------------------------ calls to bob

    async def serve(self) -> None:
        async with trio.open_nursery() as nursery:
            async for incoming in self._bob.incoming_calls():
                nursery.start_soon(self._take, incoming)

    async def _take(self, incoming: IncomingCall) -> None:
        """Echo calls to "bob", let calls to "ring" ring. The caller must end each of them."""
        if incoming.called == "ring":
            with trio.move_on_after(TOO_LONG) as waiting:
                await incoming.ended()
            self.lost["a call that the caller did not cancel"] += waiting.cancelled_caught
        elif incoming.called != "bob":
            incoming.reject(404)
        else:
            with suppress(CallFailed, CallEnded):
                async with incoming.answer() as call:
                    with call.open_audio() as port:
                        async for heard in port:
                            port.send(heard)
                    await call.ended()
                if call.ended_by != "remote":
                    self.lost[f"a call to bob ended: {call.reason}"] += 1

    async def _line(self, seconds: float) -> None:
        longest = min(60.0, seconds / 2)
        while True:
            await trio.sleep(self._rng.uniform(0, 2))
            name = self._rng.choice(CODECS)
            target = f"sip:bob@{HOST}:{self._bob.address[1]}"
            try:
                async with self._alice.call(target, codecs=[name]) as call:
                    await call.answered(timeout=TOO_LONG)
                    self.outcomes["answered"] += 1
                    self.outcomes[f"with {name}"] += 1
                    try:
                        with trio.move_on_after(self._rng.uniform(1, longest)):
                            await _talk(call)
                    finally:
                        if (mark := call.statistics.mos_mean) is not None:
                            self.marks.append(mark)
            except (CallFailed, CallEnded) as error:
                self.lost[f"a call to bob: {error}"] += 1

    # ------------------------------------------------------------------ trouble

    async def _line_to(self, process: Process) -> None:
        """Call another process, again and again."""
        calls = self._up_with.setdefault(process.port, set())
        while True:
            with suppress(CallFailed, CallEnded):
                async with self._alice.call(f"sip:anyone@{HOST}:{process.port}") as call:
                    await call.answered(timeout=TOO_LONG)
                    calls.add(call)
                    try:
                        await call.ended()
                    finally:
                        calls.discard(call)
            await trio.sleep(1)

    async def _up(self, process: Process) -> set[Call]:
        """The calls with another process, when all are up."""
        calls = self._up_with.setdefault(process.port, set())
        while len(calls) < CALLS_EACH:  # noqa: ASYNC110 - Two calls, no one event.
            await trio.sleep(0.1)
        return set(calls)

    async def _kill(self, happened: trio.Event) -> None:
        """Kill the neighbour during its calls, and start it again."""
        while True:
            await self._neighbour.loaded()
            calls = await self._up(self._neighbour)
            with trio.CancelScope(shield=True):  # Calls stay up until this is over.
                await self._neighbour.end()
                await self._neighbour.start()
                self.outcomes["kills"] += 1
                await self._await_end(calls, "remote", "farewells after a kill")
            happened.set()
            await trio.sleep(self._rng.uniform(10, 30))

    async def _let_die(self, happened: trio.Event) -> None:
        """Stop the peer during its calls, kill it and start it again."""
        while True:
            await self._peer.loaded()
            calls = await self._up(self._peer)
            with trio.CancelScope(shield=True):
                self._peer.stop()
                self.outcomes["dead peers"] += 1
                await self._await_end(calls, "local", "calls of dead peers ended")
                await self._peer.end()
                await self._peer.start()
            happened.set()
            await trio.sleep(self._rng.uniform(10, 30))

    async def _await_end(self, calls: set[Call], ended_by: str, label: str) -> None:
        for call in calls:
            with trio.move_on_after(TOO_LONG):
                await call.ended()
            if call.ended_by == ended_by:
                self.outcomes[label] += 1
            else:
                self.lost[f"no {label}: {call.ended_by}, {call.reason}"] += 1


async def _talk(call: Call) -> None:
    with call.open_audio() as port:
        said = tone((440,), 1.0, port.rate).tobytes()
        while True:
            for start in range(0, len(said), 2 * port.frame_samples):
                port.send(said[start : start + 2 * port.frame_samples])
                await port.receive()


# ---------------------------------------------------------------------- what the process holds


class Held(NamedTuple):
    """What the process holds while no call is up."""

    tasks: int
    ports: int
    files: Counter[str]
    objects: Counter[str]
    blocks: int
    resident: int

    @classmethod
    def now(cls) -> Self:
        # Trio forgets the deadlines of scopes that have ended when there are a thousand of them.
        GLOBAL_RUN_CONTEXT.runner.deadlines._prune()
        for _ in range(3):
            gc.collect()
        with suppress(AttributeError):  # Not glibc.
            ctypes.CDLL(None).malloc_trim(0)  # What the allocator keeps for later is not held.
        objects = Counter(
            f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects()
        )
        files = Counter[str]()
        for file in Path("/proc/self/fd").iterdir():
            with suppress(OSError):  # The one of the list itself.
                files[str(file.readlink()).partition(":")[0]] += 1
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            trio.lowlevel.current_statistics().tasks_living,
            free_ports(),
            files,
            objects,
            sys.getallocatedblocks(),
            pages * os.sysconf("SC_PAGE_SIZE"),
        )

    def __str__(self) -> str:
        return (
            f"{self.resident / 1e6:.1f} MB, {self.blocks} blocks, {self.objects.total()} objects, "
            f"{self.files.total()} files, {self.ports} free pairs of ports, {self.tasks} tasks"
        )

    def growth(self, first: Held, calls: int) -> list[str]:
        """What exceeds the first round, after ``calls`` further calls."""
        grown = []
        if self.tasks > first.tasks:
            grown.append(f"{self.tasks - first.tasks} tasks")
        if self.ports < first.ports:
            grown.append(f"{first.ports - self.ports} leased ports")
        grown += [f"{count} files {name}" for name, count in (self.files - first.files).items()]
        # A leak in every second call, or in some requests of the flood, exceeds this.
        few = max(calls // 2, FEW_OBJECTS)
        more = self.objects - first.objects
        grown += [f"{count} {name}" for name, count in more.most_common() if count > few]
        if self.blocks - first.blocks > max(FEW_BLOCKS, 5 * calls):
            grown.append(f"{self.blocks - first.blocks} blocks of memory")
        if self.resident - first.resident > FEW_BYTES:
            grown.append(f"{(self.resident - first.resident) / 1e6:.0f} MB")
        return grown


def free_ports() -> int:
    """How many pairs of the range can be leased now."""
    with ExitStack() as leases:
        rng = random.Random(1)
        for count in range(PORTS.pairs):
            try:
                leases.enter_context(lease(HOST, PORTS, rng))
            except PortsExhausted:
                return count
    return PORTS.pairs


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


# ---------------------------------------------------------------------- the run


class Report:
    """Prints the result of each round, and keeps it in the state file."""

    def __init__(self, state: Path | None) -> None:
        self._state = state
        lines = state.read_text().splitlines() if state and state.exists() else []
        self.rounds = [json.loads(line) for line in lines]

    @property
    def seconds(self) -> float:
        """The duration of the rounds."""
        return float(sum(one["seconds"] for one in self.rounds))

    @property
    def faults(self) -> list[str]:
        """What grew or was lost in any round."""
        return [fault for one in self.rounds for fault in (*one["grown"], *one["lost"])]

    def add(self, seconds: float, soak: Soak, held: Held, grown: list[str], load: float) -> None:
        lost = [f"{count} x {what}" for what, count in soak.lost.items() if count]
        mean = sum(soak.marks) / max(len(soak.marks), 1)
        self.rounds.append(
            {
                "seconds": round(seconds),
                "counts": dict(soak.outcomes),
                "held": str(held),
                "grown": grown,
                "lost": lost,
            }
        )
        print(
            f"round {len(self.rounds)}, {self.seconds / 60:.1f} min: {held}\n  "
            + ", ".join(f"{count} {what}" for what, count in sorted(soak.outcomes.items()))
            + f"; MOS {mean:.2f}, worst {min(soak.marks, default=0):.2f}; {load:.0%} of a core"
            + "".join(f"\n  GREW: {what}" for what in grown)
            + "".join(f"\n  LOST: {what}" for what in lost),
            flush=True,
        )
        if self._state is not None:
            with self._state.open("a") as file:
                file.write(json.dumps(self.rounds[-1]) + "\n")


@asynccontextmanager
async def two_phones() -> AsyncIterator[tuple[Phone, Phone]]:
    """Alice and Bob. The flood's callers are strangers to Bob."""
    # A phone keeps the timelines of 1,000 calls; with 4, the first round has as many.
    timeline._CALLS = 4  # type: ignore[misc]
    async with (
        open_phone(
            listen=(HOST, 0), ports=PORTS, codecs=CODECS, callers=[HOST], strangers=1
        ) as bob,
        open_phone(listen=(HOST, 0), ports=PORTS, give_up_after=GIVE_UP) as alice,
    ):  # fmt: skip
        yield alice, bob


async def main(calls: int, minutes: float, report: Report) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with two_phones() as (alice, bob), trio.open_nursery() as nursery:
            soak = Soak(alice, bob, Path(folder), calls)
            nursery.start_soon(soak.serve)
            try:
                length = min(ROUND, minutes * 60 / 2)
                first: Held | None = None
                number = answered = 0
                while report.seconds < minutes * 60 - 1 or number == 1:  # One has no comparison.
                    number += 1
                    began, used = time.monotonic(), time.process_time()
                    await soak.round(max(length - REST - STARTING, 1))
                    lasted = time.monotonic() - began
                    held = Held.now()
                    answered += soak.outcomes["answered"]
                    if first is None:
                        first, answered = held, 0
                    load = (time.process_time() - used) / (lasted - REST)
                    report.add(lasted, soak, held, held.growth(first, answered), load)
                    for counts in (soak.outcomes, soak.lost):
                        counts.clear()
                    soak.marks.clear()
            finally:
                await soak.close()
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--calls", type=int, default=20, help="calls at once")
    parser.add_argument(
        "--state", type=Path, help="file to continue from, written after each round"
    )
    parser.add_argument("--play", choices=("phone", "flood"), help=argparse.SUPPRESS)
    parser.add_argument("--at", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--journal", default="", help=argparse.SUPPRESS)
    parser.add_argument("--theirs", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)  # A flood makes warnings.
    if options.play == "phone":
        print("loaded", flush=True)
        if sys.stdin.readline():
            run(play_phone, options.at, options.journal, options.theirs)
    elif options.play == "flood":
        flood_and_junk(options.at)
    else:
        report = Report(options.state)
        run(main, options.calls, options.minutes, report)
        if report.seconds < options.minutes * 60 - 1:
            sys.exit("interrupted")
        if report.faults:
            sys.exit("; ".join(report.faults))
