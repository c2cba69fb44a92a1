"""Requests within a dialog fail over to the next server (RFC 3263 4.3), with a real name server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Final

import pytest
import trio
import trio.testing

from spech import Account, PortRange, open_phone
from spech.sip import events
from spech.sip.call.states import SessionState
from spech.sip.message.framing import StreamFramer
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.parser import parse
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.timers import TRANSACTION_TIMEOUT
from spech.testing.wire import Peer

from ...inside import sessions_of
from ..conftest import Pair, called, invite, media, within
from ..name_server import NameServer, open_name_server, resolver_for

PORTS = PortRange(38_200, 38_299)
LOOPBACK: Final = ("127.0.0.1", 0)
#: Contact of the far end of a dialog; the two servers are interchangeable.
BY_NAME: Final = "<sip:bob@pbx.test>"


class Server:
    """One of two servers that share their state: either can answer."""

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self.port = 0
        self.contact = BY_NAME
        self.record_route: str | None = None
        self.alive = True
        #: The status for every request, instead of 200.
        self.status = 200
        self.requests: list[Request] = []
        self.connections: list[trio.SocketStream] = []

    def receive(self, data: bytes) -> bytes | None:
        if not self.alive or not data.strip():
            return None
        request = parse(data)
        if not isinstance(request, Request):
            return None
        self.requests.append(request)
        if request.method == "ACK":
            return None
        headers = [("Contact", self.contact)]
        if self.record_route is not None:
            headers.append(("Record-Route", self.record_route))
        body, kind = b"", None
        if request.method == "INVITE" and self.status == 200:
            body, _ = media("127.0.0.1", 4000)(1).receive_offer(request.body)
            kind = "application/sdp"
        response = response_to(
            request, self.status, to_tag="b1", headers=headers, body=body, content_type=kind
        )
        return bytes(response)

    def methods(self) -> list[str]:
        return [request.method for request in self.requests]

    async def serve_datagrams(self, bound: trio.socket.SocketType) -> None:
        while True:
            data, source = await bound.recvfrom(65_535)
            answer = self.receive(data)
            if answer is not None:
                await bound.sendto(answer, source)

    async def serve_stream(self, stream: trio.SocketStream) -> None:
        self.connections.append(stream)
        framer = StreamFramer()
        try:
            async for data in stream:
                for message in framer.receive_data(bytes(data)):
                    answer = self.receive(message)
                    if answer is not None:
                        await stream.send_all(answer)
        except trio.ClosedResourceError:
            pass  # It died.

    async def die(self) -> None:
        """Stop responding, and break open connections."""
        self.alive = False
        for stream in self.connections:
            await trio.aclose_forcefully(stream)


class Domain:
    """``pbx.test`` with its two servers, and the name server that knows them."""

    def __init__(self, first: Server, second: Server, names: NameServer) -> None:
        self.first = first
        self.second = second
        self.names = names

    @property
    def account(self) -> Account:
        return Account(f"sip:alice@pbx.test;transport={self.first.transport}", register=False)


@asynccontextmanager
async def open_domain(transport: str = "udp") -> AsyncIterator[Domain]:
    servers = [Server(transport), Server(transport)]
    async with AsyncExitStack() as undo:
        nursery = await undo.enter_async_context(trio.open_nursery())
        for server in servers:
            if transport == "udp":
                bound = undo.enter_context(trio.socket.socket(type=trio.socket.SOCK_DGRAM))
                await bound.bind(LOOPBACK)
                server.port = bound.getsockname()[1]
                nursery.start_soon(server.serve_datagrams, bound)
            else:
                listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
                server.port = listeners[0].socket.getsockname()[1]
                nursery.start_soon(trio.serve_listeners, server.serve_stream, listeners)
        first, second = servers
        service = f"_sip._{transport}.pbx.test."
        async with open_name_server(
            (service, "SRV", f"10 0 {first.port} a.pbx.test."),
            (service, "SRV", f"20 0 {second.port} b.pbx.test."),
            ("a.pbx.test.", "A", "127.0.0.1"),
            ("b.pbx.test.", "A", "127.0.0.1"),
            ("pbx.test.", "A", "127.0.0.9"),
        ) as names:
            yield Domain(first, second, names)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", ["contact", "route", "numeric"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_bye_goes_to_the_next_server_when_the_first_died_in_mid_call(
    transport: str, kind: str, autojump_clock: trio.testing.MockClock
) -> None:
    """The name server is silent then: a farewell never needs DNS."""
    async with open_domain(transport) as domain:
        for server in (domain.first, domain.second):
            if kind == "route":
                server.contact = "<sip:bob@192.0.2.1>"
                server.record_route = f"<sip:pbx.test;transport={transport};lr>"
            elif kind == "numeric":
                server.contact = f"<sip:bob@127.0.0.1:{domain.first.port};transport={transport}>"
        async with open_phone(
            domain.account,
            listen=LOOPBACK,
            ports=PORTS,
            resolver=resolver_for(domain.names),
            no_sound_after=1000.0,  # These servers send no sound; disable the check for it.
            give_up_after=None,
        ) as phone:
            async with phone.call("bob") as call:
                await call.answered(timeout=10)
                await trio.sleep(1)
                domain.names.silent = True
                await trio.sleep(100)  # The DNS cache is empty.
                await domain.first.die()
                asked = domain.names.asked.total()
            await trio.sleep(TRANSACTION_TIMEOUT + 5)
            assert domain.names.asked.total() == asked
            assert sessions_of(phone) == ()
        assert domain.first.methods() == ["INVITE", "ACK"]
        (bye,) = domain.second.requests
        assert bye.method == "BYE"
        assert bye.cseq.number == domain.first.requests[0].cseq.number + 1
        assert call.ended_by == "local"


async def test_after_a_failover_the_call_stays_with_the_server_that_answers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        open_domain() as domain,
        open_phone(
            domain.account,
            listen=LOOPBACK,
            ports=PORTS,
            resolver=resolver_for(domain.names),
            no_sound_after=1000.0,  # These servers send no sound; disable the check for it.
            give_up_after=None,
        ) as phone,
    ):
        async with phone.call("bob") as call:
            await call.answered(timeout=10)
            await trio.sleep(1)
            await domain.first.die()
            call.hold()
            await call.changed()
            await trio.testing.wait_all_tasks_blocked()  # The server reads the ACK.
            assert domain.second.methods() == ["INVITE", "ACK"]
            began = trio.current_time()
            call.resume()
            await call.changed()
            assert trio.current_time() == began  # Without waiting for the dead one.
        await trio.sleep(1)
        assert domain.second.methods() == ["INVITE", "ACK", "INVITE", "ACK", "BYE"]
        first, _, again, _, bye = domain.second.requests
        assert [again.cseq.number, bye.cseq.number] == [
            first.cseq.number + 1,
            first.cseq.number + 2,
        ]
        assert sessions_of(phone) == ()


async def test_a_503_leads_to_the_next_server(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_domain() as domain,
        open_phone(
            domain.account, listen=LOOPBACK, ports=PORTS, resolver=resolver_for(domain.names)
        ) as phone,
    ):
        async with phone.call("bob") as call:
            await call.answered(timeout=10)
            await trio.sleep(1)
            domain.first.status = 503
        await trio.sleep(1)
        refused, bye = domain.first.requests[-1], domain.second.requests[0]
        assert refused.method == bye.method == "BYE"
        assert refused.cseq == bye.cseq
        assert refused.via.branch != bye.via.branch
        assert sessions_of(phone) == ()


async def test_a_call_ends_locally_if_no_server_answers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The call then ends at our end nevertheless."""
    async with (
        open_domain() as domain,
        open_phone(
            domain.account, listen=LOOPBACK, ports=PORTS, resolver=resolver_for(domain.names)
        ) as phone,
    ):
        async with phone.call("bob") as call:
            await call.answered(timeout=10)
            await trio.sleep(1)
            await domain.first.die()
            await domain.second.die()
            call.hold()
            await call.ended()
        await trio.sleep(3 * TRANSACTION_TIMEOUT)
        assert sessions_of(phone) == ()


async def test_a_caller_with_a_host_name_is_resolved_for_the_bye(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Our BYE goes to the resolved address; without a response, it goes to the INVITE's source."""
    async with (
        AsyncExitStack() as undo,
        open_domain() as domain,
        open_phone(listen=LOOPBACK, ports=PORTS, resolver=resolver_for(domain.names)) as phone,
        trio.open_nursery() as nursery,
    ):
        caller = undo.enter_context(trio.socket.socket(type=trio.socket.SOCK_DGRAM))
        await caller.bind(LOOPBACK)
        port = caller.getsockname()[1]

        async def hear() -> Request | Response:
            while True:
                message = parse((await caller.recvfrom(65_535))[0])
                if isinstance(message, Request) or message.status >= 200:
                    return message

        async def answer() -> None:
            async for incoming in phone.incoming_calls():
                async with incoming.answer():
                    await trio.sleep(1)

        nursery.start_soon(answer)
        await trio.testing.wait_all_tasks_blocked()
        request = invite(body=media("127.0.0.1", 5000)(1).offer())
        headers = request.headers.set("Via", f"SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKi")
        request = request.replace(headers=headers.set("Contact", BY_NAME))
        await caller.sendto(bytes(request), phone.address)
        answered = await hear()
        ack = within(request, "ACK", 1, str(answered.to))
        await caller.sendto(bytes(ack), phone.address)
        await trio.sleep(2)
        assert domain.first.methods() == ["BYE"]
        # The second call ends when both servers of the domain are down.
        await domain.first.die()
        await domain.second.die()
        await caller.sendto(bytes(_renamed(request)), phone.address)
        answered = await hear()
        await caller.sendto(
            bytes(within(_renamed(request), "ACK", 1, str(answered.to))), phone.address
        )
        bye = await hear()
        assert isinstance(bye, Request)
        assert bye.method == "BYE"
        assert str(bye.uri) == "sip:bob@pbx.test"
        await caller.sendto(bytes(response_to(bye, 200)), phone.address)
        nursery.cancel_scope.cancel()


def _renamed(request: Request) -> Request:
    headers = request.headers.set("Call-ID", "another").set("From", "<sip:bob@pbx.test>;tag=x2")
    via = (request.headers.get("Via") or "").replace("z9hG4bKi", "z9hG4bKii")
    return request.replace(headers=headers.set("Via", via))


# ---------------------------------------------------------------------- on the wire, all of it


@contextmanager
def named(pair: Pair, sdp_answer: bytes) -> Iterator[tuple[Peer, events.HostNamed]]:
    """The test acts as Bob, who has a host name with a second server."""
    pair.call()
    second = pair.wire.peer("10.0.0.3", agent=False)
    pair.wire.run(0.1)
    request = pair.bob.take("INVITE")
    assert isinstance(request, Request)
    headers = [("Contact", BY_NAME)]
    response = response_to(
        request, 200, to_tag="b1", headers=headers, body=sdp_answer, content_type="application/sdp"
    )
    pair.bob.send(response, pair.alice)
    pair.wire.run(0.1)
    event = pair.find(pair.alice, events.HostNamed)
    assert isinstance(event, events.HostNamed)
    yield second, event


def test_an_undelivered_ack_is_sent_over_another_flow(scripted: Pair, sdp_answer: bytes) -> None:
    pair = scripted
    with named(pair, sdp_answer) as (second, event):
        dialog = event.dialog
        spare = Flow("udp", pair.alice.address, second.address)
        dialog.locate(dialog.next_hop, [dialog.flow, spare])
        assert dialog.flows == (Flow("udp", pair.alice.address, pair.bob.address), spare)
        success = next(p for p in pair.wire.log if p.kind == "200 INVITE").message
        for _ in range(3):
            pair.bob.send(success, pair.alice)
            pair.wire.run(0.1)
        first, other = pair.bob.take("ACK"), pair.bob.take("ACK")
        assert bytes(first) == bytes(other)
        elsewhere = second.take("ACK")
        assert elsewhere.cseq == first.cseq
        assert elsewhere.via.branch != first.via.branch


def test_a_dialog_over_tls_stays_on_tls(scripted: Pair, sdp_answer: bytes) -> None:
    pair = scripted
    with named(pair, sdp_answer) as (_, event):
        dialog = event.dialog
        hop = dialog.next_hop
        clear, secure = dialog.flow, Flow("tls", ("10.0.0.1", 5061), ("10.0.0.8", 5061), "pbx.test")
        dialog.set_up = (secure,)
        dialog.locate(hop, [clear])
        assert dialog.flows == (secure,)
        other = Flow("tls", ("10.0.0.1", 5061), ("10.0.0.9", 5061), "pbx.test")
        dialog.locate(hop, [other, clear])
        assert dialog.flows == (other, secure)
        dialog.locate(Uri.parse("sip:moved.test"), [clear])
        assert dialog.flows == (other, secure)


def test_an_ended_call_tries_no_further_server(scripted: Pair, sdp_answer: bytes) -> None:
    pair = scripted
    with named(pair, sdp_answer) as (second, event):
        spare = Flow("udp", pair.alice.address, second.address)
        event.dialog.locate(event.dialog.next_hop, [event.dialog.flow, spare])
        (session,) = pair.alice.agent.sessions
        session.hold(pair.wire.now)
        pair.wire.run(0.1)
        ack = pair.bob.take("ACK")
        pair.ask("BYE", ack)
        pair.wire.run(TRANSACTION_TIMEOUT + 10)
        assert pair.ended(pair.alice).by == "remote"
        assert second.inbox == []


def test_a_refresh_through_another_server_is_answered(scripted: Pair) -> None:
    """The same CSeq with another branch: their first server died after forwarding it."""
    pair = scripted
    body = media("10.0.0.2", 5000)(1).offer()
    request = invite(body=body)
    session = called(pair, request).session
    session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    success = pair.bob.take("200 INVITE")
    pair.bob.send(within(request, "ACK", 1, str(success.to)), pair.alice)
    for branch in ("first", "second"):
        update = within(request, "UPDATE", 2, str(success.to))
        headers = update.headers.set("Via", f"SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bK{branch}")
        pair.bob.send(update.replace(headers=headers), pair.alice)
        pair.wire.run(0.1)
        pair.bob.take("200 UPDATE")
    assert session.state is SessionState.CONFIRMED


async def test_calls_prefer_the_server_that_we_are_registered_with(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The first server is dead, which is detected once, not with each call."""
    async with open_domain() as domain:
        await domain.first.die()
        domain.second.contact = "<sip:bob@pbx.test>;expires=300"
        account = Account("sip:alice@pbx.test")
        async with open_phone(
            account, listen=LOOPBACK, ports=PORTS, resolver=resolver_for(domain.names)
        ) as phone:
            await phone.registered(timeout=TRANSACTION_TIMEOUT + 1)
            began = trio.current_time()
            async with phone.call("bob") as call:
                await call.answered(timeout=1)
            assert trio.current_time() == began
            await trio.sleep(1)
        assert "INVITE" in domain.second.methods()
        assert domain.first.requests == []
