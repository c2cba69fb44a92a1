"""Connections on loopback: reuse, keepalives, breaks, and farewells on closing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from spech import Account, CallFailed, IncomingCall, Phone, PortRange, open_phone
from spech.sip.message.framing import StreamFramer
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.parser import parse
from spech.sip.transaction.flow import Flow

from ...inside import sessions_of
from ..conftest import invite, media, within

PORTS = PortRange(38_000, 38_099)
LOOPBACK = ("127.0.0.1", 0)


class Server:
    """A registrar on one TCP port that accepts everything and counts requests."""

    def __init__(self) -> None:
        self.connections: list[trio.SocketStream] = []
        self.requests: list[Request] = []
        self.pings = 0
        self.port = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections.append(stream)
        framer = StreamFramer()
        with_pings = 0
        async for data in stream:
            for message in framer.receive_data(bytes(data)):
                request = parse(message)
                assert isinstance(request, Request)
                self.requests.append(request)
                contact = ("Contact", f"{request.headers.get('Contact')};expires=300")
                answer = response_to(request, 200, headers=[contact])
                await stream.send_all(bytes(answer))
            if framer.pings != with_pings:
                self.pings += framer.pings - with_pings
                with_pings = framer.pings
                await stream.send_all(b"\r\n")

    @property
    def account(self) -> Account:
        return Account(f"sip:alice@127.0.0.1:{self.port};transport=tcp")


@asynccontextmanager
async def open_server() -> AsyncIterator[Server]:
    server = Server()
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, server.serve, listeners)
        yield server
        nursery.cancel_scope.cancel()


async def answer_all(phone: Phone) -> None:
    async def serve(incoming: IncomingCall) -> None:
        async with incoming.answer() as call:
            await call.ended()

    async with trio.open_nursery() as nursery:
        async for incoming in phone.incoming_calls():
            nursery.start_soon(serve, incoming)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_two_phones_call_each_other_over_tcp(
    host: str, transport: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with (
        open_phone(listen=(host, 0), ports=PORTS) as bob,
        open_phone(listen=(host, 0), ports=PORTS) as alice,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(answer_all, bob)
        await trio.testing.wait_all_tasks_blocked()
        at = f"[{host}]" if ":" in host else host
        async with alice.call(f"sip:bob@{at}:{bob.address[1]};transport={transport}") as call:
            await call.answered(timeout=10)
            await trio.sleep(0.1)
            assert len(bob.active_calls) == 1
        await trio.sleep(1)
        assert not bob.active_calls
        assert not sessions_of(alice)
        nursery.cancel_scope.cancel()


async def test_one_connection_carries_everything_to_a_server_and_is_kept_alive(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_server() as server:
        async with open_phone(server.account, listen=LOOPBACK, ports=PORTS) as phone:
            await phone.registered(timeout=5)
            await trio.sleep(1000)
            assert len(server.connections) == 1
            assert {one.method for one in server.requests} == {"REGISTER", "OPTIONS"}
            assert server.requests[0].via.transport == "TCP"
            contact = server.requests[0].contact
            assert contact is not None
            assert contact.uri.parameter("transport") == "tcp"
            assert server.pings >= 7
        # The binding was removed on the same connection, before the phone closed.
        assert server.requests[-1].expires == 0
        assert len(server.connections) == 1


async def test_a_broken_connection_to_the_registrar_is_reopened_after_a_pause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        open_server() as server,
        open_phone(server.account, listen=LOOPBACK, ports=PORTS) as phone,
    ):
        await phone.registered(timeout=5)
        for number, (least, most) in enumerate([(3, 5), (7, 10), (14, 20), (14, 20)], start=2):
            began = trio.current_time()
            await server.connections[-1].send_eof()
            while phone.registration.state == "registered":
                await phone.registration_changed()
            assert phone.registration.state == "registering"
            await phone.registered()
            assert least <= trio.current_time() - began <= most + 1
            assert len(server.connections) == number


async def test_a_closed_port_is_reported(autojump_clock: trio.testing.MockClock) -> None:
    async with open_server() as server:
        account = server.account
    async with open_phone(account, listen=LOOPBACK, ports=PORTS) as phone:
        with pytest.raises(Exception, match="connection refused"):
            await phone.registered(timeout=5)
        with pytest.raises(CallFailed, match="503"):
            async with phone.call("600") as call:
                await call.answered(timeout=10)


async def test_requests_pass_through_the_outbound_proxy(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_server() as server:
        proxy = f"sip:127.0.0.1:{server.port};transport=tcp"
        account = Account("sip:alice@registrar.invalid", proxy=proxy)
        async with open_phone(account, listen=LOOPBACK, ports=PORTS) as phone:
            await phone.registered(timeout=5)
        for request in server.requests:
            assert str(request.uri) == "sip:registrar.invalid"
            assert request.headers.get_all("Route") == [f"<{proxy};lr>"]
        assert len(server.requests) == 2


async def test_garbage_closes_only_its_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_phone(listen=LOOPBACK, ports=PORTS) as phone:
        for rubbish in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"x" * 70_000):
            stream = await trio.open_tcp_stream(*phone.address)
            async with stream:
                await stream.send_all(rubbish)
                with contextlib.suppress(trio.BrokenResourceError):  # Closed before all was read.
                    assert await stream.receive_some() == b""
        stream = await trio.open_tcp_stream(*phone.address)
        async with stream:
            await stream.send_all(b"\r\n\r\n")
            assert await stream.receive_some() == b"\r\n"
            # It is unused and silent, so it is closed.
            assert await stream.receive_some() == b""
            assert 90 <= trio.current_time() <= 250


@pytest.mark.parametrize("takes_tcp", [True, False])
async def test_a_request_too_long_for_udp_is_sent_over_tcp_if_possible(
    takes_tcp: bool, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 3261 18.1.1: above 1300 bytes; the Via names the transport that was used."""
    name = "A" * 1400
    seen: list[tuple[str, str]] = []

    def refuse(flow: Flow) -> None:
        raise ConnectionRefusedError

    def screen(request: Request, flow: Flow, now: float) -> None:
        seen.append((flow.transport, request.via.transport))

    async with (
        open_phone(listen=LOOPBACK, ports=PORTS, screen=screen) as bob,
        open_phone(
            Account("sip:alice@127.0.0.1", display_name=name, register=False),
            listen=LOOPBACK,
            ports=PORTS,
        ) as alice,
        trio.open_nursery() as nursery,
    ):
        if not takes_tcp:
            monkeypatch.setattr("spech.sip.transport.stream.connect", refuse)
        nursery.start_soon(answer_all, bob)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(2):
            async with alice.call(f"sip:bob@127.0.0.1:{bob.address[1]}") as call:
                await call.answered(timeout=10)
            await trio.sleep(1)
        assert not bob.active_calls
        assert not sessions_of(alice)
        nursery.cancel_scope.cancel()
    carrier = "tcp" if takes_tcp else "udp"
    assert seen == [(carrier, carrier.upper())] * 2


async def test_a_nat_is_kept_open_while_registered(autojump_clock: trio.testing.MockClock) -> None:
    """On UDP, an empty line every 25 s to the registrar."""
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as registrar:
        await registrar.bind(LOOPBACK)
        account = Account(f"sip:alice@127.0.0.1:{registrar.getsockname()[1]}")
        async with open_phone(account, listen=LOOPBACK, ports=PORTS, drain=0) as phone:
            data, source = await registrar.recvfrom(4096)
            request = parse(data)
            assert isinstance(request, Request)
            contact = ("Contact", f"{request.headers.get('Contact')};expires=300")
            await registrar.sendto(bytes(response_to(request, 200, headers=[contact])), source)
            await phone.registered()
            for number in range(1, 4):
                data = b""
                while (
                    data != b"\r\n"
                ):  # There are OPTIONS requests as well, which are not answered here.
                    data, sender = await registrar.recvfrom(4096)
                    assert sender == source
                assert trio.current_time() == pytest.approx(25 * number, abs=1)


async def test_a_response_is_sent_over_a_new_connection_after_a_break(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """RFC 3261 18.2.2: over a new connection to the address in its Via."""
    body = media("127.0.0.1", 4000)(1).offer()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    request = invite(body=body)
    headers = request.headers.set("Via", f"SIP/2.0/TCP 127.0.0.1:{port};branch=z9hG4bKgone")
    headers = headers.set("Contact", f"<sip:bob@127.0.0.1:{port};transport=tcp>")
    async with (
        listeners[0],
        open_phone(listen=LOOPBACK, ports=PORTS) as phone,
        trio.open_nursery() as nursery,
    ):

        async def answer_late() -> None:
            async for incoming in phone.incoming_calls():
                await trio.sleep(10)
                async with incoming.answer() as call:
                    await call.ended()

        nursery.start_soon(answer_late)
        await trio.testing.wait_all_tasks_blocked()
        async with await trio.open_tcp_stream(*phone.address) as stream:
            await stream.send_all(bytes(request.replace(headers=headers)))
            assert parse(bytes(await stream.receive_some())).cseq.method == "INVITE"
        async with await listeners[0].accept() as stream:
            assert 10 <= trio.current_time() <= 11
            success = parse(bytes(await stream.receive_some()))
            assert isinstance(success, Response)
            assert success.status == 200
            to = str(success.to)
            await stream.send_all(bytes(within(request, "ACK", 1, to)))
            await stream.send_all(bytes(within(request, "BYE", 2, to)))
            farewell = parse(bytes(await stream.receive_some()))
            assert isinstance(farewell, Response)
            assert (farewell.status, farewell.cseq.method) == (200, "BYE")
        assert sessions_of(phone) == ()
        nursery.cancel_scope.cancel()
