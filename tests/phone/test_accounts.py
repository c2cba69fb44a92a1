"""Several accounts at once: each its own phone, in one program."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
import trio.testing

from spech import Account, CallFailed, IncomingCall, Phone, PortRange, open_phone
from spech.sip.message.message import Request, Response, response_to
from spech.sip.transaction.flow import Flow

PORTS = PortRange(37_340, 37_399)
LOOPBACK = ("127.0.0.1", 0)
USERS = ("alice", "bob", "carol", "dave")


class Registrar:
    """Accepts all users except those in ``refused``; records when each registered, in seconds."""

    def __init__(self) -> None:
        self.asked: dict[str, list[float]] = {}
        self.refused: set[str] = set()

    def __call__(self, request: Request, flow: Flow, now: float) -> Response | None:
        if request.method != "REGISTER":
            return None
        user = request.to.uri.user or ""
        self.asked.setdefault(user, []).append(now)
        if user in self.refused:
            return response_to(request, 503)
        contact = ("Contact", f"{request.headers.get('Contact')};expires=300")
        return response_to(request, 200, headers=[contact])


@asynccontextmanager
async def open_accounts() -> AsyncIterator[tuple[Registrar, dict[str, Phone]]]:
    registrar = Registrar()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(open_phone(listen=LOOPBACK, screen=registrar))
        phones = {}
        for number, user in enumerate(USERS):
            opening = open_phone(
                Account(f"sip:{user}@127.0.0.1:{server.address[1]}"),
                listen=LOOPBACK,
                ports=PORTS,
                rng=random.Random(number),
            )
            phones[user] = await stack.enter_async_context(opening)
        for phone in phones.values():
            await phone.registered(timeout=5)
        yield registrar, phones


async def test_registrations_are_refreshed_in_time_but_not_simultaneously(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_accounts() as (registrar, phones):
        await trio.sleep(3600)
        assert {phone.registration.state for phone in phones.values()} == {"registered"}
        for asked in registrar.asked.values():
            pauses = [after - before for before, after in itertools.pairwise(asked)]
            assert len(pauses) >= 13
            assert all(0.69 * 300 <= pause <= 0.86 * 300 for pause in pauses)
        latest = sorted(asked[-1] for asked in registrar.asked.values())
        assert min(b - a for a, b in itertools.pairwise(latest)) > 0.5


async def test_a_refused_account_does_not_affect_the_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_accounts() as (registrar, phones):
        registrar.refused.add("bob")
        while phones["bob"].registration.state == "registered":
            await phones["bob"].registration_changed()
        others = [phone for user, phone in phones.items() if user != "bob"]
        assert phones["bob"].registration.status == 503
        await trio.sleep(600)
        assert {phone.registration.state for phone in others} == {"registered"}
        assert phones["bob"].registration.state == "failed"
        registrar.refused.clear()
        await phones["bob"].registration_changed()
        assert phones["bob"].registration.state == "registered"


async def test_each_account_has_its_own_calls_and_identity(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_accounts() as (_, phones), trio.open_nursery() as nursery:
        heard: dict[str, str] = {}

        async def answer(user: str, phone: Phone) -> None:
            async def serve(incoming: IncomingCall) -> None:
                heard[user] = incoming.caller_number
                async with incoming.answer() as call:
                    await call.ended()

            async for incoming in phone.incoming_calls():
                nursery.start_soon(serve, incoming)

        for user, phone in phones.items():
            nursery.start_soon(answer, user, phone)
        await trio.testing.wait_all_tasks_blocked()
        for caller, called in (("alice", "bob"), ("bob", "carol"), ("carol", "dave")):
            target = f"sip:{called}@127.0.0.1:{phones[called].address[1]}"
            async with phones[caller].call(target) as call:
                await call.answered(timeout=5)
        assert heard == {"bob": "alice", "carol": "bob", "dave": "carol"}
        nursery.cancel_scope.cancel()


async def test_calls_follow_the_service_route(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """RFC 3608: the first of them receives the call, whatever its target."""
    seen: list[Request] = []

    def edge(request: Request, flow: Flow, now: float) -> Response:
        seen.append(request)
        return response_to(request, 486)

    async with open_phone(listen=LOOPBACK, screen=edge) as server:
        route = f"<sip:127.0.0.1:{server.address[1]};lr>"

        def registrar(request: Request, flow: Flow, now: float) -> Response:
            contact = ("Contact", f"{request.headers.get('Contact')};expires=300")
            return response_to(request, 200, headers=[contact, ("Service-Route", route)])

        async with open_phone(listen=LOOPBACK, screen=registrar) as home:
            account = Account(f"sip:alice@127.0.0.1:{home.address[1]}")
            async with open_phone(account, listen=LOOPBACK, ports=PORTS) as phone:
                await phone.registered(timeout=5)
                for target in ("600", "sip:bob@elsewhere.invalid"):
                    async with phone.call(target) as call:
                        with pytest.raises(CallFailed, match="486"):
                            await call.answered(timeout=5)
    assert [request.uri.user for request in seen] == ["600", "bob"]
    assert [request.headers.get_all("Route") for request in seen] == [[route], [route]]
