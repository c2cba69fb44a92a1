"""Calls over WebSockets, and how both ends of a bridge close."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from spech import CallFailed, LocalProtocolError, Phone, PortRange, open_phone
from spech.bridge.bridge import Bridge, WebSocketUrl
from spech.testing.audio import assert_tone, sine
from spech.testing.talk import talk

PORTS = PortRange(34400, 34499)

Program = Callable[[WebSocketConnection], Awaitable[None]]


class Bridged:
    """A bridge that accepts calls, and a phone to call it with."""

    def __init__(self, phone: Phone, address: str) -> None:
        self.phone = phone
        self.address = address
        self.lines: list[str] = []
        self._said = trio.Event()

    def report(self, line: str) -> None:
        self.lines.append(line)
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
    async def serve(request: WebSocketRequest) -> None:
        connection = await request.accept()
        with suppress(ConnectionClosed):
            await program(connection)

    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_websocket, serve, "127.0.0.1", 0, context))
        yield f"ws://127.0.0.1:{server.port}/sound"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def bridged(url: str, *, rate: int | None = None) -> AsyncIterator[Bridged]:
    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as answering,
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as calling,
        trio.open_nursery() as nursery,
    ):
        result = Bridged(calling, f"sip:bot@127.0.0.1:{answering.address[1]}")
        bridge = Bridge(WebSocketUrl.parse(url), rate=rate, report=result.report)
        nursery.start_soon(bridge.serve, answering)
        await trio.testing.wait_all_tasks_blocked()
        yield result
        nursery.cancel_scope.cancel()


async def echo(connection: WebSocketConnection) -> None:
    await connection.get_message()
    while True:
        await connection.send_message(await connection.get_message())


async def test_sound_is_carried_in_both_directions() -> None:
    async with (
        websocket_server(echo) as url,
        bridged(url) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        with call.open_audio() as port:
            heard = await talk(port, sine(1000, 8000, 1, level=-20), 1.5)
    assert_tone(heard[4800:], 8000, 1000, level=-20)


async def test_the_first_message_describes_the_call_and_its_format() -> None:
    received: list[str | bytes] = []
    enough = trio.Event()

    async def listen(connection: WebSocketConnection) -> None:
        for _ in range(10):
            received.append(await connection.get_message())
        enough.set()
        await connection.get_message()

    async with (
        websocket_server(listen) as url,
        bridged(url, rate=16000) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        with trio.fail_after(5):
            await enough.wait()
        introduction, *sound = received
        assert isinstance(introduction, str)
        assert json.loads(introduction) == {
            "call_id": call.call_id,
            "caller": "spech",
            "called": "bot",
            "codec": "PCMU",
            "rate": 16000,
            "frame_samples": 320,
        }
        assert {len(frame) for frame in sound} == {640}


async def test_pcm_is_resampled_to_the_programs_rate() -> None:
    heard = bytearray()
    enough = trio.Event()

    async def listen(connection: WebSocketConnection) -> None:
        await connection.get_message()
        while len(heard) < 48000:
            message = await connection.get_message()
            assert isinstance(message, bytes)
            heard.extend(message)
        enough.set()
        await connection.get_message()

    async with (
        websocket_server(listen) as url,
        bridged(url, rate=16000) as bridge,
        bridge.phone.call(bridge.address) as call,
        trio.open_nursery() as nursery,
    ):
        await call.answered(timeout=5)
        with call.open_audio() as port:
            nursery.start_soon(talk, port, sine(600, 8000, 1), 60)
            with trio.fail_after(5):
                await enough.wait()
            nursery.cancel_scope.cancel()
    assert_tone(bytes(heard[16000:]), 16000, 600)


async def test_the_websocket_closes_when_the_caller_hangs_up() -> None:
    closed = trio.Event()

    async def listen(connection: WebSocketConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                await connection.get_message()
        assert connection.closed is not None
        assert connection.closed.code == 1000
        closed.set()

    async with websocket_server(listen) as url, bridged(url) as bridge:
        async with bridge.phone.call(bridge.address) as call:
            await call.answered(timeout=5)
        with trio.fail_after(5):
            await closed.wait()
        line = await bridge.line()
    assert line.startswith("spech -> bot: PCMU, ")
    assert line.endswith(" s, they hung up")


@pytest.mark.parametrize("politely", [True, False])
async def test_the_call_ends_when_the_websocket_closes(politely: bool) -> None:
    async def leave(connection: WebSocketConnection) -> None:
        for _ in range(5):
            await connection.get_message()
        if not politely:
            await connection._close_stream()  # as in a crash of the program

    async with (
        websocket_server(leave) as url,
        bridged(url) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        with trio.fail_after(5):
            await call.ended()
        assert call.ended_by == "remote"
        assert (await bridge.line()).endswith("the WebSocket closed")


async def test_without_a_websocket_the_call_is_rejected() -> None:
    with trio.socket.socket() as nobody:
        await nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        async with (
            bridged(f"ws://127.0.0.1:{port}/") as bridge,
            bridge.phone.call(bridge.address) as call,
        ):
            with pytest.raises(CallFailed) as failed:
                await call.answered(timeout=5)
            line = await bridge.line()
    assert failed.value.status == 503
    assert f"rejected with 503: no WebSocket at ws://127.0.0.1:{port}/" in line


async def test_a_refused_websocket_rejects_the_call() -> None:
    async def refuse(request: WebSocketRequest) -> None:
        await request.reject(404, body=b"no such bot")

    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_websocket, refuse, "127.0.0.1", 0, None))
        async with (
            bridged(f"ws://127.0.0.1:{server.port}/") as bridge,
            bridge.phone.call(bridge.address) as call,
        ):
            with pytest.raises(CallFailed) as failed:
                await call.answered(timeout=5)
        nursery.cancel_scope.cancel()
    assert failed.value.status == 503


async def test_half_samples_and_text_are_not_played() -> None:
    async def babble(connection: WebSocketConnection) -> None:
        await connection.get_message()
        while True:
            await connection.send_message(b"\x00" * 3)
            await connection.send_message("well")
            await connection.send_message(await connection.get_message())

    async with (
        websocket_server(babble) as url,
        bridged(url) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        with call.open_audio() as port:
            heard = await talk(port, sine(1000, 8000, 1), 1.5)
    assert_tone(heard[4800:], 8000, 1000)


def certificate(directory: Path) -> Path:
    """A certificate for localhost, signed by itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = directory / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


async def test_sound_is_carried_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)

    async with websocket_server(echo, context) as url:
        secure = url.replace("ws://127.0.0.1", "wss://localhost")
        async with (
            bridged(secure) as bridge,
            bridge.phone.call(bridge.address) as call,
        ):
            await call.answered(timeout=5)
            with call.open_audio() as port:
                heard = await talk(port, sine(1000, 8000, 1), 1.5)
        assert_tone(heard[4800:], 8000, 1000)


@pytest.mark.parametrize(
    "url", ["http://example.org/", "ws:///path", "bot", "ws://example.org:99999/"]
)
def test_invalid_websocket_urls_are_refused(url: str) -> None:
    with pytest.raises(LocalProtocolError):
        WebSocketUrl.parse(url)


def test_websocket_urls_are_parsed() -> None:
    assert WebSocketUrl.parse("ws://[::1]:9000/a?b=c") == WebSocketUrl(
        "::1", 9000, "/a?b=c", tls=False
    )
    assert WebSocketUrl.parse("wss://bots.example.org") == WebSocketUrl(
        "bots.example.org", 443, "/", tls=True
    )
    assert str(WebSocketUrl.parse("ws://[::1]:9000/a")) == "ws://[::1]:9000/a"


@asynccontextmanager
async def bridge_command(*options: str, port: int = 0) -> AsyncIterator[tuple[trio.Process, str]]:
    """`spech bridge` with a program that echoes, and the address to call."""
    async with websocket_server(echo) as url, trio.open_nursery() as nursery:
        command = [sys.executable, "-m", "spech", "bridge", "--listen", f"127.0.0.1:{port}"]
        run = partial(
            trio.run_process,
            [*command, "--websocket", url, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=False,
        )
        process: trio.Process = await nursery.start(run)
        assert process.stdout is not None
        greeting = b""
        with trio.fail_after(10):
            while not greeting.endswith(b"\n"):
                greeting += await process.stdout.receive_some()
        yield process, f"sip:bot@{greeting.decode().split()[-1]}"
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_every_call_with_a_bye(number: signal.Signals) -> None:
    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as phone,
        bridge_command() as (process, bot),
        phone.call(bot) as one,
        phone.call(bot) as two,
        phone.call(bot) as three,
    ):
        for call in (one, two, three):
            await call.answered(timeout=5)
        process.send_signal(number)
        with trio.fail_after(5):
            for call in (one, two, three):
                await call.ended()
                assert call.ended_by == "remote"
            assert await process.wait() == 0


async def test_a_call_beyond_the_limit_is_refused_with_503() -> None:
    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as phone,
        bridge_command("--max-calls", "1") as (_, bot),
        phone.call(bot) as one,
    ):
        await one.answered(timeout=5)
        async with phone.call(bot) as two:
            with pytest.raises(CallFailed) as refused:
                await two.answered(timeout=5)
            assert refused.value.status == 503
        assert one.state == "answered"


async def test_a_restarted_bridge_ends_the_calls_of_its_killed_predecessor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as phone,
        bridge_command(port=34498) as (process, bot),
        phone.call(bot) as call,
    ):
        await call.answered(timeout=5)
        process.kill()
        await process.wait()
        async with bridge_command(port=34498):
            with trio.fail_after(5):
                await call.ended()
            assert call.ended_by == "remote"
