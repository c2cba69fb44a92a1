"""Pipecat's serializers as bots: each is told apart by Pipecat itself, heard, and interrupted."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from spech.testing.asterisk import cache
from spech.testing.audio import assert_tone, sine
from spech.testing.plugin import unavailable
from spech.testing.talk import hear_tone, listen

from ..bridge.bots import bridged

PROGRAM = cache() / "peers" / "pipecat" / "bin" / "python"
PROTOCOLS = {
    "twilio": "twilio",
    "telnyx": "telnyx",
    "plivo": "plivo",
    "exotel": "exotel",
    "vonage": "vonage",
    "asterisk": "asterisk",
    "asterisk-text": "asterisk",
}
RATE = 16000

pytestmark = pytest.mark.parametrize("protocol", PROTOCOLS)


@pytest.fixture(autouse=True)
def _installed() -> None:
    if not PROGRAM.exists():
        unavailable("peers", "Pipecat is not installed; `make test-peers` installs it")


class Bot:
    """A bot that runs, and what it told."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._text = b""

    async def event(self, name: str) -> dict[str, Any]:
        """Wait for the next event of that name."""
        assert self._process.stdout is not None
        with trio.fail_after(60):
            while True:
                while b"\n" not in self._text:
                    some = await self._process.stdout.receive_some()
                    assert some, f"the bot ended: {self._text!r}"
                    self._text += some
                line, _, self._text = self._text.partition(b"\n")
                if line.startswith(b"{") and (event := json.loads(line))["event"] == name:
                    return dict(event)


@asynccontextmanager
async def running(protocol: str) -> AsyncIterator[tuple[Bot, str]]:
    """A bot, and its URL."""
    program = Path(__file__).with_name("pipecat_bot.py")
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                [PROGRAM, program, protocol, str(RATE)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
        )
        bot = Bot(process)
        port = (await bot.event("port"))["port"]
        yield bot, f"ws://127.0.0.1:{port}/"
        process.terminate()


async def test_a_bot_is_heard_whole_interrupted_answered_and_ends_the_call(protocol: str) -> None:
    async with (
        running(protocol) as (bot, url),
        bridged(url, protocol=protocol, rate=RATE, parameters={"language": "de"}) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=20)
        told = await bot.event("call")
        assert told["kind"] == PROTOCOLS[protocol]
        assert "language" in str(told) or protocol in ("plivo", "telnyx", "asterisk-text")
        with call.open_audio() as port:
            heard = await listen(port, 4)
            loud = np.flatnonzero(np.abs(heard) > 500)
            assert (loud[-1] - loud[0]) / port.rate >= 0.98 * 3
            assert_tone(heard[loud[0] + 800 : loud[-1] - 800], port.rate, 600, tolerance=2)
            call.send_dtmf("2")
            assert (await bot.event("digit"))["digit"] == "2"
            await hear_tone(port, 1200, say=sine(1200, port.rate, 1))
            call.send_dtmf("#")
            with trio.fail_after(10):
                await call.ended()
        assert call.ended_by == "remote"
        assert (await bot.event("closed"))["code"] == 1000


async def test_a_bot_falls_silent_when_it_is_interrupted(protocol: str) -> None:
    async with (
        running(protocol) as (bot, url),
        bridged(url, protocol=protocol, rate=RATE) as bridge,
    ):
        async with bridge.phone.call(bridge.address) as call:
            await call.answered(timeout=20)
            await bot.event("call")
            with call.open_audio() as port:
                await hear_tone(port, 600)
                call.send_dtmf("1")
                assert (await bot.event("digit"))["digit"] == "1"
                heard = await listen(port, 1.2)
                assert np.abs(heard[-port.rate // 2 :]).max() < 100
        assert (await bot.event("closed"))["code"] == 1000
