"""A front and two workers in one process, in virtual time: everything real but the processes."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from spech import Account, CallFailed, IncomingCall, Phone, PortRange, open_phone
from spech.front.channel import Channel
from spech.front.front import Front, open_front
from spech.front.messages import StopWorker, ToFront, ToWorker, WorkerReady, WorkerWelcome
from spech.front.worker import open_line
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.uri import Uri
from spech.sip.resolver import Resolver
from spech.sip.transaction.flow import Flow, Outgoing, Target
from spech.sip.transport import Arrival
from spech.sip.transport.connections import ConnectionTransport
from spech.sip.transport.udp import UdpTransport

from ..inside import endpoint_of, sessions_of
from ..sip.registrar import Registrar

PORTS = PortRange(34_800, 34_899)
LOOPBACK = ("127.0.0.1", 0)
Serve = Callable[[IncomingCall], Awaitable[object]]


class Fronted:
    """A front, and the phones of its workers."""

    def __init__(self, front: Front, nursery: trio.Nursery, account: Account | None) -> None:
        self.front = front
        self.workers: dict[int, Phone] = {}
        self.lost: list[int] = []
        self._nursery = nursery
        self._account = None if account is None else replace(account, register=False)
        self._scopes: dict[int, trio.CancelScope] = {}

    @property
    def bot(self) -> str:
        return f"sip:bot@127.0.0.1:{self.front.address[1]}"

    def start(
        self, index: int, callers: Any, serve: Serve | None = None, journal: Path | None = None
    ) -> None:
        """Start a worker, which answers its calls, or serves them otherwise."""
        ours, theirs = socket.socketpair()
        seat = self.front.seats[index]
        self._nursery.start_soon(self.front.attend, seat, Channel[ToFront](ours, ToFront))
        self._scopes[index] = trio.CancelScope()
        options = {"callers": callers, "journal": journal}
        channel = Channel[ToWorker](theirs, ToWorker)
        self._nursery.start_soon(self._work, index, channel, serve or answer, options)

    async def _work(
        self, index: int, channel: Channel[ToWorker], serve: Serve, options: dict[str, Any]
    ) -> None:
        with self._scopes[index]:
            line = await open_line(channel, lambda: self.lost.append(index))
            async with (
                open_phone(self._account, ports=PORTS, shared=line, **options) as phone,
                trio.open_nursery() as nursery,
            ):
                self.workers[index] = phone
                nursery.start_soon(phone.serve, serve)
                await trio.testing.wait_all_tasks_blocked()
                line.ready()
                await trio.sleep_forever()

    def kill(self, index: int) -> None:
        """Cut a worker off: what it still says reaches nobody."""
        channel = self.front.seats[index].channel
        assert channel is not None
        channel.close()

    def calls(self) -> list[int]:
        """How many calls each worker has."""
        return [len(sessions_of(self.workers[index])) for index in sorted(self.workers)]


async def answer(incoming: IncomingCall) -> None:
    async with incoming.answer() as call:
        await call.ended()


@asynccontextmanager
async def fronted(
    account: Account | None = None, callers: Any = (), max_calls: int | None = None
) -> AsyncIterator[Fronted]:
    async with (
        trio.open_nursery() as nursery,
        open_front(
            account, workers=2, listen=LOOPBACK, callers=callers, max_calls=max_calls
        ) as front,
    ):
        made = Fronted(front, nursery, account)
        for index in (0, 1):
            made.start(index, callers)
        with trio.fail_after(5):
            await front.started()
        yield made
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def a_phone(host: str = "127.0.0.1", **options: Any) -> AsyncIterator[Phone]:
    async with open_phone(listen=(host, 0), ports=PORTS, **options) as phone:
        yield phone


async def refusal(phone: Phone, target: str) -> int:
    async with phone.call(target) as call:
        with pytest.raises(CallFailed) as refused:
            await call.answered(timeout=40)
    return refused.value.status


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_calls_come_by_the_transport_of_the_front(
    autojump_clock: trio.testing.MockClock, transport: str
) -> None:
    async with fronted() as made, a_phone() as phone:
        target = f"{made.bot};transport={transport}"
        async with phone.call(target) as one, phone.call(target) as two:
            await one.answered(timeout=5)
            await two.answered(timeout=5)
            assert made.calls() == [1, 1]
            for worker in made.workers.values():
                (session,) = sessions_of(worker)
                assert session.dialog is not None
                assert session.dialog.flow.transport == transport
                # The flow is the front's, with the real address of the caller.
                assert session.dialog.flow.local == ("127.0.0.1", made.front.address[1])
            await trio.sleep(0.1)
            assert len(made.front.flows_in_use) == 1
            assert made.front.is_known("127.0.0.1")
            (theirs,) = made.workers[0].active_calls
            theirs.hang_up()
            await theirs.ended()
            await trio.sleep(0.1)
            ended = [call.state for call in (one, two)]
            assert sorted(ended) == ["answered", "ended"]
        await trio.sleep(40)
        assert made.calls() == [0, 0]
        assert not made.front.flows_in_use
        assert not made.front.is_known("127.0.0.1")


async def test_workers_learn_how_the_front_is_registered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    registrar = Registrar()
    registrar.password = "secret"
    invites: list[Request] = []
    host = ""

    def screen(request: Request, flow: Flow, now: float) -> Response | None:
        if request.method == "INVITE":
            invites.append(request)
            return response_to(request, 486)
        response = registrar(request, flow, now)
        if response is None or response.status != 200:
            return response
        # The address that it sees, as behind a NAT, and the way of later requests.
        via = re.sub("rport=[0-9]+", "rport=9999", str(request.via))
        via = re.sub("received=[0-9.]+", "received=198.51.100.7", via)
        headers = response.headers.set("Via", via)
        return response.replace(headers=headers.add("Service-Route", f"<sip:{host};lr;edge>"))

    async with a_phone(screen=screen) as server:
        host = f"127.0.0.1:{server.address[1]}"
        account = Account(f"sip:alice@{host}", password="secret")
        async with fronted(account) as made:
            await made.front.registered(5)
            assert made.front.ready
            await trio.sleep(0.1)
            # A challenge, its answer, and again with the address that the registrar has seen.
            registered = len(registrar.seen)
            assert registered in (3, 4)
            for worker in made.workers.values():
                assert worker.registration.state == "off"
                assert endpoint_of(worker).agent.registered_at("127.0.0.1")
                assert await refusal(worker, f"sip:bob@{host}") == 486
            for invite in invites:
                assert invite.headers.get_all("Route") == [f"<sip:{host};lr;edge>"]
                assert invite.contact is not None
                assert str(invite.contact.uri) == "sip:alice@198.51.100.7:9999"
            assert len(invites) == 2
            # Where a worker gets no answer from the registrar, the front registers again.
            with endpoint_of(made.workers[1]).command() as (agent, now):
                flow = next(iter(endpoint_of(made.workers[1]).flows_in_use()))
                agent.doubt(flow, now)
            await trio.sleep(0.1)
            assert len(registrar.seen) > registered


async def test_what_cannot_be_sent_fails_in_the_worker_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(LOOPBACK)
        port = closed.getsockname()[1]
    async with fronted() as made:
        began = trio.current_time()
        for transport in ("udp", "tcp"):
            target = f"sip:nobody@127.0.0.1:{port};transport={transport}"
            assert await refusal(made.workers[0], target) == 503
        assert trio.current_time() - began < 1


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_farewell_that_cannot_be_sent_is_not_repeated(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    async with (
        fronted() as made,
        a_phone() as phone,
        phone.call(f"{made.bot};transport={transport}") as call,
    ):
        await call.answered(timeout=5)
        (worker,) = [one for one in made.workers.values() if sessions_of(one)]
        tried: list[Flow] = []

        def refuse(carrier: object, outgoing: Outgoing) -> bool:
            assert outgoing.data.startswith(b"BYE ")
            tried.append(outgoing.flow)
            return False

        with monkeypatch.context() as patch:
            for carrier in (UdpTransport, ConnectionTransport):
                patch.setattr(carrier, "send", refuse)
            worker.active_calls[0].hang_up()
            await trio.sleep(1)
        assert not sessions_of(worker)
        # Each way once: without their connection, the address in their Contact is tried.
        assert tried
        assert len(tried) == len(set(tried))


async def test_strangers_and_nonsense_do_not_reach_the_workers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        fronted(callers=("127.0.0.1",)) as made,
        a_phone("127.0.0.9") as stranger,
        a_phone() as friend,
    ):
        arrived: list[bytes] = []
        for worker in made.workers.values():
            endpoint = endpoint_of(worker)
            endpoint.receive_arrivals = _spying(endpoint.receive_arrivals, arrived)  # type: ignore[method-assign]
        assert await refusal(stranger, made.bot) == 403
        answered = await stranger.options(made.bot)
        assert answered.status == 200
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
            raw.bind(("127.0.0.1", 0))
            lines = "Via: SIP/2.0/UDP 127.0.0.1:{};branch=z9hG4bK{}\r\nFrom: <sip:a@b>;tag=1\r\n"
            head = lines.format(raw.getsockname()[1], "x")
            for text in (
                "nonsense",
                f"INVITE sip:bot@b SIP/2.0\r\n{head}CSeq: 1 INVITE\r\n\r\n",
                f"BYE sip:bot@b SIP/2.0\r\n{head}To: <sip:c@d>;tag=2\r\nCall-ID: x\r\n"
                "CSeq: 1 BYE\r\nMax-Forwards: 70\r\n\r\n",
                f"SIP/2.0 200 OK\r\n{head}To: <sip:c@d>;tag=2\r\nCall-ID: x\r\n"
                "CSeq: 1 INVITE\r\n\r\n",
            ):
                raw.sendto(text.encode(), made.front.address)
            await trio.sleep(0.1)
            raw.setblocking(False)
            replies = [raw.recv(4096).split(b"\r\n")[0] for _ in range(2)]
            assert sorted(line[:11] for line in replies) == [b"SIP/2.0 400", b"SIP/2.0 481"]
        assert arrived == []
        async with friend.call(made.bot) as call:
            await call.answered(timeout=5)
        assert arrived


def _spying(
    receive: Callable[[Sequence[Arrival]], None], seen: list[bytes]
) -> Callable[[Sequence[Arrival]], None]:
    def spy(arrivals: Sequence[Arrival]) -> None:
        seen.extend(data for data, _ in arrivals)
        receive(arrivals)

    return spy


async def test_a_new_worker_knows_the_addresses_of_allowed_names(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts, asked = ["127.0.0.5"], 0

    async def resolve(resolver: Resolver, uri: Uri, transport: str | None = None) -> list[Target]:
        nonlocal asked
        if uri.host != "trunk.test":
            return await usual(resolver, uri, transport)
        asked += 1
        await trio.sleep(1)  # The name server is slow.
        return [Target("udp", (host, 5060), uri.host) for host in hosts]

    usual = Resolver.resolve
    monkeypatch.setattr(Resolver, "resolve", resolve)
    allowed = ("trunk.test",)
    async with (
        fronted(callers=allowed) as made,
        a_phone("127.0.0.5") as trunk,
        a_phone("127.0.0.6") as second,
    ):
        assert await refusal(trunk, made.bot) == 403
        await trio.sleep(2)
        made.kill(0)
        made.kill(1)
        await trio.testing.wait_all_tasks_blocked(0.01)
        made.start(0, allowed)
        await trio.testing.wait_all_tasks_blocked(0.01)
        async with trunk.call(made.bot) as call:
            await call.answered(timeout=5)
        assert await refusal(second, made.bot) == 403
        # The front has looked it up, for all, and does so again.
        assert asked == 1
        hosts.append("127.0.0.6")
        await trio.sleep(302)
        assert asked == 2
        async with second.call(made.bot) as call:
            await call.answered(timeout=5)


async def test_the_limit_holds_for_all_workers(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        fronted(max_calls=2) as made,
        a_phone() as phone,
        phone.call(made.bot) as one,
        phone.call(made.bot) as two,
    ):
        # A call that rings counts as well.
        assert await refusal(phone, made.bot) == 503
        assert (await phone.options(made.bot)).status == 503
        await one.answered(timeout=5)
        await two.answered(timeout=5)


async def test_a_worker_that_is_gone_leaves_its_calls_to_the_front(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with fronted() as made, a_phone() as phone:
        async with phone.call(made.bot) as one, phone.call(made.bot) as two:
            await one.answered(timeout=5)
            await two.answered(timeout=5)
            made.kill(0)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert made.lost == [0]
            assert list(made.front.loads) == [1]
            async with phone.call(made.bot) as three:
                await three.answered(timeout=5)
            for call in (one, two):
                call.hang_up()
                await call.ended()
            await trio.sleep(0.1)
            answers = [call.ladder().rpartition("── BYE")[2] for call in (one, two)]
            assert sum("481 Call" in answer for answer in answers) == 1
            assert sum("200 OK (BYE)" in answer for answer in answers) == 1
        made.kill(1)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not made.front.ready
        assert await refusal(phone, made.bot) == 503
        assert (await phone.options(made.bot)).status == 503
        made.start(0, ())
        await trio.testing.wait_all_tasks_blocked(0.01)
        async with phone.call(made.bot) as call:
            await call.answered(timeout=5)


async def ring(incoming: IncomingCall) -> None:
    await incoming.ended()


def an_invite(target: str, call_id: str) -> bytes:
    """From a phone behind a NAT: nothing listens at the port of its Via."""
    via = f"SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK{call_id}"
    sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    sdp += "m=audio 40000 RTP/AVP 0\r\n"
    head = f"INVITE {target} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\n"
    head += f"From: <sip:x@127.0.0.1>;tag=1\r\nTo: <{target}>\r\nCall-ID: {call_id}\r\n"
    head += "CSeq: 1 INVITE\r\nContact: <sip:x@127.0.0.1:9;transport=tcp>\r\n"
    head += f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n"
    return (head + sdp).encode()


async def statuses(stream: trio.SocketStream, seconds: float) -> list[int]:
    """Of the responses that come within some seconds."""
    data = b""
    with trio.move_on_after(seconds):
        while part := await stream.receive_some():
            data += part
    return [int(status) for status in re.findall(rb"SIP/2\.0 ([0-9]+) ", data)]


async def test_the_farewell_of_a_dead_worker_comes_by_the_connection_that_is_open(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with fronted() as made:
        made.kill(0)
        made.kill(1)
        await trio.testing.wait_all_tasks_blocked(0.01)
        made.start(0, (), ring, tmp_path / "journal")
        await trio.testing.wait_all_tasks_blocked(0.01)
        async with await trio.open_tcp_stream(*made.front.address) as stream:
            await stream.send_all(an_invite(made.bot, "a"))
            assert 180 in await statuses(stream, 0.2)
            shutil.copyfile(tmp_path / "journal", tmp_path / "left")
            made.kill(0)
            await trio.testing.wait_all_tasks_blocked(0.01)
            made.start(0, (), ring, tmp_path / "left")
            assert await statuses(stream, 0.2) == [480]


async def test_an_invite_that_a_dead_worker_has_not_read_is_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with fronted() as made, await trio.open_tcp_stream(*made.front.address) as stream:
        made.kill(0)
        await trio.testing.wait_all_tasks_blocked(0.01)
        ours, theirs = socket.socketpair()
        async with trio.open_nursery() as nursery:
            seat, channel = made.front.seats[0], Channel[ToFront](ours, ToFront)
            nursery.start_soon(made.front.attend, seat, channel)
            with theirs:
                Channel[ToWorker](theirs, ToWorker).send(WorkerReady())
                await trio.testing.wait_all_tasks_blocked(0.01)
                made.kill(1)
                await trio.testing.wait_all_tasks_blocked(0.01)
                await stream.send_all(an_invite(made.bot, "a"))
                assert await statuses(stream, 0.2) == []
            assert await statuses(stream, 0.2) == [503]


@pytest.mark.parametrize("data", [b"\x92\xa3New\x01", b"\x01"])
async def test_a_worker_that_is_not_understood_ends_alone(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    async with fronted() as made, a_phone() as phone, phone.call(made.bot) as call:
        await call.answered(timeout=5)
        free = made.calls().index(0)
        made.kill(free)
        await trio.testing.wait_all_tasks_blocked(0.01)
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.send(len(data).to_bytes(4, "big") + data)
            # It returns, so that the process is ended and started again.
            await made.front.attend(made.front.seats[free], Channel[ToFront](ours, ToFront))
        assert f"worker {free} is not understood" in caplog.text
        assert call.state == "answered"


async def test_a_channel_that_fails_ends_its_worker_alone(
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with fronted() as made:
        made.kill(1)
        await trio.testing.wait_all_tasks_blocked(0.01)
        ours, theirs = socket.socketpair()
        channel = Channel[ToFront](ours, ToFront)

        async def fail() -> None:
            raise MemoryError

        monkeypatch.setattr(channel, "receive_some", fail)
        with theirs:
            await made.front.attend(made.front.seats[1], channel)
        assert "the channel of worker 1 has failed" in caplog.text


async def test_draining_waits_for_calls_on_their_way_to_a_worker(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with fronted() as made, a_phone() as phone, phone.call(made.bot) as call:
        while not sum(made.front.loads.values()):
            await trio.lowlevel.checkpoint()
        await made.front.drain()
        assert call.state == "answered"


async def test_a_worker_that_starts_while_all_stop_is_not_killed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    killed: list[int] = []
    async with fronted() as made:
        made.kill(1)
        await trio.testing.wait_all_tasks_blocked(0.01)
        seat = made.front.seats[1]
        ours, theirs = socket.socketpair()

        async def keep() -> None:
            with made.front.occupied(seat, lambda: killed.append(1)):
                await made.front.attend(seat, Channel[ToFront](ours, ToFront))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep)
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.start_soon(made.front.stop)
            await trio.testing.wait_all_tasks_blocked(0.01)
            successor = Channel[ToWorker](theirs, ToWorker)
            told = await successor.receive_some()
            assert told is not None
            assert [type(one) for one in told] == [WorkerWelcome, StopWorker]
            await trio.sleep(5)
            assert not killed
            with theirs:  # It has said its farewells, and ends.
                pass
