"""Limits on connections, the lifetime of idle ones, and the shutdown of the server."""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from spech.descriptors import ConnectionBudget
from spech.errors import SpechError
from spech.web.connections import IDLE_SECONDS, Connections
from spech.web.data_lock import data_lock
from spech.web.http import bind
from spech.web.proxies import TrustedProxies

from .conftest import COOKIES, Exchange, Installation, ServeProcess, connect, open_page, run_server

UNFINISHED = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
HTTP2_UPGRADE = UNFINISHED + (
    b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
)
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


class Port:
    """A listener whose connections are admitted and then held."""

    def __init__(self, connections: Connections, listener: trio.SocketListener) -> None:
        self.connections = connections
        self.address = listener.socket.getsockname()[:2]
        self.trusting = False
        self.clients: list[trio.SocketStream] = []

    async def hold(self, stream: trio.SocketStream) -> None:
        with self.connections.admitted(stream) as connection:
            if connection is not None:
                if self.trusting:
                    connection.trust()
                await stream.send_all(b"+")
                await trio.sleep_forever()

    async def connect(self, source: str) -> trio.SocketStream | None:
        """A connection from that address; None if it was refused."""
        stream = await trio.open_tcp_stream(*self.address, local_address=source)
        self.clients.append(stream)
        with suppress(trio.BrokenResourceError):
            if await stream.receive_some() == b"+":
                return stream
        return None


@asynccontextmanager
async def port(
    limit: int, per_source: int, proxies: TrustedProxies | None = None
) -> AsyncIterator[Port]:
    connections = Connections(proxies, ConnectionBudget(limit, per_source))
    async with await bind("127.0.0.1", 0) as listener, trio.open_nursery() as nursery:
        port = Port(connections, listener)
        nursery.start_soon(trio.serve_listeners, port.hold, [listener])
        try:
            yield port
        finally:
            for client in port.clients:
                await client.aclose()
            nursery.cancel_scope.cancel()


async def is_closed(stream: trio.SocketStream) -> bool:
    with trio.move_on_after(0.2):
        try:
            return await stream.receive_some() == b""
        except trio.BrokenResourceError:
            return True
    return False


async def test_connections_of_a_source_are_limited() -> None:
    async with port(limit=10, per_source=2) as server:
        assert await server.connect("127.0.0.2")
        assert await server.connect("127.0.0.2")
        assert await server.connect("127.0.0.2") is None
        assert await server.connect("127.0.0.3")
        assert server.connections.refused == 1


async def test_trusted_connections_do_not_count_for_their_source() -> None:
    async with port(limit=10, per_source=2) as server:
        server.trusting = True
        for _ in range(4):
            assert await server.connect("127.0.0.2")


async def test_connections_of_a_proxy_are_not_limited() -> None:
    async with port(10, per_source=2, proxies=TrustedProxies(["127.0.0.2"])) as server:
        for _ in range(4):
            assert await server.connect("127.0.0.2")


async def test_the_oldest_untrusted_connection_is_closed_for_a_new_one() -> None:
    async with port(limit=3, per_source=2) as server:
        server.trusting = True
        owner = await server.connect("127.0.0.1")
        server.trusting = False
        strangers = [await server.connect(f"127.0.0.{source}") for source in (2, 3, 4)]
        assert None not in (owner, *strangers)
        closed = [await is_closed(each) for each in (owner, *strangers) if each is not None]
        assert closed == [False, True, False, False]


async def test_trusted_connections_are_not_closed_for_new_ones() -> None:
    async with port(limit=2, per_source=2) as server:
        server.trusting = True
        assert await server.connect("127.0.0.1")
        assert await server.connect("127.0.0.1")
        assert await server.connect("127.0.0.2") is None


@pytest.mark.parametrize("offer", [HTTP2, HTTP2_UPGRADE], ids=["at once", "upgrade"])
async def test_http2_is_refused(installation: Installation, offer: bytes) -> None:
    """A connection would have many requests at a time, and handling them delays the sound."""
    number = int(installation.url.rstrip("/").rpartition(":")[2])
    async with await trio.open_tcp_stream("127.0.0.1", number) as stream:
        await stream.send_all(offer)
        answer = b""
        with trio.fail_after(IDLE_SECONDS + 3), suppress(trio.BrokenResourceError):
            while more := await stream.receive_some():
                answer += more
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 200"))


async def test_an_unfinished_request_is_closed(installation: Installation) -> None:
    number = int(installation.url.rstrip("/").rpartition(":")[2])
    began = trio.current_time()
    async with await trio.open_tcp_stream("127.0.0.1", number) as stream:
        await stream.send_all(UNFINISHED)
        with trio.fail_after(IDLE_SECONDS + 3), suppress(trio.BrokenResourceError):
            while await stream.receive_some():
                pass
    assert trio.current_time() - began > 1


async def test_websockets_are_not_compressed(installation: Installation) -> None:
    """Compression that a client offers is refused, so that a small frame is a small message."""
    number = int(installation.url.rstrip("/").rpartition(":")[2])
    request = (
        f"GET /control HTTP/1.1\r\nHost: 127.0.0.1:{number}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Cookie: {installation.cookie}\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    )
    async with await trio.open_tcp_stream("127.0.0.1", number) as stream:
        await stream.send_all(request.encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
    assert head.startswith(b"HTTP/1.1 101")
    assert b"extensions" not in head.lower()


async def test_a_second_server_is_refused(
    installation: Installation, exchange: Exchange, data_folder: Path
) -> None:
    with pytest.RaisesGroup(
        pytest.RaisesExc(SpechError, match=rf"process {os.getpid()}\) is using .*--data"),
        flatten_subgroups=True,
    ):
        async with run_server(exchange, data_folder):
            pass
    async with open_page(installation.url) as page:
        await page.ask("save_account", **installation.settings())


def test_the_lock_is_released_with_its_process(tmp_path: Path) -> None:
    for _ in range(2):
        with data_lock(tmp_path / "data"):
            assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Lets this process open enough connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("descriptors", "strangers", "sources"), [(256, 600, 1), (1024, 2000, 1000)]
)
@pytest.mark.usefixtures("many_descriptors")
async def test_strangers_do_not_harm_calls(
    exchange: Exchange, data_folder: Path, descriptors: int, strangers: int, sources: int
) -> None:
    """Half of them begin a request, the others send nothing to the audio port."""
    with ServeProcess(data_folder, descriptors) as server:
        async with AsyncExitStack() as stack:
            page = await stack.enter_async_context(open_page(server.url))
            settings = {"server": "127.0.0.1", "port": exchange.port, "transport": "udp"}
            settings |= {"user": "alice", "password": "open-sesame-42", "codecs": ["PCMU"]}
            await page.ask("save_account", **settings)
            await page.registered()
            call = (await page.ask("dial", target="600"))["call"]
            await page.call_in_state("answered")
            grant = await page.ask("audio_ticket", call=call)
            for number in range(strangers):
                source = f"127.1.{number % sources // 250}.{number % sources % 250 + 1}"
                with suppress(OSError):
                    stranger = await trio.open_tcp_stream(
                        "127.0.0.1", (server.port, grant["port"])[number % 2], local_address=source
                    )
                    stack.push_async_callback(stranger.aclose)
                    if number % 2 == 0:
                        await stranger.send_all(UNFINISHED)
            # The audio of this call, another page and another call still work.
            audio = await stack.enter_async_context(connect(f"http://127.0.0.1:{grant['port']}/"))
            await audio.send_message(f'{{"ticket": "{grant["ticket"]}", "rate": 8000}}')
            for _ in range(25):
                await audio.get_message()
                # A quarter is reserved for calls.
                assert server.descriptors <= descriptors - descriptors // 4
            async with open_page(server.url) as another:
                second = (await another.ask("dial", target="600"))["call"]
                await another.until(
                    lambda state: any(
                        each["id"] == second and each["state"] == "answered"
                        for each in state["calls"]
                    )
                )
            states = {each["id"]: each["state"] for each in page.state["calls"]}
            assert states == {call: "answered", second: "answered"}
            for _ in range(25):
                await audio.get_message()


async def test_downloads_that_nobody_reads_do_not_delay_the_end(
    exchange: Exchange, data_folder: Path
) -> None:
    recordings = data_folder / "recordings"
    recordings.mkdir(parents=True)
    (recordings / "long.wav").write_bytes(bytes(50_000_000))
    with ServeProcess(data_folder, 1024) as server:
        async with AsyncExitStack() as stack:
            for _ in range(20):
                download = await stack.enter_async_context(
                    await trio.open_tcp_stream("127.0.0.1", server.port)
                )
                download.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                request = (
                    f"GET /recordings/long.wav HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
                    f"Cookie: {COOKIES[server.url]}\r\n\r\n"
                )
                await download.send_all(request.encode())
                assert (await download.receive_some(12)) == b"HTTP/1.1 200"
            server.process.send_signal(signal.SIGTERM)
            with trio.fail_after(6):
                status = await trio.to_thread.run_sync(server.process.wait)
            assert status == 0
