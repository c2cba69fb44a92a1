"""Workers that hang or do not keep up, and callers who make them so, in virtual time."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress

import pytest
import trio
import trio.testing

from spech.front.channel import Channel
from spech.front.messages import ToFront, ToWorker, WorkerReady
from spech.sip.transaction.flow import Flow

from .test_front import Fronted, a_phone, fronted


@asynccontextmanager
async def deaf_worker(made: Fronted, index: int) -> AsyncIterator[list[float]]:
    """In the place of a worker, a process that is ready and reads nothing; when it is killed."""
    made.kill(index)
    await trio.testing.wait_all_tasks_blocked(0.01)
    seat = made.front.seats[index]
    killed: list[float] = []
    ours, theirs = socket.socketpair()
    with theirs, made.front.occupied(seat, lambda: killed.append(trio.current_time())):
        Channel[ToWorker](theirs, ToWorker).send(WorkerReady())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.front.attend, seat, Channel[ToFront](ours, ToFront))
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert seat.ready
            yield killed


async def test_a_worker_that_hangs_is_ended(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with fronted() as made:
        began = trio.current_time()
        async with deaf_worker(made, 1) as killed:
            pass
        (at,) = killed
        assert 10 <= at - began < 16
        assert "worker 1 hangs" in caplog.text
        assert made.lost == [1]
        # The other one has answered, and a control plane that does not is not waited for.
        await trio.sleep(60)
        assert [seat.ready for seat in made.front.seats] == [True, False]
        assert await made.front.seats[0].ask("GET", "/calls", b"", [], b"") is None


async def test_a_flood_for_a_worker_that_does_not_keep_up_is_dropped(
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with fronted() as made, a_phone() as phone, deaf_worker(made, 1) as killed:
        front, seat = made.front, made.front.seats[1]
        monkeypatch.setattr("spech.front.channel._MOST_WAITING", 2 << 20)
        front._placement.note_sent(1, b"OPTIONS sip:a@b SIP/2.0\r\nCall-ID: x\r\n\r\n")
        flood = (
            b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKx\r\n"
            b"From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: x\r\n"
            b"CSeq: 1 OPTIONS\r\n\r\n" + bytes(60_000)
        )
        flow = Flow("udp", front.address, ("127.0.0.1", 5060))
        # All of it is taken: the front answers none of it itself.
        assert all(front.takes(flood, flow, 0.0) for _ in range(100))
        front.refused(flood, flow.remote)
        assert front._endpoint.agent.dropped["worker behind"] > 60
        assert caplog.text.count("worker 1 does not keep up") == 1
        assert seat.channel is not None
        assert seat.channel.pending
        assert list(front.loads) == [0]
        for _ in range(2):
            async with phone.call(made.bot) as call:
                await call.answered(timeout=5)
        assert not killed


async def test_a_worker_that_hangs_gets_no_more_calls(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        fronted() as made,
        a_phone() as phone,
        deaf_worker(made, 0) as killed,
        AsyncExitStack() as stack,
    ):
        calls = [await stack.enter_async_context(phone.call(made.bot)) for _ in range(2)]
        await trio.sleep(3)
        assert sorted(call.state for call in calls) == ["answered", "trying"]
        for _ in range(4):
            call = await stack.enter_async_context(phone.call(made.bot))
            await call.answered(timeout=5)
        assert made.calls() == [0, 5]
        assert not killed
        # Its process is ended, and the next copy of the INVITE goes to the other one.
        await trio.sleep(15)
        assert killed
        assert [call.state for call in calls] == ["answered", "answered"]


@contextmanager
def a_socket() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
        raw.bind(("127.0.0.1", 0))
        yield raw


def invite(
    raw: socket.socket, call_id: str, branch: str, tag: str = "a", via: str | None = None
) -> bytes:
    port = raw.getsockname()[1]
    body = (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        "m=audio 40000 RTP/AVP 0\r\n"
    )
    via = via or f"SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{branch}"
    return (
        f"INVITE sip:bot@127.0.0.1 SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\n"
        f"From: <sip:x@127.0.0.1>;tag={tag}\r\nTo: <sip:bot@127.0.0.1>\r\n"
        f"Call-ID: {call_id}\r\nCSeq: 1 INVITE\r\nContact: <sip:x@127.0.0.1:{port}>\r\n"
        f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def test_invites_that_nobody_can_answer_take_no_room(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with fronted(max_calls=4) as made, a_phone() as phone:
        with a_socket() as raw:
            for number in range(8):
                raw.sendto(invite(raw, f"v{number}", "x", via="nonsense"), made.front.address)
            # The worker takes these for copies of the first.
            for number in range(8):
                raw.sendto(invite(raw, f"c{number}", "same"), made.front.address)
                await trio.sleep(0.1)
            await trio.sleep(3)
            # One call rings in each worker, and nothing else counts.
            assert made.calls() == [1, 1]
            assert made.front.loads == {0: 1, 1: 1}
            async with phone.call(made.bot) as call:
                await call.answered(timeout=5)


async def test_the_limit_holds_for_calls_with_one_call_id(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with fronted(max_calls=2) as made:
        with a_socket() as raw:
            for number in range(2):
                raw.sendto(invite(raw, f"c{number}", f"a{number}"), made.front.address)
                await trio.sleep(0.1)
            assert sum(made.calls()) == 2
            for number in range(2):
                raw.sendto(invite(raw, f"c{number}", f"b{number}", "b"), made.front.address)
                # A copy reaches its worker none the less.
                raw.sendto(invite(raw, f"c{number}", f"a{number}"), made.front.address)
                await trio.sleep(0.1)
            assert sum(made.calls()) == 2
            raw.setblocking(False)
            statuses = []
            with suppress(BlockingIOError):
                while True:
                    statuses.append(raw.recv(65_535)[8:11])
            assert statuses.count(b"503") == 2
