"""``spech bridge`` in Twilio's place, used by Twilio's own library and by Pipecat."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from spech import open_phone
from spech.bridge.dialects.twilio import ACCOUNT_SID
from spech.testing.audio import sine
from spech.testing.plugin import unavailable
from spech.testing.talk import hear_tone

from ..bridge.applications import application_server
from ..bridge.bots import PORTS, ringing
from ..ports import reserve
from .programs import PIPECAT, TWILIO, Program, running

TOKEN = "4f7c9d3e2b1a0f9e8d7c"
HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _installed() -> None:
    if not PIPECAT.exists() or not TWILIO.exists():
        unavailable("peers", "Pipecat or Twilio's library is missing; see `make test-peers`")


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    return file


class Service:
    """A bridge, and what uses it."""

    def __init__(self, address: str, bot: Program, bot_url: str, client: Program) -> None:
        self.address = address
        self.bot = bot
        self.bot_url = bot_url
        self.client = client

    async def ended(self, sid: str) -> dict[str, Any]:
        """A call as it is shown once it has ended."""
        with trio.fail_after(10):
            while True:
                shown = await self.client.ask("fetch", sid=sid)
                if shown["status"] != "in-progress":
                    return dict(shown)


@asynccontextmanager
async def service(token_file: Path, answer_url: str | None = None) -> AsyncIterator[Service]:
    """A bridge to a bot of Pipecat, or to whatever an answer URL says, and Twilio's library."""
    api = f"http://127.0.0.1:{reserve()}"
    hang_up = (api, ACCOUNT_SID, TOKEN)
    async with (
        running(PIPECAT, HERE / "pipecat_bot.py", "twilio", "16000", *hang_up) as bot,
        running(TWILIO, HERE / "twilio_program.py", api, token_file) as client,
    ):
        url = f"ws://127.0.0.1:{(await bot.event('port'))['port']}/"
        target = ("--websocket", url) if answer_url is None else ("--answer-url", answer_url)
        async with running(
            *(sys.executable, "-u", "-m", "spech", "bridge", "--listen", "127.0.0.1:0"),
            *("--protocol", "twilio", "--api", api.removeprefix("http://")),
            *("--api-token-file", token_file, "--signing-key", token_file, *target),
        ) as bridge:
            address = f"sip:bot@{await bridge.word_after('taking calls at')}"
            await bridge.word_after("control plane at")
            yield Service(address, bot, url, client)


async def test_pipecat_hangs_up_over_rest(token_file: Path) -> None:
    async with (
        service(token_file) as served,
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as phone,
        phone.call(served.address) as call,
    ):
        await call.answered(timeout=20)
        told = await served.bot.event("call")
        sid = told["call"]["call_id"]
        assert (await served.client.ask("fetch", sid=sid))["status"] == "in-progress"
        call.send_dtmf("#")
        with trio.fail_after(10):
            await call.ended()
        assert call.ended_by == "remote"
        assert (await served.bot.event("closed"))["code"] == 1000
        shown = await served.ended(sid)
        assert (shown["status"], shown["direction"]) == ("completed", "inbound")
        assert await served.client.ask("update", sid=sid, status="completed") == {
            "error": 20404,
            "status": 404,
        }


async def test_documents_made_by_twilios_library_are_done(token_file: Path) -> None:
    async with (
        application_server() as server,
        service(token_file, f"{server.url}/voice") as served,
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as phone,
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as other,
        ringing(other) as arrivals,
    ):
        ask = served.client.ask
        voice = await ask("stream", url=served.bot_url, order="7")
        server.answers |= {"/voice": voice.encode(), "/after": (await ask("hang_up")).encode()}
        async with phone.call(served.address) as call:
            await call.answered(timeout=20)
            told = await served.bot.event("call")
            assert told["call"]["body"]["order"] == "7"
            asked = await server.request("/voice")
            signed = {"url": asked.url, "form": asked.form, "signature": asked.signature}
            assert await ask("validate", **signed) is True
            assert await ask("validate", **signed | {"form": {}}) is False
            sid = asked.form["CallSid"]
            document = await ask("dial", uri=f"sip:bob@127.0.0.1:{other.address[1]}")
            changed = await ask("update", sid=sid, twiml=document)
            assert (changed["sid"], changed["status"]) == (sid, "in-progress")
            async with (await arrivals.receive()).answer() as far:
                with call.open_audio() as near_port, far.open_audio() as far_port:
                    async with trio.open_nursery() as nursery:
                        say = partial(hear_tone, near_port, 1200, say=sine(700, 8000, 1))
                        nursery.start_soon(say)
                        await hear_tone(far_port, 700, say=sine(1200, 8000, 1))
            with trio.fail_after(5):
                await call.ended()


async def test_a_call_is_created_and_ended_by_twilios_library(token_file: Path) -> None:
    events = ["initiated", "ringing", "answered", "completed"]
    async with (
        application_server(status="") as server,
        service(token_file) as served,
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as phone,
        ringing(phone) as arrivals,
    ):
        ask = served.client.ask
        server.answers["/voice"] = (await ask("stream", url=served.bot_url)).encode()
        target = f"sip:alice@127.0.0.1:{phone.address[1]}"
        created = await ask(
            "create",
            to=target,
            from_="sip:700@example.org",
            url=f"{server.url}/voice",
            status_callback=f"{server.url}/status",
            status_callback_event=events,
        )
        assert (created["status"], created["direction"]) == ("queued", "outbound-api")
        async with (await arrivals.receive()).answer() as call:
            told = await served.bot.event("call")
            assert told["call"]["call_id"] == created["sid"]
            with call.open_audio() as port:
                await hear_tone(port, 600)
            await ask("update", sid=created["sid"], status="completed")
            with trio.fail_after(10):
                await call.ended()
        await server.request("/status", 4)
        statuses = [one.form["CallStatus"] for one in server.asked if one.path == "/status"]
        assert statuses == ["initiated", "ringing", "in-progress", "completed"]
        shown = await served.ended(created["sid"])
        assert (shown["status"], shown["to"]) == ("completed", target)
        assert shown["start_time"] <= shown["end_time"]
        refused = await ask("create", to="+4930123", from_="700", url=f"{server.url}/voice")
        assert refused == {"error": 21211, "status": 400}
