"""One scripted bot behind Asterisk's chan_websocket and behind ``spech bridge``, event by event."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from spech import open_phone
from spech.testing.asterisk import Asterisk
from spech.testing.waiting import until

from ..bridge.bots import bridged, websocket_server

_DIALPLAN = """
[phones]
exten = 700,1,Dial(WebSocket/bot/c(slin)n)
"""
_MODULES = ("res_http_websocket", "res_websocket_client", "chan_websocket")
_CLIENT = """
[bot]
type = websocket_client
connection_type = per_call_config
uri = {url}
protocols = media
"""
_CHANNEL = """
[global]
type = global
control_message_format = {form}
"""
#: What differs from call to call, or with what the dialplan sets.
_VARYING = ("channel", "channel_id", "channel_variables", "connection_id")

FRAME = bytes(320)


def turn(**direction: str) -> str:
    """The command that turns sound on and off, of which there is no plain text."""
    return json.dumps({"command": "SET_MEDIA_DIRECTION", **direction}, separators=(",", ":"))


#: Commands with their identifiers, sound, and seconds to wait.
SCRIPT: tuple[Any, ...] = (
    *(("ANSWER", ""), 0.5, ("GET_STATUS", ""), ("MARK_MEDIA", "nothing waits"), 0.3),
    *(FRAME * 10, ("MARK_MEDIA", "one"), FRAME * 5, ("MARK_MEDIA", "two")),
    *(("REPORT_QUEUE_DRAINED", ""), 0.8),
    *(("START_MEDIA_BUFFERING", ""), bytes(1000), bytes(920), ("STOP_MEDIA_BUFFERING", "b"), 0.5),
    *(("STOP_MEDIA_BUFFERING", ""), ("MARK_MEDIA", ""), 0.3),
    *(FRAME * 200, FRAME * 200, FRAME * 200, FRAME * 200, FRAME * 150, ("MARK_MEDIA", "lost"), 0.3),
    *(("PAUSE_MEDIA", ""), ("GET_STATUS", ""), ("CONTINUE_MEDIA", ""), 0.3),
    *(("FLUSH_MEDIA", ""), 0.3, ("GET_STATUS", ""), 0.3),
    *(turn(), turn(direction="up"), turn(direction="in"), "SET_MEDIA_DIRECTION", FRAME * 5, 0.2),
    *(("MARK_MEDIA", "in"), ("START_MEDIA_BUFFERING", ""), ("STOP_MEDIA_BUFFERING", "in"), 0.2),
    *(("PAUSE_MEDIA", ""), ("CONTINUE_MEDIA", ""), ("FLUSH_MEDIA", ""), ("GET_STATUS", ""), 0.2),
    *(
        turn(direction="out"),
        0.1,
        FRAME * 5,
        ("MARK_MEDIA", "out"),
        0.4,
        turn(direction="both"),
        0.1,
    ),
    *(("NONSENSE", ""), ("MARK_MEDIA", "x" * 200), "{bad", "[1]", '{"a":1}', 0.3),
)


class Bot:
    """Follows the script, and notes the events that come."""

    def __init__(self, form: str) -> None:
        self.events: list[Any] = []
        self.done = False
        self._json = form == "json"

    async def run(self, connection: WebSocketConnection) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, connection)
            for step in SCRIPT:
                if isinstance(step, float):
                    await trio.sleep(step)
                else:
                    await connection.send_message(self._message(step))
            self.done = True

    def _message(self, step: Any) -> str | bytes:
        if not isinstance(step, tuple):
            return step  # type: ignore[no-any-return]
        name, identifier = step
        if not self._json:
            return f"{name} {identifier}".strip()
        named = {"correlation_id": identifier} if identifier else {}
        return json.dumps({"command": name, **named}, separators=(",", ":"))

    async def _read(self, connection: WebSocketConnection) -> None:
        try:
            while True:
                message = await connection.get_message()
                if isinstance(message, str):
                    self.events.append(self._event(message))
        except ConnectionClosed:
            assert connection.closed is not None
            self.events.append(connection.closed.code)

    def _event(self, message: str) -> Any:
        """An event without what differs from call to call."""
        if self._json:
            event = json.loads(message)
        else:
            name, *words = message.split(" ")
            pairs = [word.partition(":") for word in words]
            event = {"event": name} | {key: value for key, _, value in pairs}
        event |= {key: bool(event[key]) for key in _VARYING if key in event}
        if "queue_length" in event:  # Some frames more or less are played when it is asked for.
            event["queue_length"] = round(int(event["queue_length"]) / 100)
        return event


async def behind_asterisk(form: str) -> list[Any]:
    bot = Bot(form)
    async with websocket_server(bot.run) as url:
        files = {
            "websocket_client.conf": _CLIENT.format(url=url),
            "chan_websocket.conf": _CHANNEL.format(form=form),
        }
        with Asterisk(dialplan=_DIALPLAN, modules=_MODULES, files=files) as pbx:
            async with (
                open_phone(pbx.account(), listen=("127.0.0.1", 0)) as phone,
                phone.call("700") as call,
            ):
                await call.answered(timeout=10)
                await until(lambda: bot.done, within=20)
                call.send_dtmf("7")
                await until(lambda: any("digit" in str(event) for event in bot.events))
            await until(lambda: isinstance(bot.events[-1], int))
    return bot.events


async def behind_spech(form: str) -> list[Any]:
    bot = Bot(form)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(websocket_server(bot.run))
        protocol = "asterisk" if form == "json" else "asterisk-text"
        bridge = await stack.enter_async_context(
            bridged(url, protocol=protocol, rate=8000, bot_answers=True)
        )
        async with bridge.phone.call(bridge.address) as call:
            await call.answered(timeout=10)
            await until(lambda: bot.done, within=20)
            call.send_dtmf("7")
            await until(lambda: any("digit" in str(event) for event in bot.events))
        await until(lambda: isinstance(bot.events[-1], int))
    return bot.events


@pytest.mark.parametrize("form", ["json", "plain-text"])
async def test_a_bot_is_told_the_same_by_both(pbx: Asterisk, form: str) -> None:
    theirs, ours = await behind_asterisk(form), await behind_spech(form)
    assert ours == theirs
