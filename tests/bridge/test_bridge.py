"""Calls over WebSockets, and how both ends of a bridge close."""

from __future__ import annotations

import json
import re
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from spech import CallFailed, LocalProtocolError, open_phone
from spech.bridge.url import WebSocketUrl
from spech.testing.audio import assert_tone, sine
from spech.testing.talk import talk

from .. import ports
from .bots import PORTS, bridged, certificate, crash, echo, trusting, websocket_server
from .commands import bridge_command

#: Of a bridge that is started twice.
RESTARTED = ports.reserve()


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
        await trio.sleep_forever()

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
        told = json.loads(introduction)
        assert re.fullmatch("[0-9a-f]{32}", told.pop("id"))
        assert told == {
            "direction": "inbound",
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
        await trio.sleep_forever()

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
            await crash(connection)

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


async def test_half_samples_are_joined_and_text_is_not_played() -> None:
    async def babble(connection: WebSocketConnection) -> None:
        await connection.get_message()
        while True:
            sound = await connection.get_message()
            await connection.send_message(sound[:101])
            await connection.send_message("well")
            await connection.send_message(sound[101:])

    async with (
        websocket_server(babble) as url,
        bridged(url) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        with call.open_audio() as port:
            heard = await talk(port, sine(1000, 8000, 1), 1.5)
    assert_tone(heard[4800:], 8000, 1000)


async def test_sound_is_carried_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    async with websocket_server(echo, trusting(path)) as url:
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


async def test_a_drain_lets_calls_go_on_and_accepts_no_more() -> None:
    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as phone,
        bridge_command("--drain", "60") as (process, bot),
    ):
        async with phone.call(bot) as one:
            await one.answered(timeout=5)
            process.send_signal(signal.SIGTERM)
            await trio.sleep(0.3)
            async with phone.call(bot) as two:
                with pytest.raises(CallFailed) as refused:
                    await two.answered(timeout=5)
                assert refused.value.status == 503
            assert one.state == "answered"
            assert process.returncode is None
        with trio.fail_after(10):
            assert await process.wait() == 0


@pytest.mark.parametrize("impatient", [False, True])
async def test_a_drain_ends_after_its_time_or_with_a_second_signal(impatient: bool) -> None:
    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as phone,
        bridge_command("--drain", "60" if impatient else "0.5") as (process, bot),
        phone.call(bot) as call,
    ):
        await call.answered(timeout=5)
        process.send_signal(signal.SIGTERM)
        if impatient:
            await trio.sleep(0.3)
            process.send_signal(signal.SIGTERM)
        with trio.fail_after(5):
            await call.ended()
            assert await process.wait() == 0
        assert call.ended_by == "remote"


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
        bridge_command(port=RESTARTED) as (process, bot),
        phone.call(bot) as call,
    ):
        await call.answered(timeout=5)
        process.kill()
        await process.wait()
        async with bridge_command(port=RESTARTED):
            with trio.fail_after(5):
                await call.ended()
            assert call.ended_by == "remote"


async def test_each_call_has_a_record() -> None:
    async with websocket_server(echo) as url, bridged(url) as bridge:
        async with bridge.phone.call(bridge.address) as call:
            await call.answered(timeout=5)
        await bridge.line()
    (record,) = bridge.records
    assert (record.call_id, record.caller, record.called) == (call.call_id, "spech", "bot")
    assert (record.state, record.cause, record.codec) == ("ended", "hangup", "PCMU")
    assert record.setup_seconds is not None
    assert record.summary == bridge.lines[0]


async def test_calls_are_printed_as_json_those_that_the_bridge_ends_too() -> None:
    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as phone,
        bridge_command("--json") as (process, bot),
        phone.call(bot) as call,
    ):
        await call.answered(timeout=5)
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        printed = b""
        with trio.fail_after(10):
            async for data in process.stdout:
                printed += data
    record = json.loads(printed)
    assert (record["call_id"], record["cause"]) == (call.call_id, "shutdown")
    assert (record["event"], record["state"]) == ("ended", "ended")


async def test_the_command_serves_the_control_plane() -> None:
    async with bridge_command("--api", "127.0.0.1:0") as (process, _):
        assert process.stdout is not None
        with trio.fail_after(5):
            said = (await process.stdout.receive_some()).decode()
        url = said.split()[-1]
        assert said == f"control plane at {url}\n"
        with await trio.to_thread.run_sync(urlopen, f"{url}readyz") as answer:
            assert answer.read() == b"ready\n"
