"""The bots of docs/five-minutes.md run as readers start them: they echo, or beep."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from spech import Account, open_phone
from spech.exchange import Exchange, open_exchange
from spech.testing.audio import sine
from spech.testing.talk import hear_tone

from ..documents.blocks import Block, blocks
from .programs import LIVEKIT, PIPECAT, free_port, require, running

PASSWORDS = {"bot": "metal", "alice": "wonderland"}
FRAMEWORKS = {"pipecat": (PIPECAT, "Pipecat"), "livekit": (LIVEKIT, "LiveKit Agents")}
BLOCKS = [block for block in blocks() if block.framework]


@pytest.fixture
async def exchange() -> AsyncIterator[Exchange]:
    async with open_exchange(("127.0.0.1", 0), PASSWORDS) as exchange:
        yield exchange


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
async def test_the_bot_is_heard(block: Block, exchange: Exchange, tmp_path: Path) -> None:
    assert block.framework is not None
    python, title = FRAMEWORKS[block.framework]
    require(python, title)
    server = f"127.0.0.1:{exchange.address[1]}"
    port = str(free_port())
    program = tmp_path / "bot.py"
    program.write_text(
        block.code.replace("pbx.example.org", server)
        .replace("…", PASSWORDS["bot"])
        .replace("8765", port)
    )
    alice_account = Account(f"sip:alice@{server}", password=PASSWORDS["alice"])
    async with AsyncExitStack() as stack:
        bot = await stack.enter_async_context(running(python, program))
        if "8765" in block.code:
            await bot.line_with("running on")
            bridge = await stack.enter_async_context(
                running(
                    *(sys.executable, "-m", "spech", "bridge", "--account", f"sip:bot@{server}"),
                    *("--websocket", f"ws://127.0.0.1:{port}/ws", "--protocol", "twilio"),
                    SPECH_SIP_PASSWORD=PASSWORDS["bot"],
                )
            )
            await bridge.line_with("registered")
        else:
            await bot.line_with("agents answer" if block.framework == "livekit" else "registered")
        alice = await stack.enter_async_context(open_phone(alice_account, listen=("127.0.0.1", 0)))
        await alice.registered(timeout=10)
        async with alice.call("bot") as call:
            await call.answered(timeout=20)
            with call.open_audio(8000) as audio:
                await hear_tone(audio, 700, say=sine(700, 8000, 1))
        if block.framework == "pipecat":
            await bot.line_with("a call from alice")
