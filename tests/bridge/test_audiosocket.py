"""What a bot that speaks AudioSocket does to a call, and what it cannot do."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import numpy as np
import pytest
import trio

from spech import CallFailed, LocalProtocolError
from spech.bridge import audiosocket
from spech.bridge.access import Access
from spech.bridge.bridge import Bridge
from spech.bridge.routes import Routes
from spech.bridge.url import WebSocketUrl
from spech.testing.audio import assert_tone, sine
from spech.testing.talk import hear_tone, listen

from .bots import bridged

SPEECH = sine(1000, 8000, 3, level=-12).tobytes()


def sound(pcm: bytes) -> bytes:
    return b"\x10" + len(pcm).to_bytes(2) + pcm


@asynccontextmanager
async def bot(program: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    """A server that does with each connection what ``program`` does; yields its address."""

    async def serve(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await program(stream)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield f"tcp://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def test_a_burst_is_heard_whole() -> None:
    async def speak(stream: trio.SocketStream) -> None:
        for start in range(0, len(SPEECH), 12001):
            await stream.send_all(sound(SPEECH[start : start + 12001]))
        await trio.sleep_forever()

    async with (
        bot(speak) as url,
        bridged(url, protocol="audiosocket") as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        with call.open_audio() as port:
            heard = await listen(port, 4)
    loud = np.flatnonzero(np.abs(heard) > 500)
    assert (loud[-1] - loud[0]) / 8000 >= 0.98 * 3
    assert_tone(heard[loud[0] + 800 : loud[-1] - 800], 8000, 1000, level=-12)


async def test_nonsense_and_floods_disturb_no_other_call() -> None:
    floods = iter((b"\x99\0\1x" * 10_000, sound(b"") * 10_000, bytes((3, 255, 255)) + b"1" * 65535))

    async def misbehave(stream: trio.SocketStream) -> None:
        flood = next(floods, None)
        while flood is not None:
            await stream.send_all(flood)
        while data := await stream.receive_some():
            await stream.send_all(data.replace(b"\1\0\x10", b"\x99\0\x10"))

    async with (
        bot(misbehave) as url,
        bridged(url, protocol="audiosocket") as bridge,
        bridge.phone.call(bridge.address) as first,
        bridge.phone.call(bridge.address) as second,
        bridge.phone.call(bridge.address) as third,
    ):
        for call in (first, second, third):
            await call.answered(timeout=5)
        async with bridge.phone.call(bridge.address) as call:
            await call.answered(timeout=5)
            with call.open_audio() as port:
                await hear_tone(port, 1000, say=sine(1000, 8000, 1))
        assert {call.state for call in (first, second, third)} == {"answered"}


async def test_a_bot_that_takes_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audiosocket, "_FROZEN_SECONDS", 0.5)

    async def freeze(stream: trio.SocketStream) -> None:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await trio.sleep_forever()

    async with (
        bot(freeze) as url,
        bridged(url, protocol="audiosocket-slin24") as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        with trio.fail_after(30):
            await call.ended()
        assert call.reason == "the bot took nothing for 0.5 s"


async def test_a_bot_that_cannot_be_reached_has_a_status() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with (
        bridged(f"tcp://127.0.0.1:{port}", protocol="audiosocket") as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        with pytest.raises(CallFailed) as failed:
            await call.answered(timeout=5)
        assert f"no connection to tcp://127.0.0.1:{port}" in await bridge.line()
    assert failed.value.status == 503


@pytest.mark.parametrize(
    ("url", "protocol"), [("ws://bot.example/", "audiosocket"), ("tcp://bot.example:9092", "raw")]
)
def test_a_url_and_a_protocol_that_do_not_fit_are_refused(url: str, protocol: str) -> None:
    with pytest.raises(LocalProtocolError, match="audiosocket"):
        Bridge(Routes(default=WebSocketUrl.parse(url)), protocol=protocol)


def test_what_has_no_place_in_audiosocket_is_refused() -> None:
    url = WebSocketUrl.parse("tcp://bot.example:9092")
    with pytest.raises(LocalProtocolError, match="no handshake"):
        Bridge(Routes(default=url), protocol="audiosocket", access=Access({"X-Key": "1"}))
    with pytest.raises(LocalProtocolError, match="a tap is a WebSocket"):
        Bridge(Routes(default=url), protocol="audiosocket", tap=url)
