"""Bots, and a bridge to them with a phone that calls it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from spech import IncomingCall, Phone, PortRange, open_phone
from spech.bridge.bridge import Bridge
from spech.bridge.records import CallRecord
from spech.bridge.routes import Routes
from spech.bridge.url import WebSocketUrl
from spech.testing.certificates import self_signed

PORTS = PortRange(34400, 34499)

Program = Callable[[WebSocketConnection], Awaitable[None]]


class Bridged:
    """A bridge that accepts calls, and a phone to call it with."""

    def __init__(self, phone: Phone, answering: Phone) -> None:
        self.phone = phone
        self.served: Bridge
        self.also: Callable[[CallRecord], object] = lambda record: None
        self.answering = answering
        self.address = f"sip:bot@127.0.0.1:{answering.address[1]}"
        self.alice = f"sip:alice@127.0.0.1:{phone.address[1]}"
        self.lines: list[str] = []
        self.stages: list[str] = []
        self.records: list[CallRecord] = []
        self._said = trio.Event()

    def report(self, record: CallRecord) -> None:
        self.stages.append(record.state)
        if record.state != "ended":
            return
        self.records.append(record)
        self.lines.append(record.summary)
        self.also(record)
        self._said.set()

    async def line(self) -> str:
        """The bridge's summary of its first call."""
        with trio.fail_after(5):
            await self._said.wait()
        return self.lines[0]


@asynccontextmanager
async def websocket_server(
    program: Program, context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A server of bots; yields its address."""

    async def serve(request: WebSocketRequest) -> None:
        offered = request.proposed_subprotocols
        connection = await request.accept(subprotocol=offered[0] if offered else None)
        with suppress(ConnectionClosed):
            await program(connection)

    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_websocket, serve, "127.0.0.1", 0, context))
        yield f"ws://127.0.0.1:{server.port}/sound"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def bridged(url: str, *, rate: int | None = None, **options: Any) -> AsyncIterator[Bridged]:
    """A bridge to that address, and a phone that calls it. For the options see ``Bridge``."""
    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as answering,
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as calling,
        trio.open_nursery() as nursery,
    ):
        result = Bridged(calling, answering)
        options.setdefault("routes", Routes(default=WebSocketUrl.parse(url)))
        result.served = Bridge(rate=rate, report=result.report, **options)
        nursery.start_soon(result.served.serve, answering)
        await trio.testing.wait_all_tasks_blocked()
        yield result
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def ringing(phone: Phone) -> AsyncIterator[trio.MemoryReceiveChannel[IncomingCall]]:
    """The calls to a phone, for a block."""
    arrivals_in, arrivals = trio.open_memory_channel[IncomingCall](10)

    async def receive() -> None:
        async for incoming in phone.incoming_calls():
            arrivals_in.send_nowait(incoming)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        with trio.fail_after(15):
            yield arrivals
        nursery.cancel_scope.cancel()


def trusting(path: Path) -> ssl.SSLContext:
    """TLS for a server with that certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    return context


async def crash(connection: WebSocketConnection) -> None:
    """End the connection without a Close, as the crash of a program does."""
    await connection._close_stream()


async def read_start(connection: WebSocketConnection) -> None:
    """Take the messages up to the first frame of sound."""
    while isinstance(await connection.get_message(), str):
        pass


async def keep_silent(connection: WebSocketConnection) -> None:
    """Hear the caller out, and say nothing."""
    while True:
        await connection.get_message()


async def echo(connection: WebSocketConnection) -> None:
    await connection.get_message()
    while True:
        await connection.send_message(await connection.get_message())


def certificate(directory: Path) -> Path:
    """A certificate for localhost, signed by itself, with its key, in one file."""
    signed, key = self_signed("localhost")
    path = directory / "certificate.pem"
    path.write_bytes(key + signed)
    return path
