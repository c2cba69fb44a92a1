"""A listener hears both sides of a call, and its failure costs the call nothing."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from trio_websocket import WebSocketConnection

from spech.bridge.url import WebSocketUrl
from spech.testing.audio import assert_tone, sine
from spech.testing.talk import hear_tone, talk
from spech.testing.waiting import until

from .bots import bridged, crash, read_start, websocket_server


async def hum(connection: WebSocketConnection) -> None:
    """A bot that says 600 Hz for ten seconds, and hears nothing."""
    await connection.send_message(sine(600, 8000, 10, level=-12).tobytes())
    while True:
        await connection.get_message()


async def test_a_listener_hears_both_sides_and_the_end() -> None:
    texts: list[dict[str, Any]] = []
    sound: list[bytes] = []

    async def listen(connection: WebSocketConnection) -> None:
        await connection.send_message("nothing that it says matters")
        while True:
            message = await connection.get_message()
            if isinstance(message, str):
                texts.append(json.loads(message))
            else:
                sound.append(message)

    async with (
        websocket_server(hum) as url,
        websocket_server(listen) as listener,
        bridged(url, tap=WebSocketUrl.parse(listener), parameters={"room": "1"}) as bridge,
    ):
        async with bridge.phone.call(bridge.address) as call:
            await call.answered(timeout=5)
            with call.open_audio() as port:
                await talk(port, sine(1000, 8000, 1, level=-12), 2)
        await bridge.line()
        await until(lambda: len(texts) == 2)
    introduction, end = texts
    assert (introduction["channels"], introduction["rate"]) == (2, 8000)
    assert introduction["parameters"] == {"room": "1"}
    assert end == {"event": "end"}
    sides = np.frombuffer(b"".join(sound[50:75]), "<i2").reshape(-1, 2)
    assert_tone(sides[:, 0], 8000, 600, level=-12)
    assert_tone(sides[:, 1], 8000, 1000, level=-12)


async def test_a_call_goes_on_without_its_listener(caplog: pytest.LogCaptureFixture) -> None:
    async def die(connection: WebSocketConnection) -> None:
        await read_start(connection)
        await crash(connection)

    async with (
        websocket_server(hum) as url,
        websocket_server(die) as listener,
        bridged(url, tap=WebSocketUrl.parse(listener)) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        await until(lambda: "goes on without its listener" in caplog.text)
        with call.open_audio() as port:
            await hear_tone(port, 600)
        assert call.state == "answered"
