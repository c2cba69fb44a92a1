"""Cancels a call at every point at which it can be cancelled, and checks what is left.

Real sockets on loopback, a mock clock. An instrument counts the steps of all tasks and cancels the
phone under test at the n-th; n runs from the first step to the last. Each time the far end must
have received the right farewell, and no task, socket or port may be left.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from spech import CallEnded, CallFailed, IncomingCall, Phone, PortRange, open_phone
from spech.sip.message.message import Request
from spech.sip.message.parser import parse
from spech.sip.transaction.flow import Outgoing
from spech.sip.transport.udp import UdpTransport

from ..inside import sessions_of

PORTS = PortRange(37_000, 37_007)
Scenario = Callable[[Phone, str], Awaitable[None]]


class CancelAt(trio.abc.Instrument):
    """Cancels ``scope`` when the n-th step since :meth:`arm` is over."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.scope: trio.CancelScope | None = None
        self.count = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.scope is None:
            return
        self.count += 1
        if self.count == self.step:
            self.scope.cancel()


async def ring_only(phone: Phone, address: str) -> None:
    async with phone.call(f"sip:ring@{address}") as call:
        with trio.move_on_after(0.1):
            await call.answered()


async def talk(phone: Phone, address: str) -> None:
    async with phone.call(f"sip:talk@{address}") as call:
        await call.answered()
        await trio.sleep(0.1)


async def hold(phone: Phone, address: str) -> None:
    async with phone.call(f"sip:talk@{address}") as call:
        await call.answered()
        call.hold()
        await call.changed()
        call.resume()
        await call.changed()


async def hear_a_hang_up(phone: Phone, address: str) -> None:
    async with phone.call(f"sip:brief@{address}") as call:
        await call.answered()
        await call.ended()


async def be_refused(phone: Phone, address: str) -> None:
    with pytest.raises(CallFailed):
        async with phone.call(f"sip:busy@{address}") as call:
            await call.answered()


async def be_called(phone: Phone, address: str) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_for_a_call, phone, address)
        async for incoming in phone.incoming_calls():
            await trio.sleep(0.02)
            with contextlib.suppress(CallEnded):
                async with incoming.answer():
                    await trio.sleep(0.1)
            nursery.cancel_scope.cancel()


async def ask_for_a_call(phone: Phone, address: str) -> None:
    async with phone.call(f"sip:call-{phone.address[1]}@{address}") as call:
        await call.ended()


async def far_end(bob: Phone) -> None:
    """Acts according to the dialled number."""
    async with trio.open_nursery() as nursery:

        async def call_back(port: str) -> None:
            await trio.sleep(0.02)
            async with bob.call(f"sip:alice@127.0.0.1:{port}") as call:
                await call.ended()

        async def serve(incoming: IncomingCall) -> None:
            if incoming.called == "busy":
                incoming.reject(486)
            elif incoming.called == "ring":
                await incoming.ended()
            elif incoming.called.startswith("call-"):
                incoming.reject(480)
                await call_back(incoming.called.removeprefix("call-"))
            else:
                await trio.sleep(0.02)
                if incoming.over:
                    return
                async with incoming.answer() as call:
                    if incoming.called == "brief":
                        await trio.sleep(0.05)
                    else:
                        await call.ended()

        async for incoming in bob.incoming_calls():
            nursery.start_soon(serve, incoming)


def still_busy(bob: Phone, living: int) -> bool:
    tasks = trio.lowlevel.current_statistics().tasks_living
    return bool(sessions_of(bob)) or tasks > living


def open_sockets() -> int:
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(
            FileNotFoundError
        ):  # The descriptor of the listing itself is closed.
            count += str(entry.readlink()).startswith("socket:")
    return count


def run_cancelled(
    scenario: Scenario, step: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[bool, list[str], list[str]]:
    """Run ``scenario``, cancelled at ``step``.

    Returns whether the call was still running then, and what our phone and the far end sent.
    """
    sent: dict[int, list[str]] = {}
    send = UdpTransport.send

    def tap(transport: UdpTransport, outgoing: Outgoing) -> bool:
        message = parse(outgoing.data)
        kind = (
            message.method
            if isinstance(message, Request)
            else f"{message.status} {message.cseq.method}"
        )
        sent.setdefault(transport.address[1], []).append(kind)
        return send(transport, outgoing)

    canceller = CancelAt(step)
    cancelled = False
    ports: list[int] = []

    async def main() -> None:
        nonlocal cancelled
        listen = ("127.0.0.1", 0)
        async with (
            open_phone(listen=listen, ports=PortRange(37_100, 37_107)) as bob,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(far_end, bob)
            await trio.testing.wait_all_tasks_blocked()
            living = trio.lowlevel.current_statistics().tasks_living
            with trio.CancelScope() as scope:
                canceller.scope = scope
                rng = random.Random(step)
                async with open_phone(listen=listen, ports=PORTS, rng=rng) as alice:
                    ports.extend((alice.address[1], bob.address[1]))
                    await scenario(alice, f"127.0.0.1:{bob.address[1]}")
            canceller.scope = None
            cancelled = scope.cancelled_caught
            with trio.fail_after(40):  # The far end's call ends by itself, or never.
                while still_busy(bob, living):  # noqa: ASYNC110 - Nobody tells of a task's end.
                    await trio.sleep(0.1)
            nursery.cancel_scope.cancel()

    with monkeypatch.context() as patch:
        patch.setattr(UdpTransport, "send", tap)
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(main, clock=clock, instruments=[canceller])
    ours, theirs = (sent.get(port, []) for port in ports) if ports else ([], [])
    return cancelled, list(ours), list(theirs)


def check_farewell(ours: list[str], theirs: list[str]) -> None:
    """Check that the final messages of both ends match for every INVITE."""
    if "INVITE" in ours and "200 INVITE" in theirs:
        # It was up, or a 200 crossed our CANCEL: acknowledged, then one BYE from either side.
        assert "ACK" in ours
        assert ours.count("BYE") + theirs.count("BYE") >= 1
    elif "INVITE" in ours and "486 INVITE" not in theirs and "480 INVITE" not in theirs:
        # It rang: CANCEL, the 487 and its ACK.
        assert "CANCEL" in ours
        assert "487 INVITE" in theirs
        assert "ACK" in ours
    if any(one.endswith(" INVITE") for one in ours):
        # Incoming: an answered call has a BYE, any other has a refusal or a CANCEL.
        if "200 INVITE" in ours:
            assert ours.count("BYE") + theirs.count("BYE") >= 1
        else:
            assert {"480 INVITE", "487 INVITE", "486 INVITE"} & set(ours)


def check_ports_free() -> None:
    for port in range(PORTS.first, PORTS.last + 1):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", port))


@pytest.mark.parametrize("scenario", [ring_only, talk, hold, hear_a_hang_up, be_refused, be_called])
def test_a_call_can_be_cancelled_at_every_step(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_sockets()
    step = 0
    cancelled = True
    while cancelled:
        step += 1
        cancelled, ours, theirs = run_cancelled(scenario, step, monkeypatch)
        check_farewell(ours, theirs)
        check_ports_free()
        assert open_sockets() == before
    assert step > 20


async def test_the_far_end_hears_of_each_of_200_calls_of_which_a_third_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rng = random.Random(7)
    ended: list[str | None] = []
    cancelled = 0

    async def serve(incoming: IncomingCall) -> None:
        await trio.sleep(rng.uniform(0, 0.3))
        if incoming.over or rng.random() < 0.2:
            incoming.reject(486)
            await incoming.ended()
            ended.append("refused")
            return
        with contextlib.suppress(CallEnded):
            async with incoming.answer() as call:
                with trio.move_on_after(rng.uniform(0, 1)):
                    await call.ended()
        ended.append(call.ended_by)

    async def place(alice: Phone, address: str, seconds: float) -> None:
        nonlocal cancelled
        async with room:
            with trio.move_on_after(seconds) as scope, contextlib.suppress(CallEnded, CallFailed):
                async with alice.call(f"sip:bob@{address}") as call:
                    await call.answered()
                    await call.ended()
            cancelled += scope.cancelled_caught

    room = trio.CapacityLimiter(40)
    ports = PortRange(37_108, 37_407)
    listen = ("127.0.0.1", 0)
    before = open_sockets()
    async with open_phone(listen=listen, ports=ports) as bob, trio.open_nursery() as nursery:
        nursery.start_soon(bob.serve, serve)
        await trio.testing.wait_all_tasks_blocked()
        tasks, sockets = trio.lowlevel.current_statistics().tasks_living, open_sockets()
        async with open_phone(listen=listen, ports=ports) as alice, trio.open_nursery() as calls:
            address = f"127.0.0.1:{bob.address[1]}"
            for number in range(200):
                seconds = rng.uniform(0, 0.6) if number % 3 == 0 else 60.0
                calls.start_soon(place, alice, address, seconds)
        with trio.fail_after(40):
            while still_busy(bob, tasks):  # noqa: ASYNC110 - Nobody tells of a task's end.
                await trio.sleep(0.1)
        assert open_sockets() == sockets
        nursery.cancel_scope.cancel()
    assert open_sockets() == before
    assert cancelled > 30
    # A call that was cancelled at once may have sent nothing.
    assert 200 - cancelled <= len(ended) <= 200
    assert {"local", "remote", "refused"} == set(ended)
