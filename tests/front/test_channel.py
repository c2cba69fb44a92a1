"""Messages between two processes, over a pair of sockets."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from spech.errors import RemoteProtocolError
from spech.front.channel import Channel
from spech.front.messages import (
    FlowBroken,
    FlowOffered,
    MessageArrived,
    MessageSent,
    RegistrationNews,
    SessionNews,
    ToFront,
    ToWorker,
    WorkerReady,
    WorkerWelcome,
)
from spech.sip.transaction.flow import Flow
from spech.testing.waiting import until

FLOW = Flow("tls", ("192.0.2.1", 5061), ("2001:db8::1", 40_000), "example.org").record


def pair() -> tuple[Channel[ToFront], Channel[ToWorker]]:
    ours, theirs = socket.socketpair()
    return Channel[ToFront](ours, ToFront), Channel[ToWorker](theirs, ToWorker)


async def test_messages_arrive_whole_and_in_order() -> None:
    front, worker = pair()
    received: list[object] = []
    registration = RegistrationNews([FLOW], FLOW, ("198.51.100.1", 5060), ["<sip:edge;lr>"])
    told = [
        WorkerWelcome(
            1, 4, [("udp", ("::", 5060)), ("udp", ("0.0.0.0", 5060))], registration, [FLOW], []
        ),
        MessageArrived(bytes(range(256)), FLOW),
        FlowBroken(FLOW, "closed by the other end"),
    ]
    reported = [
        WorkerReady(),
        MessageSent(b"x" * 3_000_000, FLOW),  # More than the sockets take at once.
        SessionNews("call", "tag", None, up=False, over=False),
        FlowOffered(FLOW, None),
        SessionNews("call", "tag", FLOW, up=True, over=True),
    ]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(front.run, received.append)
        nursery.start_soon(worker.run, received.append)
        for message in told:
            front.send(message)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert received == told
        received.clear()
        for message in reported:
            worker.send(message)
        assert worker.pending
        await until(lambda: len(received) == len(reported))
        assert not worker.pending
        # Flows are the same values again: what is sent on one finds its connection.
        assert received == reported
        worker.close()
    worker.send(WorkerReady())  # It is lost, without an error.
    assert not worker.pending


async def test_a_process_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spech.front.channel._MOST_WAITING", 1 << 20)
    front, worker = pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(front.run, lambda message: None)
        for _ in range(40):
            front.send(MessageArrived(bytes(50_000), FLOW))
        # The nursery ends: the channel is closed.
    with trio.fail_after(5):
        await worker.run(lambda message: None)  # Until it has read the end.


async def test_another_version_of_the_program_is_noticed() -> None:
    ours, theirs = socket.socketpair()
    front = Channel[ToFront](ours, ToFront)
    with theirs:
        theirs.send(len(b"\x93\xa3New\x01\x02").to_bytes(4, "big") + b"\x93\xa3New\x01\x02")
        with pytest.raises(RemoteProtocolError):
            await front.run(lambda message: None)
