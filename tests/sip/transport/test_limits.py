"""Connections from strangers are limited. They end no call and prevent none."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from spech import PortRange, open_phone
from spech.descriptors import ConnectionBudget
from spech.sip.transport import connections
from spech.sip.transport.hosts import LocalHosts
from spech.testing.waiting import until

from ...inside import endpoint_of
from .test_connections import answer_all

PORTS = PortRange(38_100, 38_199)
LOOPBACK = ("127.0.0.1", 0)


@asynccontextmanager
async def connected(address: tuple[str, int], source: str) -> AsyncIterator[trio.SocketStream]:
    """A TCP connection to ``address`` from the loopback address ``source``."""
    with trio.socket.socket() as opened:
        await opened.bind((source, 0))
        await opened.connect(address)
        yield trio.SocketStream(opened)


async def is_open(stream: trio.SocketStream) -> bool:
    """Whether the other end answers a ping (RFC 5626 3.5.1)."""
    try:
        await stream.send_all(b"\r\n\r\n")
        return await stream.receive_some() == b"\r\n"
    except trio.BrokenResourceError:
        return False


@pytest.fixture
def budget(monkeypatch: pytest.MonkeyPatch) -> ConnectionBudget:
    """The budget of every phone of a test: 10 connections, 4 a source."""
    budget = ConnectionBudget(10, per_source=4)
    monkeypatch.setattr(connections, "connection_budget", lambda kind: budget)
    return budget


async def test_one_source_cannot_take_more_than_its_share(
    budget: ConnectionBudget, caplog: pytest.LogCaptureFixture
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        phone = await stack.enter_async_context(open_phone(listen=LOOPBACK, ports=PORTS))
        flood = [
            await stack.enter_async_context(connected(phone.address, "127.0.0.2")) for _ in range(7)
        ]
        assert [await is_open(one) for one in flood] == [True] * 4 + [False] * 3
        other = await stack.enter_async_context(connected(phone.address, "127.0.0.3"))
        assert await is_open(other)
        await flood[0].aclose()
        await until(lambda: budget.count == 4)
        again = await stack.enter_async_context(connected(phone.address, "127.0.0.2"))
        assert await is_open(again)
    assert [record.message for record in caplog.records if "refused" in record.message] == [
        "refused a connection from 127.0.0.2: too many are open (logged once)"
    ]
    assert budget.count == 0


async def test_a_new_connection_replaces_the_longest_idle_one(
    budget: ConnectionBudget,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        phone = await stack.enter_async_context(open_phone(listen=LOOPBACK, ports=PORTS))
        flood = [
            await stack.enter_async_context(connected(phone.address, f"127.0.0.{number}"))
            for number in range(2, 14)
        ]
        assert [await is_open(one) for one in flood] == [False] * 2 + [True] * 10


async def test_a_connection_with_a_call_is_neither_closed_nor_counted_against_its_source(
    budget: ConnectionBudget,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        bob = await stack.enter_async_context(open_phone(listen=LOOPBACK, ports=PORTS))
        alice = await stack.enter_async_context(open_phone(listen=LOOPBACK, ports=PORTS))
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(answer_all, bob)
        await trio.testing.wait_all_tasks_blocked()
        target = f"sip:bob@127.0.0.1:{bob.address[1]};transport=tcp"
        call = await stack.enter_async_context(alice.call(target))
        await call.answered(timeout=5)
        for number in range(30):
            stream = await stack.enter_async_context(
                connected(bob.address, f"127.0.0.{2 + number % 15}")
            )
            assert await is_open(stream)
        own = [
            await stack.enter_async_context(connected(bob.address, "127.0.0.1")) for _ in range(5)
        ]
        assert [await is_open(one) for one in own] == [True] * 4 + [False]
        call.hang_up()
        with trio.fail_after(5):
            await bob.active_calls[0].ended()
        assert call.status == 200
        nursery.cancel_scope.cancel()


def test_the_default_address_is_used_without_free_descriptors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hosts = LocalHosts("0.0.0.0")
    known = hosts.towards("127.0.0.9")

    def refuse(*arguments: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("socket.socket", refuse)
        assert hosts.towards("127.0.0.9") == known
        assert hosts.towards("127.0.0.8").count(".") == 3
        assert not hosts.changed("127.0.0.9", known)
    assert hosts.towards("127.0.0.8") == "127.0.0.1"


OPTIONS = (
    "OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK{0}\r\n"
    "From: <sip:b@127.0.0.1>;tag=1\r\nTo: <sip:a@127.0.0.1>\r\nCall-ID: {0}\r\n"
    "CSeq: 1 OPTIONS\r\n\r\n"
)


async def test_datagrams_of_known_peers_are_handled_first_under_overload() -> None:
    async with open_phone(listen=LOOPBACK, ports=PORTS) as phone:
        agent = endpoint_of(phone).agent
        agent.is_known_peer = lambda host: host == "127.0.0.3"
        with (
            trio.socket.socket(type=trio.socket.SOCK_DGRAM) as stranger,
            trio.socket.socket(type=trio.socket.SOCK_DGRAM) as peer,
        ):
            await stranger.bind(("127.0.0.2", 0))
            await peer.bind(("127.0.0.3", 0))
            await trio.testing.wait_all_tasks_blocked()
            with socket.socket(fileno=os.dup(stranger.fileno())) as sender:
                for number in range(200):  # The phone does not run meanwhile.
                    sender.sendto(OPTIONS.format(number).encode(), phone.address)
            with socket.socket(fileno=os.dup(peer.fileno())) as sender:
                for number in range(200, 230):
                    sender.sendto(OPTIONS.format(number).encode(), phone.address)
            with trio.fail_after(5):
                for number in range(200, 230):
                    assert f"Call-ID: {number}\r\n".encode() in await peer.recv(4096)
                for number in range(64):
                    assert f"Call-ID: {number}\r\n".encode() in await stranger.recv(4096)
            assert agent.dropped["overload"] == 200 - 64


ECHO_DIGITS = """
import trio
from spech import CallEnded, PortRange, open_phone

async def serve(incoming):
    try:
        async with incoming.answer() as call:
            while True:
                call.send_dtmf(await call.collect_digits(1, terminator=None))
    except* CallEnded:
        pass

async def main():
    async with open_phone(listen=("127.0.0.1", 0), ports=PortRange(38_200, 38_299)) as phone:
        async with trio.open_nursery() as nursery:
            print(phone.address[1], flush=True)
            async for incoming in phone.incoming_calls():
                nursery.start_soon(serve, incoming)

trio.run(main)
"""


async def test_strangers_cannot_take_the_descriptors_that_calls_need() -> None:
    """500 connections at ``ulimit -n 256``: the call that is up goes on, new ones succeed."""
    command = ["sh", "-c", 'ulimit -n 256; exec "$0" -c "$1"', sys.executable, ECHO_DIGITS]
    child = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        port = int(await child.stdout.receive_some())
        await _flood_during_a_call(("127.0.0.1", port))
    finally:
        child.kill()
        with trio.CancelScope(shield=True):
            await child.wait()


async def _flood_during_a_call(address: tuple[str, int]) -> None:
    rng = random.Random(1)
    async with contextlib.AsyncExitStack() as stack:
        phone = await stack.enter_async_context(open_phone(listen=LOOPBACK, ports=PORTS))
        target = f"sip:echo@127.0.0.1:{address[1]}"
        call = await stack.enter_async_context(phone.call(target))
        await call.answered(timeout=10)
        for number in range(500):
            source = f"127.0.{rng.randint(1, 200)}.{number % 250 + 1}"
            with contextlib.suppress(OSError):
                await stack.enter_async_context(connected(address, source))
        for uri in (target, f"{target};transport=tcp"):
            for _ in range(3):
                new = await stack.enter_async_context(phone.call(uri))
                await new.answered(timeout=10)
        assert call.state == "answered"
        call.send_dtmf("5")
        with trio.fail_after(10):
            assert await call.collect_digits(1, terminator=None) == "5"
