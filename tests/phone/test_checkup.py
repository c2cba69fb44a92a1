"""A check-up tells apart what may be wrong with an account: servers on loopback, virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from spech import Account, LocalProtocolError, RequestFailed, open_phone
from spech.phone.checkup import Step, open_checkup
from spech.sip.message.message import Request, response_to
from spech.sip.message.parser import parse
from spech.sip.resolver import Resolver

from ..sip.name_server import open_name_server, resolver_for

LOOPBACK = ("127.0.0.1", 0)
CHALLENGE = ("WWW-Authenticate", 'Digest realm="pbx.test", nonce="n", algorithm=MD5')
CALM = {"REGISTER": 200, "OPTIONS": 200}


@asynccontextmanager
async def open_registrar(statuses: dict[str, int]) -> AsyncIterator[int]:
    """A server that answers each method with its status, others not at all; yields its port."""
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as bound:
        await bound.bind(LOOPBACK)

        async def serve() -> None:
            while True:
                data, source = await bound.recvfrom(65_535)
                request = parse(data) if data.strip() else None
                if isinstance(request, Request) and request.method in statuses:
                    status = statuses[request.method]
                    headers = [CHALLENGE] if status == 401 else []
                    if status == 200 and request.contact is not None:
                        headers = [("Contact", f"<{request.contact.uri}>;expires=300")]
                    answer = response_to(request, status, to_tag="t", headers=headers)
                    await bound.sendto(bytes(answer), source)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield bound.getsockname()[1]
            nursery.cancel_scope.cancel()


async def check(
    account: Account, echo: str | None = None, resolver: Resolver | None = None
) -> list[Step]:
    async with open_checkup(account, echo=echo, resolver=resolver) as steps:
        return [step async for step in steps]


@pytest.mark.parametrize(
    ("status", "password", "text", "advice"),
    [
        (401, "wrong", "does not accept the user or the password", "capitals matter"),
        (401, None, "asks for a password", "Set the password"),
        (403, "wrong", "forbids this account to register", "active"),
        (404, "wrong", "does not know this user or domain", "Check the user and the server"),
        (503, "wrong", "out of order", "Try again later"),
        (488, "wrong", "refused the registration", "Ask the provider"),
    ],
)
async def test_refusals_of_the_registrar_are_told_apart(
    autojump_clock: trio.testing.MockClock,
    status: int,
    password: str | None,
    text: str,
    advice: str,
) -> None:
    async with open_registrar({"REGISTER": status}) as port:
        steps = await check(Account(f"sip:alice@127.0.0.1:{port}", password=password))
    assert [(step.name, step.passed) for step in steps] == [
        ("name", True),
        ("connection", True),
        ("registration", False),
    ]
    assert text in steps[-1].text
    assert str(status) in steps[-1].text
    assert advice in steps[-1].advice


async def test_a_silent_server_is_not_reached(autojump_clock: trio.testing.MockClock) -> None:
    async with open_registrar({}) as port:
        steps = await check(Account(f"sip:alice@127.0.0.1:{port}"))
    assert [(step.name, step.passed) for step in steps] == [("name", True), ("connection", False)]
    assert "did not answer within 10 s" in steps[-1].text


async def test_an_account_that_does_not_register_is_registered_for_the_check_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_registrar(CALM) as port:
        steps = await check(Account(f"sip:alice@127.0.0.1:{port}", register=False))
    assert [step.name for step in steps] == ["name", "connection", "registration", "options"]
    assert all(step.passed and not step.advice for step in steps)


async def test_the_echo_is_called_even_if_options_are_not_answered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_registrar({"REGISTER": 200, "INVITE": 486, "ACK": 200}) as port:
        steps = await check(Account(f"sip:alice@127.0.0.1:{port}"), echo="600")
    assert [(step.name, step.passed) for step in steps[2:]] == [
        ("registration", True),
        ("options", False),
        ("echo", False),
    ]
    assert "486" in steps[-1].text


async def test_the_servers_behind_a_name_are_shown(autojump_clock: trio.testing.MockClock) -> None:
    async with open_registrar(CALM) as port:
        records = [
            ("_sip._udp.pbx.test.", "SRV", f"0 0 {port} one.pbx.test."),
            ("one.pbx.test.", "A", "127.0.0.1"),
        ]
        async with open_name_server(*records) as names:
            account = Account("sip:alice@pbx.test", transport="udp")
            steps = await check(account, resolver=resolver_for(names))
            unknown = await check(Account("sip:alice@pbx.nowhere"), resolver=resolver_for(names))
    assert steps[0].text == f"pbx.test leads to udp:127.0.0.1:{port}"
    assert all(step.passed for step in steps)
    assert [(step.name, step.passed) for step in unknown] == [("name", False)]
    assert "'pbx.nowhere' is unknown" in unknown[0].text


async def test_the_proxy_of_the_account_is_checked(autojump_clock: trio.testing.MockClock) -> None:
    async with open_registrar(CALM) as port:
        steps = await check(Account("sip:alice@pbx.test", proxy=f"sip:127.0.0.1:{port}"))
    assert steps[0].text == f"127.0.0.1 leads to udp:127.0.0.1:{port}"
    assert all(step.passed for step in steps)


async def test_a_refused_connection_is_told_from_a_silent_one() -> None:
    with trio.socket.socket() as closed:
        await closed.bind(LOOPBACK)
        port = closed.getsockname()[1]
        steps = await check(Account(f"sip:alice@127.0.0.1:{port}", transport="tcp"))
    assert steps[-1].name == "connection"
    assert steps[-1].text == f"tcp:127.0.0.1:{port} refuses the connection"


async def test_a_check_up_may_be_left_at_any_step(autojump_clock: trio.testing.MockClock) -> None:
    for count in range(4):
        async with (
            open_registrar(CALM) as port,
            open_checkup(Account(f"sip:alice@127.0.0.1:{port}")) as steps,
        ):
            for _ in range(count):
                await anext(steps)


async def test_a_ping_is_answered_or_fails(autojump_clock: trio.testing.MockClock) -> None:
    for statuses, expected in (({"OPTIONS": 200}, 200), ({"OPTIONS": 405}, 405), ({}, None)):
        async with open_registrar(statuses) as port:
            account = Account(f"sip:alice@127.0.0.1:{port}", register=False)
            async with open_phone(account, listen=LOOPBACK) as phone:
                if expected is not None:
                    assert await phone.ping() == expected
                    continue
                with pytest.raises(RequestFailed) as failed:
                    await phone.ping()
                assert failed.value.status == 408
    async with open_phone(listen=LOOPBACK) as phone:
        with pytest.raises(LocalProtocolError, match="no account"):
            await phone.ping()
