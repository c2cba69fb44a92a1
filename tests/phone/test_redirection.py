"""Redirections use the account's proxy and transport (RFC 3261 8.1.3.4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from spech import Account, CallFailed, PortRange, open_phone
from spech.sip.message.framing import StreamFramer
from spech.sip.message.message import Request, response_to
from spech.sip.message.parser import parse

PORTS = PortRange(38_300, 38_399)
LOOPBACK = ("127.0.0.1", 0)


class Proxy:
    """Redirects calls for bob to ``moved``, and refuses the rest; challenges requests."""

    def __init__(self) -> None:
        self.port = 0
        self.moved = ""
        self.invites: list[Request] = []

    async def serve(self, stream: trio.SocketStream) -> None:
        framer = StreamFramer()
        async for data in stream:
            for message in framer.receive_data(bytes(data)):
                request = parse(message)
                if isinstance(request, Request) and request.method == "INVITE":
                    self.invites.append(request)
                    status, headers = self.answer(request)
                    response = response_to(request, status, to_tag="p", headers=headers)
                    await stream.send_all(bytes(response))

    def answer(self, request: Request) -> tuple[int, list[tuple[str, str]]]:
        if request.uri.user == "bob":
            return 302, [("Contact", f"<{self.moved}>")]
        if "Proxy-Authorization" not in request.headers:
            challenge = 'Digest realm="here", nonce="abc", algorithm=MD5, qop="auth"'
            return 407, [("Proxy-Authenticate", challenge)]
        return 486, []


@asynccontextmanager
async def open_proxy() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, proxy.serve, listeners)
        yield proxy
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("moved", ["sip:carol@example.invalid", "sip:carol@home.invalid"])
async def test_a_redirected_call_uses_the_accounts_proxy(
    moved: str, autojump_clock: trio.testing.MockClock
) -> None:
    """The proxy is in the Route and gets our credentials, whatever the new target."""
    async with open_proxy() as proxy:
        proxy.moved = moved
        route = f"sip:127.0.0.1:{proxy.port};transport=tcp"
        account = Account("sip:alice@home.invalid", password="x", proxy=route, register=False)
        async with open_phone(account, listen=LOOPBACK, ports=PORTS) as phone:
            with pytest.raises(CallFailed, match="486"):
                async with phone.call("bob") as call:
                    await call.answered(timeout=10)
        assert [str(request.uri) for request in proxy.invites] == [
            "sip:bob@home.invalid",
            moved,
            moved,
        ]
        for request in proxy.invites:
            assert request.headers.get_all("Route") == [f"<{route};lr>"]


async def test_a_redirected_call_uses_the_accounts_transport(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """In the account's own domain, at its port."""
    async with open_proxy() as server:
        server.moved = "sip:carol@127.0.0.1"
        account = Account(
            f"sip:alice@127.0.0.1:{server.port}", password="x", transport="tcp", register=False
        )
        async with open_phone(account, listen=LOOPBACK, ports=PORTS) as phone:
            with pytest.raises(CallFailed, match="486"):
                async with phone.call("bob") as call:
                    await call.answered(timeout=10)
        assert [request.uri.user for request in server.invites] == ["bob", "carol", "carol"]
        assert {request.via.transport for request in server.invites} == {"TCP"}
