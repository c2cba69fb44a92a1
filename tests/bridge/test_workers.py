"""`spech bridge --workers 2`: two processes behind one SIP address and one control plane."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import pytest
import trio
import trio.testing
from numpy.typing import NDArray

from spech import Call, CallEnded, CallFailed, IncomingCall, Phone, PortRange, open_phone
from spech.testing.audio import assert_tone, sine
from spech.testing.calls import assert_packets
from spech.testing.talk import hear_tone, talk
from spech.testing.waiting import first, until

from .. import ports
from .asking import ask
from .workers import WorkersBridge, worker_processes, workers_bridge

PORTS = PortRange(34_950, 34_999)
SIP_PORT = ports.reserve()
#: The first RTP port of the second worker.
SECOND_HALF = 15_000
RATE = 8000
LOOPBACK = ("127.0.0.1", 0)


class Workers:
    """A bridge with two workers, and a phone that calls it."""

    def __init__(self, bridge: WorkersBridge, phone: Phone, stack: AsyncExitStack) -> None:
        self.process = bridge.process
        self.api = bridge.api
        self.show = bridge.show
        self.record = bridge.record
        self.metrics = bridge.metrics
        self.phone = phone
        self.bot = f"sip:bot@{bridge.address}"
        self.stack = stack

    async def call(self, phone: Phone | None = None) -> Call:
        """A call that is answered."""
        calling = (phone or self.phone).call(self.bot)
        call = await self.stack.enter_async_context(calling)
        await call.answered(timeout=5)
        return call

    @property
    def workers(self) -> list[int]:
        return worker_processes(self.process)

    async def refusal(self) -> int:
        """The status with which a call is refused."""
        async with self.phone.call(self.bot) as call:
            with pytest.raises(CallFailed) as refused:
                await call.answered(timeout=5)
        return refused.value.status


@asynccontextmanager
async def bridge_of_workers(*options: str) -> AsyncIterator[Workers]:
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS) as phone,
        workers_bridge("--listen", f"127.0.0.1:{SIP_PORT}", *options) as bridge,
        AsyncExitStack() as stack,
    ):
        yield Workers(bridge, phone, stack)


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


def worker_of(call: Call) -> int:
    """The worker at the other end of a call, as its RTP port tells."""
    found = map(int, re.findall(r"m=audio (\d+)", call.ladder()))
    return int(next(port for port in found if port < PORTS.first) >= SECOND_HALF)


async def hear_echo(call: Call) -> None:
    with call.open_audio(RATE) as port:
        await hear_tone(port, 1000, say=sine(1000, RATE, 1))


async def test_calls_are_spread_and_carried_and_ended_from_either_side() -> None:
    async with bridge_of_workers() as bridge:
        calls = [await bridge.call() for _ in range(4)]
        assert Counter(map(worker_of, calls)) == {0: 2, 1: 2}
        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(hear_echo, call)
        records = {one["call_id"]: one for one in await bridge.show("/v1/calls")}
        assert records.keys() == {call.call_id for call in calls}
        counted = await bridge.metrics()
        assert (counted["spech_calls"], counted["spech_ports_used"]) == (4, 4)
        assert (counted["spech_ready"], counted["spech_ports"]) == (1, 5000)

        for number, call in enumerate(calls):
            path = f"/v1/calls/{records[call.call_id]['id']}"
            # Keys, from the control plane and from the phone.
            assert (await ask(f"{bridge.api}{path}/dtmf", {"digits": str(number)}))[0] == 204
            assert await call.collect_digits(1, terminator=None) == str(number)
            call.send_dtmf("12")
            # A re-INVITE, and one more.
            for change in (call.hold, call.resume):
                before = call.ladder().count("200 OK (INVITE)")
                change()
                await until(lambda: call.ladder().count("200 OK (INVITE)") > before)  # noqa: B023
            await bridge.record(records[call.call_id]["id"], digits="xx")
            assert_packets(call)
            if number % 2:
                call.hang_up()
            else:
                assert (await ask(f"{bridge.api}{path}/hangup", method="POST"))[0] == 204
            with trio.fail_after(5):
                await call.ended()
            assert call.ended_by == ("local" if number % 2 else "remote")
        for record in records.values():
            await bridge.record(record["id"], state="ended")
        counted = await bridge.metrics()
        assert counted['spech_calls_ended_total{cause="hangup",direction="inbound"}'] == 4
        assert (counted["spech_calls"], counted["spech_ports_used"]) == (0, 0)
        assert (await ask(f"{bridge.api}/v1/calls/{'0' * 32}/hangup", method="POST"))[0] == 404
        described = await bridge.show("/openapi.json")
        assert "/v1/calls/{name}/transfer" in described["paths"]


async def test_a_killed_worker_ends_its_calls_and_no_others() -> None:
    sound: dict[Call, NDArray[np.int16]] = {}

    async def converse(call: Call) -> None:
        with suppress(CallEnded), call.open_audio(RATE) as port:
            sound[call] = await talk(port, sine(1000, RATE, 1), 4)

    async with bridge_of_workers() as bridge:
        nursery = await bridge.stack.enter_async_context(trio.open_nursery())
        calls = [await bridge.call() for _ in range(2)]
        assert {worker_of(call) for call in calls} == {0, 1}
        for call in calls:
            nursery.start_soon(converse, call)
        await trio.sleep(0.5)
        os.kill(bridge.workers[0], signal.SIGKILL)
        await until(lambda: len(bridge.workers) == 1)
        # The other one takes the new calls.
        others = [await bridge.call() for _ in range(2)]
        await until(lambda: "ended" in [call.state for call in calls], within=10)
        (dead,) = [call for call in calls if call.state == "ended"]
        (alive,) = [call for call in calls if call is not dead]
        assert dead.ended_by == "remote"
        assert {worker_of(call) for call in others} == {worker_of(alive)}
        await until(lambda: alive in sound, within=10)
        assert_tone(sound[alive][RATE // 2 :], RATE, 1000, tolerance=2)
        assert alive.statistics.lost == 0
        records = {one["call_id"]: one for one in await bridge.show("/v1/calls")}
        assert records[dead.call_id]["cause"] == "error"
        assert {records[call.call_id]["state"] for call in (alive, *others)} == {"answered"}
        counted = await bridge.metrics()
        assert counted['spech_calls_ended_total{cause="error",direction="inbound"}'] == 1
        assert (counted["spech_calls"], counted["spech_ports_used"]) == (3, 3)
        # The new process has fewer calls, so it gets the next.
        last = await bridge.call()
        assert worker_of(last) == worker_of(dead)
        bridge.process.send_signal(signal.SIGTERM)
        await until(lambda: {call.ended_by for call in (alive, *others, last)} == {"remote"})


async def test_a_bridge_drains_and_a_second_signal_ends_the_calls_of_all_workers() -> None:
    async with bridge_of_workers("--drain", "60") as bridge:
        calls = [await bridge.call() for _ in range(3)]
        assert (await ask(f"{bridge.api}/readyz"))[0] == 200
        bridge.process.send_signal(signal.SIGTERM)
        with trio.fail_after(5):
            while (await ask(f"{bridge.api}/readyz"))[0] == 200:  # noqa: ASYNC110
                await trio.sleep(0.05)
        assert await bridge.refusal() == 503
        order = {"to": f"sip:x@127.0.0.1:{bridge.phone.address[1]}"}
        assert (await ask(f"{bridge.api}/v1/calls", order))[0] == 503
        for call in calls:
            await hear_echo(call)
        calls[0].hang_up()
        bridge.process.send_signal(signal.SIGTERM)
        with trio.fail_after(8):
            assert await bridge.process.wait() == 0
        assert [call.ended_by for call in calls] == ["local", "remote", "remote"]


async def test_calls_are_placed_by_the_worker_with_the_fewest_and_up_to_one_limit() -> None:
    async with bridge_of_workers("--max-calls", "3", "--drain", "60") as bridge:
        arrivals = bridge.phone.incoming_calls()
        order = {"to": f"sip:x@127.0.0.1:{bridge.phone.address[1]}"}
        async with AsyncExitStack() as bridge.stack:
            answered = []
            for _ in range(2):
                status, body = await ask(f"{bridge.api}/v1/calls", order)
                assert status == 201
                incoming = await first(arrivals)
                call = await bridge.stack.enter_async_context(incoming.answer())
                await hear_echo(call)
                answered.append((json.loads(body), call))
            assert {worker_of(call) for _, call in answered} == {0, 1}
            last = await bridge.call()
            assert await bridge.refusal() == 503
            status, body = await ask(f"{bridge.api}/v1/calls", order)
            assert (status, json.loads(body)["error"]) == (503, "there are too many calls")
            for record, call in answered:
                path = f"/v1/calls/{record['id']}"
                assert (await bridge.show(path))["state"] == "answered"
                assert (await ask(f"{bridge.api}{path}/hangup", method="POST"))[0] == 204
                with trio.fail_after(5):
                    await call.ended()
                assert call.ended_by == "remote"
            # When its last call has ended, a bridge that drains ends.
            bridge.process.send_signal(signal.SIGTERM)
            await trio.sleep(0.3)
            assert last.state == "answered"
            last.hang_up()
            with trio.fail_after(8):
                assert await bridge.process.wait() == 0


async def test_a_call_takes_the_place_of_one_of_either_worker() -> None:
    """The phone talks with a colleague, and hands a call to the bridge over to them."""
    async with (
        bridge_of_workers() as bridge,
        open_phone(listen=LOOPBACK, ports=PORTS) as other,
        AsyncExitStack() as bridge.stack,
    ):
        calls = [await bridge.call() for _ in range(2)]
        assert {worker_of(call) for call in calls} == {0, 1}
        taken: list[int] = []

        async def follow(incoming: IncomingCall) -> None:
            async with incoming.answer() as call:
                async for request in call.transfers():
                    async with request.follow() as new:
                        await new.answered(timeout=5)
                        taken.append(worker_of(new))
                        await hear_echo(new)
                        await new.ended()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.serve, follow)
            await trio.testing.wait_all_tasks_blocked()
            for number, old in enumerate(calls):
                colleague = f"sip:other@127.0.0.1:{other.address[1]}"
                async with bridge.phone.call(colleague) as call:
                    await call.answered(timeout=5)
                    await call.transfer_to(old)
                await until(lambda: len(taken) == number + 1)  # noqa: B023 - awaited here
                assert taken[-1] == worker_of(old)
            # The calls go on, with other far ends.
            assert [one["state"] for one in await bridge.show("/v1/calls")] == ["answered"] * 2
            nursery.cancel_scope.cancel()


async def test_a_killed_front_leaves_its_calls_to_the_next() -> None:
    async with bridge_of_workers() as bridge:
        calls = [await bridge.call() for _ in range(2)]
        workers = [Path(f"/proc/{pid}") for pid in bridge.workers]
        bridge.process.kill()
        await bridge.process.wait()
        # They could tell nobody that calls end.
        await until(lambda: not any(worker.exists() for worker in workers))
        assert [call.state for call in calls] == ["answered", "answered"]
        async with workers_bridge("--listen", f"127.0.0.1:{SIP_PORT}"):
            await until(lambda: all(call.state == "ended" for call in calls))
        assert {call.ended_by for call in calls} == {"remote"}


async def test_calls_over_twilios_interface_find_their_worker() -> None:
    async with bridge_of_workers("--protocol", "twilio") as bridge:
        arrivals = bridge.phone.incoming_calls()
        calls = f"{bridge.api}/2010-04-01/Accounts/AC/Calls"

        async def post(path: str, **form: str) -> dict[str, Any]:
            posted = partial(urlopen, calls + path, urlencode(form).encode(), 5)
            with await trio.to_thread.run_sync(posted) as answer:
                resource: dict[str, Any] = json.load(answer)
                return resource

        for _ in range(2):
            placed = await post(
                ".json",
                To=f"sip:x@127.0.0.1:{bridge.phone.address[1]}",
                From="sip:bot@127.0.0.1",
                Twiml='<Response><Play digits="42"/><Pause length="60"/></Response>',
            )
            incoming = await first(arrivals)
            call = await bridge.stack.enter_async_context(incoming.answer())
            assert await call.collect_digits(2, terminator=None) == "42"
            name = placed["sid"].removeprefix("CA")
            await bridge.record(name, state="answered")
            assert (await post(f"/{placed['sid']}.json", Status="completed"))["sid"] == placed[
                "sid"
            ]
            await bridge.record(name, state="ended")
            fetched = json.loads((await ask(f"{calls}/{placed['sid']}.json"))[1])
            assert fetched["status"] == "completed"


async def test_a_bridge_whose_workers_cannot_start_ends() -> None:
    command = [sys.executable, "-m", "spech", "bridge", "--workers", "2", "--listen", "127.0.0.1:0"]
    # The bridge itself refuses this, which only the workers have.
    command += ["--websocket", "tcp://127.0.0.1:1", "--protocol", "audiosocket", "--header", "A=b"]
    done = await trio.run_process(command, check=False, capture_stderr=True)
    assert done.returncode == 1
    said = done.stderr.decode()
    assert "audiosocket has no handshake" in said
    assert "a worker ended with status 1, before it was ready" in " ".join(said.split())
