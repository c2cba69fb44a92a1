"""The calls of the soak, and what happens to them."""

from __future__ import annotations

import random
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from bench.soak.held import HOST
from bench.soak.processes import Process, begin, end
from spech import Call, CallEnded, CallFailed, IncomingCall, Phone, codecs
from spech.audio.tones import tone

#: The installed ones of these codecs.
CODECS: Final = tuple(
    name for name in ("PCMU", "PCMA", "G722", "GSM", "L16/16000", "opus") if name in codecs.names()
)
#: Calls at once with the neighbour, and with the peer.
CALLS_EACH: Final = 2
#: Seconds until the last transaction has been deleted (RFC 3261 17.2.2: 64 * T1).
REST: Final = 34.0
#: Seconds after which an awaited event counts as missing.
TOO_LONG: Final = 120.0


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
        flooding = begin("--play", "flood", "--at", str(self._bob.address[1]))
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
            with trio.CancelScope(shield=True):
                await end(flooding)
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
