"""The headers that a dialled address may request, and the caller of a call."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from spech import Account, CallFailed, LocalProtocolError, Phone, PortRange, open_phone
from spech.sip.dialog.digest import DigestServer, DigestVerdict
from spech.sip.message.headers import AuthHeader
from spech.sip.message.message import Request, Response, response_to
from spech.sip.transaction.flow import Flow

PORTS = PortRange(37_540, 37_579)
LOOPBACK = ("127.0.0.1", 0)
PASSWORD = "hush-hush"


class Server:
    """Challenges requests, then refuses with 486."""

    def __init__(self) -> None:
        self.invites: list[Request] = []
        self._digest = DigestServer("spech", random.Random(1), 60)

    def __call__(self, request: Request, flow: Flow, now: float) -> Response | None:
        if request.method != "INVITE":
            return None
        value = request.headers.get("Authorization")
        if value is not None:
            given = AuthHeader.parse(value)
            if self._digest.verify(given, request.method, PASSWORD, now) is DigestVerdict.OK:
                self.invites.append(request)
                return response_to(request, 486, to_tag="s")
        challenges = [("WWW-Authenticate", str(one)) for one in self._digest.challenge(now)]
        return response_to(request, 401, headers=challenges, to_tag="s")


@asynccontextmanager
async def open_pair() -> AsyncIterator[tuple[Server, Phone, str]]:
    """A server, the phone of an account there, and the server's address."""
    server = Server()
    async with open_phone(listen=LOOPBACK, screen=server) as exchange:
        domain = f"127.0.0.1:{exchange.address[1]}"
        account = Account(f"sip:alice@{domain}", password=PASSWORD, register=False)
        async with open_phone(account, listen=LOOPBACK, ports=PORTS) as phone:
            yield server, phone, domain


async def refused(phone: Phone, target: str, caller: str | None = None) -> int:
    """The status that a call is refused with."""
    async with phone.call(target, caller=caller) as call:
        with pytest.raises(CallFailed) as error:
            await call.answered(5)
    return error.value.status


async def test_harmless_headers_of_a_uri_are_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_pair() as (server, phone, domain):
        target = f"sip:600@{domain}?X-Foo=bar%20baz&Subject=hi&user-to-user=00;encoding=hex"
        assert await refused(phone, target) == 486
        (invite,) = server.invites
        assert str(invite.uri) == f"sip:600@{domain}"
        assert str(invite.to.uri) == f"sip:600@{domain}"
        assert invite.headers.get("X-Foo") == "bar baz"
        assert invite.headers.get("Subject") == "hi"
        assert invite.headers.get("User-to-User") == "00;encoding=hex"


@pytest.mark.parametrize(
    "asked",
    [
        "From=sip:boss@example.org",
        "Route=%3csip:evil.example.org%3e",
        "Subject=hi&Contact=x",
        "body=hello",
        "Authorization=Digest",
        "=x",
        "X-A=b%0d%0aRoute:%20%3csip:evil%3e",
        "X-%20=b",
    ],
)
@pytest.mark.parametrize("act", ["call", "send"])
async def test_other_headers_of_a_uri_are_refused(asked: str, act: str) -> None:
    async with open_pair() as (server, phone, domain):
        target = f"sip:600@{domain}?{asked}"
        if act == "send" and not asked.startswith("X-"):
            with pytest.raises(LocalProtocolError, match="header field"):
                await phone.send_message(target, "hi")
        elif act == "call":
            with pytest.raises(LocalProtocolError, match=r"header|control character"):
                async with phone.call(target):
                    pass
        assert server.invites == []


async def test_a_method_in_a_uri_is_refused() -> None:
    async with open_pair() as (_, phone, domain):
        with pytest.raises(LocalProtocolError, match="method"):
            async with phone.call(f"sip:600@{domain};method=BYE"):
                pass


@pytest.mark.parametrize(
    ("caller", "name", "user"),
    [
        ("sip:desk@example.org", None, "desk@example.org"),
        ("bob", None, "bob@HERE"),
        ('"Bob B." <sip:bob@example.org>', "Bob B.", "bob@example.org"),
        ("Bob <sip:bob@example.org>", "Bob", "bob@example.org"),
        ("desk@example.org", None, "desk@example.org"),
    ],
)
async def test_another_caller_uses_the_accounts_password(
    autojump_clock: trio.testing.MockClock, caller: str, name: str | None, user: str
) -> None:
    async with open_pair() as (server, phone, domain):
        assert await refused(phone, "600", caller) == 486
        (invite,) = server.invites
        assert (invite.from_.display_name or None) == name
        assert str(invite.from_.uri) == f"sip:{user}".replace("HERE", domain)
        assert 'username="alice"' in (invite.headers.get("Authorization") or "")


@pytest.mark.parametrize("caller", ["", "<sip:>", "<tel:1>", "sip:", '"Bob <sip:x@y', "<x> <y>"])
async def test_an_invalid_caller_is_refused(caller: str) -> None:
    async with open_pair() as (server, phone, _):
        with pytest.raises(LocalProtocolError):
            async with phone.call("600", caller=caller):
                pass
        assert server.invites == []
