"""Bots that flood, freeze, die, send nonsense, or never accept: each costs its own call at most."""

from __future__ import annotations

import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trio
from trio_websocket import WebSocketConnection, WebSocketRequest, serve_websocket
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Ping, Request

from spech import CallFailed
from spech.bridge import link
from spech.bridge.access import Access
from spech.bridge.audiosocket import open_audiosocket
from spech.bridge.link import LinkFailed, open_link
from spech.bridge.url import WebSocketUrl
from spech.testing.audio import assert_tone, sine, write_wav
from spech.testing.talk import hear_tone, talk

from .bots import bridged, certificate, crash, echo, read_start, trusting, websocket_server

Program = Callable[[trio.abc.Stream, WSConnection], Awaitable[None]]
SILENCE = np.zeros(8000, np.int16)


@asynccontextmanager
async def bare_server(
    program: Program, context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A server that does the handshake and then what ``program`` does with the stream."""

    async def serve(stream: trio.abc.Stream) -> None:
        if context is not None:
            stream = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        websocket = WSConnection(ConnectionType.SERVER)
        request = None
        while not isinstance(request, Request):
            websocket.receive_data(bytes(await stream.receive_some()))
            request = next(websocket.events())
        await stream.send_all(websocket.send(AcceptConnection()))
        await program(stream, websocket)

    with trio.socket.socket() as listening:
        # What a frozen bot does not read fills this first.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        async with trio.open_nursery() as nursery:
            listener = trio.SocketListener(listening)
            nursery.start_soon(trio.serve_listeners, serve, [listener])
            yield f"{'ws' if context is None else 'wss'}://localhost:{port}/"
            nursery.cancel_scope.cancel()


async def freeze(stream: trio.abc.Stream, websocket: WSConnection) -> None:
    """Never read again."""
    await trio.sleep_forever()


@pytest.mark.parametrize("chunk", [48000, 333])
async def test_speech_that_comes_at_once_is_heard_whole(chunk: int) -> None:
    """As text-to-speech sends it: three seconds in messages of 96 kB, or of 333 bytes."""
    sound = sine(1000, 16000, 3, level=-12).tobytes()
    marked: list[dict[str, object]] = []

    async def speak(connection: WebSocketConnection) -> None:
        await read_start(connection)
        for start in range(0, len(sound), 2 * chunk + 1):
            await connection.send_message(sound[start : start + 2 * chunk + 1])
        await connection.send_message(json.dumps({"command": "mark", "name": "said"}))
        while True:
            message = await connection.get_message()
            if isinstance(message, str):
                marked.append(json.loads(message))

    async with (
        websocket_server(speak) as url,
        bridged(url, rate=16000) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        with call.open_audio() as port:
            heard = await talk(port, SILENCE, 4)
    loud = np.flatnonzero(np.abs(heard) > 500)
    assert (loud[-1] - loud[0]) / 8000 >= 0.98 * 3
    assert_tone(heard[loud[0] + 800 : loud[-1] - 800], 8000, 1000, level=-12)
    assert marked[:1] == [{"event": "mark", "name": "said", "played": True}]


@pytest.mark.parametrize("tls", [False, True])
async def test_a_call_with_a_frozen_bot_and_its_ports_are_let_go(
    tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    async with (
        bare_server(freeze, trusting(path) if tls else None) as url,
        bridged(url, rate=48000) as bridge,
    ):
        async with bridge.phone.call(bridge.address) as call:
            await call.answered(timeout=5)
            with call.open_audio() as port:
                await talk(port, SILENCE, 4)
        line = await bridge.line()
        assert bridge.answering.active_calls == ()
    assert "they hung up, frames that the bot did not take: " in line


async def test_a_frozen_bot_is_noticed_and_the_caller_hears_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link, "_PING_SECONDS", 0.2)
    monkeypatch.setattr(link, "_PONG_SECONDS", 0.5)
    async with (
        bare_server(freeze) as url,
        bridged(url) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        with trio.fail_after(5):
            await call.ended()
        assert call.reason == "the bot did not answer a ping within 0.5 s"
        assert call.reason in await bridge.line()


async def test_a_bot_that_answers_pings_may_be_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_PING_SECONDS", 0.05)
    monkeypatch.setattr(link, "_PONG_SECONDS", 0.5)

    async def listen(connection: WebSocketConnection) -> None:
        while True:
            await connection.get_message()

    async with (
        websocket_server(listen) as url,
        bridged(url) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        with call.open_audio() as port:
            await talk(port, SILENCE, 1.5)
        assert call.state == "answered"


@pytest.mark.parametrize("tls", [False, True])
async def test_pings_while_the_websocket_closes_are_no_failure(
    tls: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))

    async def ping(stream: trio.abc.Stream, websocket: WSConnection) -> None:
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                with suppress(trio.BrokenResourceError):
                    while await stream.receive_some():
                        pass
                nursery.cancel_scope.cancel()

            nursery.start_soon(read)
            with suppress(trio.BrokenResourceError):
                while True:
                    await stream.send_all(websocket.send(Ping()))
                    await trio.sleep(0.001)

    async with (
        bare_server(ping, trusting(path) if tls else None) as url,
        bridged(url) as bridge,
    ):
        async with bridge.phone.call(bridge.address) as call:
            await call.answered(timeout=5)
            await trio.sleep(0.2)
        assert (await bridge.line()).endswith("they hung up")
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    ("answer", "status"), [(404, 503), (403, 403), (486, 486), (429, 486), (500, 503)]
)
async def test_a_refused_handshake_has_a_status_and_a_reason_to_read(
    answer: int, status: int
) -> None:
    async def refuse(request: WebSocketRequest) -> None:
        await request.reject(answer, extra_headers=[(b"X-Secret", b"1")], body=b"no")

    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_websocket, refuse, "127.0.0.1", 0, None))
        async with (
            bridged(f"ws://127.0.0.1:{server.port}/") as bridge,
            bridge.phone.call(bridge.address) as call,
        ):
            with pytest.raises(CallFailed) as failed:
                await call.answered(timeout=5)
            line = await bridge.line()
        nursery.cancel_scope.cancel()
    assert failed.value.status == status
    assert line.endswith(f"/: the server refuses it with {answer}")
    assert f"rejected with {status}: " in line


async def test_the_name_of_a_server_that_cannot_be_encoded_is_a_failure_of_the_link() -> None:
    with pytest.raises(LinkFailed):
        async with open_link(WebSocketUrl.parse("ws://a..b/"), None, Access()):
            pass
    with pytest.raises(LinkFailed):
        async with open_audiosocket(WebSocketUrl.parse("tcp://a..b:9")):
            pass


async def test_a_bot_that_never_accepts_costs_a_few_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link, "_CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with (
            bridged(f"ws://127.0.0.1:{silent.getsockname()[1]}/") as bridge,
            bridge.phone.call(bridge.address) as call,
        ):
            with pytest.raises(CallFailed) as failed:
                await call.answered(timeout=5)
    assert failed.value.status == 504


async def test_nonsense_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    async def babble(connection: WebSocketConnection) -> None:
        await read_start(connection)
        for text in ("well", "{}", '{"command": "mark"}', '{"command": "dance"}') * 10:
            await connection.send_message(text)
        await echo(connection)

    async with (
        websocket_server(babble) as url,
        bridged(url) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        with call.open_audio() as port:
            heard = await talk(port, sine(1000, 8000, 1), 1.5)
    assert_tone(heard[4800:], 8000, 1000)
    warnings = [one for one in caplog.records if one.name == "spech.bridge.conversation"]
    assert len(warnings) == 1


async def test_another_bot_takes_over_from_one_that_dies() -> None:
    async def die(connection: WebSocketConnection) -> None:
        await read_start(connection)
        await crash(connection)

    async with (
        websocket_server(die) as url,
        websocket_server(echo) as other,
        bridged(url, fallbacks=[WebSocketUrl.parse(other)]) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        with call.open_audio() as port:
            heard = await talk(port, sine(1000, 8000, 1), 1.5)
        assert call.state == "answered"
    assert_tone(heard[4800:], 8000, 1000)


async def test_a_sound_takes_the_place_of_a_bot_that_cannot_be_reached(tmp_path: Path) -> None:
    path = tmp_path / "sorry.wav"
    write_wav(path, sine(600, 8000, 1, level=-12), 8000)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port_number = closed.getsockname()[1]
    async with (
        bridged(f"ws://127.0.0.1:{port_number}/", fallbacks=[path]) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        with call.open_audio() as port:
            heard = await talk(port, SILENCE, 0.8)
        with trio.fail_after(5):
            await call.ended()
        assert (await bridge.line()).endswith("no WebSocket; then sorry.wav was played")
    assert_tone(heard[2400:], 8000, 600, level=-12)


async def test_a_sender_in_real_time_does_not_stay_late(caplog: pytest.LogCaptureFixture) -> None:
    """An echo that stalls for a second: what it then sends at once does not become delay."""

    async def stall(connection: WebSocketConnection) -> None:
        await read_start(connection)
        waiting = [await connection.get_message() for _ in range(50)]
        for message in waiting:
            await connection.send_message(message)
        while True:
            await connection.send_message(await connection.get_message())

    noise = (np.random.default_rng(1).standard_normal(8000 * 14) * 2000).astype(np.int16)
    said = noise * (np.arange(len(noise)) % 8000 < 4000)  # Words and pauses.
    async with (
        websocket_server(stall) as url,
        bridged(url) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        with call.open_audio() as port:
            heard = await talk(port, said, 14)
    end, size = len(heard) - 8000, 4096
    # Where in what was said the last word but one comes from.
    part = heard[end - size : end].astype(float)
    likeness = np.correlate(said[: end + size].astype(float), part, "valid")
    delay = (end - size - int(likeness.argmax())) / 8000
    assert delay < 0.5


async def test_bots_that_misbehave_do_not_disturb_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three calls at once: one bot floods with small messages, one with large ones, one echoes."""
    monkeypatch.setattr(link, "_CLOSE_SECONDS", 0.1)
    behaviours = iter((b"\0", bytes(1 << 20), b""))

    async def misbehave(connection: WebSocketConnection) -> None:
        flood = next(behaviours)
        if not flood:
            await echo(connection)
        await read_start(connection)
        while True:
            await connection.send_message(flood)

    async with (
        websocket_server(misbehave) as url,
        bridged(url) as bridge,
        bridge.phone.call(bridge.address) as small,
        bridge.phone.call(bridge.address) as large,
    ):
        for call in (small, large):
            await call.answered(timeout=10)
        async with bridge.phone.call(bridge.address) as call:
            await call.answered(timeout=10)
            with call.open_audio() as port:
                await hear_tone(port, 1000, say=sine(1000, 8000, 1))
        assert (small.state, large.state) == ("answered", "answered")
