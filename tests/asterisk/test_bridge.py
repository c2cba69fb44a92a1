"""`spech bridge` behind a real PBX: calls that are placed over HTTP, and the bot in them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import trio
from trio_websocket import WebSocketConnection

from spech.testing.asterisk import Asterisk
from spech.testing.audio import assert_tone
from spech.testing.dialplan import PASSWORD

from ..bridge.asking import ask
from ..bridge.bots import Program, echo, websocket_server


@asynccontextmanager
async def bridge_process(
    pbx: Asterisk, program: Program, protocol: str = "raw"
) -> AsyncIterator[str]:
    """The command with alice's account and such a bot; the URL of its control plane."""
    async with websocket_server(program) as url, trio.open_nursery() as nursery:
        account = ("--account", f"sip:alice@{pbx.domain}", "--listen", "127.0.0.1:0")
        bot = ("--websocket", url, "--protocol", protocol, "--parameter", "language=de")
        run = partial(
            trio.run_process,
            [sys.executable, "-m", "spech", "bridge", *account, *bot, "--api", "127.0.0.1:0"],
            env={**os.environ, "SPECH_SIP_PASSWORD": PASSWORD},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        process: trio.Process = await nursery.start(run)
        assert process.stdout is not None
        said = b""
        with trio.fail_after(15):
            while b"control plane at " not in said or not said.endswith(b"\n"):
                said += await process.stdout.receive_some()
        yield said.split()[-1].decode().rstrip("/")
        process.send_signal(signal.SIGTERM)
        async for _ in process.stdout:
            pass


async def ended(url: str) -> dict[str, Any]:
    """The record of a call once it has ended."""
    with trio.fail_after(15):
        while True:
            record: dict[str, Any] = json.loads((await ask(url))[1])
            if record["state"] == "ended":
                return record
            await trio.sleep(0.05)


async def test_a_bot_calls_a_menu_presses_keys_and_hears_them(asterisk: Asterisk) -> None:
    told: list[dict[str, Any]] = []
    heard: list[str] = []

    async def bot(connection: WebSocketConnection) -> None:
        told.append(json.loads(await connection.get_message()))
        await connection.send_message('{"command": "dtmf", "digits": "42#"}')
        while True:
            message = await connection.get_message()
            if isinstance(message, str):
                event = json.loads(message)
                heard.append(event.get("digit") or event["event"])

    async with bridge_process(asterisk, bot) as api:
        order = {"to": "602", "display_name": "The Bot", "parameters": {"order": "7"}}
        status, body = await ask(f"{api}/v1/calls", order)
        placed = json.loads(body)
        assert (status, placed["caller"], placed["called"]) == (201, "alice", "602")
        record = await ended(f"{api}/v1/calls/{placed['id']}")
    (introduction,) = told
    assert (introduction["id"], introduction["direction"]) == (placed["id"], "outbound")
    assert introduction["parameters"] == {"language": "de", "order": "7"}
    assert heard == ["4", "2", "end"]
    assert (record["cause"], record["digits"]) == ("hangup", "xx")
    assert record["setup_seconds"] < record["seconds"]


async def test_a_bot_hears_whom_it_calls_until_the_call_is_hung_up(asterisk: Asterisk) -> None:
    sound = bytearray()
    enough = trio.Event()

    async def bot(connection: WebSocketConnection) -> None:
        while True:
            message = await connection.get_message()
            if isinstance(message, bytes):
                sound.extend(message)
                if len(sound) > 24000:
                    enough.set()

    async with bridge_process(asterisk, bot) as api:
        _, body = await ask(f"{api}/v1/calls", {"to": "601"})
        url = f"{api}/v1/calls/{json.loads(body)['id']}"
        with trio.fail_after(10):
            await enough.wait()
        assert (await ask(f"{url}/hangup", method="POST"))[0] == 204
        assert (await ended(url))["cause"] == "hangup"
        _, body = await ask(f"{api}/v1/calls", {"to": "603"})
        record = await ended(f"{api}/v1/calls/{json.loads(body)['id']}")
        assert (record["cause"], record["status"]) == ("unanswered", 486)
        assert record["setup_seconds"] is None
    assert_tone(bytes(sound[8000:24000]), 8000, 1004, tolerance=2)


async def test_twilios_interface_calls_a_menu_and_connects_an_echo_with_a_tone(
    asterisk: Asterisk,
) -> None:
    async with bridge_process(asterisk, echo, "twilio") as api:

        async def call(to: str, *verbs: str) -> dict[str, Any]:
            """Call an extension over REST, and wait for the record of the call."""
            form = {"To": to, "From": "alice", "Twiml": f"<Response>{''.join(verbs)}</Response>"}
            url = f"{api}/2010-04-01/Accounts/AC/Calls.json"
            posted = partial(urlopen, url, urlencode(form).encode(), 10)
            with await trio.to_thread.run_sync(posted) as answer:
                sid: str = json.load(answer)["sid"]
            return await ended(f"{api}/v1/calls/{sid.removeprefix('CA')}")

        keys = await call("602", '<Play digits="42#"/>', '<Pause length="30"/>')
        assert (keys["cause"], keys["digits"]) == ("hangup", "xx")
        dialled = await call("600", '<Dial timeLimit="1">601</Dial>', "<Hangup/>")
        assert (dialled["cause"], dialled["reason"]) == ("bot", "the TwiML hung up")
        assert dialled["seconds"] >= 1
