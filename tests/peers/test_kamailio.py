"""Calls through a record-routing proxy, Kamailio, over any transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
import trio

from spech import Account, Call, CallEnded, IncomingCall, Phone, PortRange, open_phone
from spech.sip.message.message import Request
from spech.sip.message.parser import parse
from spech.testing.audio import assert_tone, sine
from spech.testing.plugin import unavailable
from spech.testing.talk import talk
from spech.testing.waiting import first, until

from .. import ports
from ..inside import session_of
from . import kamailio

PORT = ports.reserve()
STRICT_PORT = ports.reserve()
PORTS = PortRange(38_200, 38_299)
RATE = 8000


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    _installed()
    with kamailio.running(tmp_path_factory.mktemp("kamailio"), PORT):
        yield


@pytest.fixture(scope="module")
def strict_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    _installed()
    with kamailio.running(tmp_path_factory.mktemp("strict"), STRICT_PORT, password="hush"):
        yield


def _installed() -> None:
    if not kamailio.available():
        unavailable("peers", "Kamailio is not installed; `make test-peers` installs it")


def account(user: str, transport: Any, port: int = PORT, password: str | None = None) -> Account:
    return Account(f"sip:{user}@127.0.0.1:{port}", transport=transport, password=password)


async def echo(phone: Phone) -> None:
    async def serve(incoming: IncomingCall) -> None:
        async with incoming.answer() as call:
            with suppress(CallEnded), call.open_audio(RATE) as port:
                async for frame in port:
                    port.send(frame)

    async with trio.open_nursery() as nursery:
        async for incoming in phone.incoming_calls():
            nursery.start_soon(serve, incoming)


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize(
    ("ours", "theirs"), [("udp", "tcp"), ("tcp", "ws"), ("ws", "udp"), ("ws", "ws")]
)
async def test_a_call_crosses_transports(ours: str, theirs: str) -> None:
    async with (
        open_phone(account("bob", theirs), listen=("127.0.0.1", 0), ports=PORTS) as bob,
        open_phone(account("alice", ours), listen=("127.0.0.1", 0), ports=PORTS) as alice,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(echo, bob)
        await bob.registered(timeout=5)
        await alice.registered(timeout=5)
        async with alice.call("bob") as call:
            await call.answered(timeout=5)
            with call.open_audio(RATE) as port:
                heard = await talk(port, sine(700, RATE, 1, level=-18), 2)
            assert_tone(heard[-RATE:], RATE, 700, tolerance=1)
        with trio.fail_after(5):
            while bob.active_calls:  # noqa: ASYNC110 - Nobody tells of the other phone's end.
                await trio.sleep(0.05)
        assert call.ended_by == "local"
        nursery.cancel_scope.cancel()


def requests(call: Call, method: str) -> list[Request]:
    """Those that we sent, including retransmissions."""
    sent = [parse(entry.data) for entry in call.timeline if entry.sent]
    return [one for one in sent if isinstance(one, Request) and one.method == method]


@pytest.mark.usefixtures("strict_proxy")
@pytest.mark.parametrize(("ours", "theirs"), [("udp", "udp"), ("udp", "tcp"), ("tcp", "udp")])
async def test_both_ends_authenticate_each_request(ours: str, theirs: str) -> None:
    """Nonces expire within the call, and neither end sees the other one's address."""
    answered: list[Call] = []

    async def answer(arrivals: AsyncIterator[IncomingCall]) -> None:
        async with (await first(arrivals)).answer() as call:
            answered.append(call)
            await call.ended()

    bob_account = account("bob", theirs, STRICT_PORT, "hush")
    alice_account = account("alice", ours, STRICT_PORT, "hush")
    async with (
        open_phone(bob_account, listen=("127.0.0.1", 0), ports=PORTS) as bob,
        open_phone(alice_account, listen=("127.0.0.1", 0), ports=PORTS) as alice,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(answer, bob.incoming_calls())
        await bob.registered(timeout=5)
        await alice.registered(timeout=5)
        async with alice.call("bob") as call:
            await call.answered(timeout=5)
            await until(lambda: answered and session_of(answered[0]).is_up)
            (there,) = answered
            await trio.sleep(2.1)  # The lifetime of a nonce is in whole seconds.
            call.hold()
            await until(lambda: there.held)
            call.resume()
            await until(lambda: not there.held)
            there.hold()
            await until(lambda: call.held)
            there.hang_up()
            await until(lambda: call.ended_by == "remote")
    for one, count in ((call, 5), (there, 2)):
        invites = requests(one, "INVITE")
        assert len(invites) >= count, one.ladder()  # On a slow machine nonces expire more often.
        assert "Proxy-Authorization" in invites[-1].headers
    assert all("10.1.1.10" in str(bye.uri) for bye in requests(there, "BYE"))
    assert not requests(call, "BYE")


@pytest.mark.usefixtures("strict_proxy")
async def test_an_attended_transfer_works_through_topology_hiding() -> None:
    """The Contact is only reachable through the proxy, and the REFER needs credentials as well."""
    calls: dict[str, list[Call]] = {"bob": [], "carol": []}

    async def serve(phone: Phone, name: str, nursery: trio.Nursery) -> None:
        async def answer(incoming: IncomingCall) -> None:
            async with incoming.answer() as call:
                calls[name].append(call)
                nursery.start_soon(obey, call, name)
                await call.ended()

        async for incoming in phone.incoming_calls():
            nursery.start_soon(answer, incoming)

    async def obey(call: Call, name: str) -> None:
        async for request in call.transfers():
            async with request.follow() as further:
                calls[name].append(further)
                await further.ended()

    async with AsyncExitStack() as stack:
        bob, carol, alice = [
            await stack.enter_async_context(
                open_phone(
                    account(name, "udp", STRICT_PORT, "hush"),
                    listen=("127.0.0.1", 0),
                    ports=PORTS,
                )
            )
            for name in ("bob", "carol", "alice")
        ]
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(serve, bob, "bob", nursery)
        nursery.start_soon(serve, carol, "carol", nursery)
        for phone in (bob, carol, alice):
            await phone.registered(timeout=5)
        async with alice.call("bob") as first_call, alice.call("carol") as second_call:
            await first_call.answered(timeout=5)
            await second_call.answered(timeout=5)
            await until(lambda: all(session_of(one[0]).is_up for one in calls.values()))
            await first_call.transfer_to(second_call, timeout=5)
        (at_carol,) = calls["carol"]
        await until(lambda: len(calls["bob"]) == 2 and at_carol.remote == "bob")
        assert calls["bob"][1].state == "answered"
        calls["bob"][1].hang_up()
        await until(lambda: at_carol.state == "ended")
        nursery.cancel_scope.cancel()
