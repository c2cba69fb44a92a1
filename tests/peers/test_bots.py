"""Bots of other projects run unchanged: told of the call, heard whole, interrupted, answered.

Pipecat tells by itself which service calls it. The bots do the same with different frameworks.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import trio

from spech import Call
from spech.testing.audio import assert_tone, sine
from spech.testing.talk import hear_tone, listen

from ..bridge.bots import Bridged, bridged
from .programs import PEERS, PIPECAT, Program, free_port, require, running

RATE = 16000


@dataclass(frozen=True)
class Case:
    """A framework, the protocol that it is spoken to in, and the service that it believes in."""

    framework: str
    protocol: str
    kind: str

    def __str__(self) -> str:
        return f"{self.framework}-{self.protocol}"

    @property
    def command(self) -> list[str | Path]:
        folder = Path(__file__).parent
        if self.framework == "jambonz":
            return ["node", PEERS / "jambonz" / "bot.mjs"]
        if self.framework == "galcymedia":
            return [PIPECAT, folder / "galcymedia_bot.py", str(free_port()), str(RATE)]
        return [PIPECAT, folder / "pipecat_bot.py", self.protocol, str(RATE)]

    def require(self) -> None:
        """Skip the test where the framework is not installed."""
        if self.framework == "jambonz":
            require(Path(shutil.which("node") or "node"), "Node.js")
            require(PEERS / "jambonz" / "node_modules", "jambonz's SDK")
        else:
            require(PIPECAT, "Pipecat")


CASES = [
    Case("pipecat", "twilio", "twilio"),
    Case("pipecat", "telnyx", "telnyx"),
    Case("pipecat", "plivo", "plivo"),
    Case("pipecat", "exotel", "exotel"),
    Case("pipecat", "vonage", "vonage"),
    Case("pipecat", "asterisk", "asterisk"),
    Case("pipecat", "asterisk-text", "asterisk"),
    Case("galcymedia", "asterisk", "galcymedia"),
    Case("jambonz", "jambonz", "jambonz"),
]
#: Where custom parameters do not reach a bot.
WITHOUT_PARAMETERS = ("plivo", "telnyx", "asterisk-text")

pytestmark = pytest.mark.parametrize("case", CASES, ids=str)


@asynccontextmanager
async def bot_of(case: Case) -> AsyncIterator[tuple[Program, Bridged]]:
    """A bot, and a bridge to it."""
    case.require()
    async with running(*case.command) as bot:
        where = await bot.event("port")
        url = f"ws://127.0.0.1:{where['port']}/{where.get('path', '')}"
        async with bridged(
            url, protocol=case.protocol, rate=RATE, parameters={"language": "de"}
        ) as bridge:
            yield bot, bridge


async def test_a_bot_is_interrupted_heard_whole_answered_and_ends_the_call(case: Case) -> None:
    async with bot_of(case) as (bot, bridge):
        async with calling(bot, bridge, case) as call:
            with call.open_audio() as port:
                await hear_tone(port, 600)
                call.send_dtmf("1")
                assert (await bot.event("digit"))["digit"] == "1"
                heard = await listen(port, 1.2)
                assert np.abs(heard[-port.rate // 2 :]).max() < 100
        assert (await bot.event("closed"))["code"] == 1000

        async with calling(bot, bridge, case) as call:
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


@asynccontextmanager
async def calling(bot: Program, bridge: Bridged, case: Case) -> AsyncIterator[Call]:
    """A call that is answered, of which the bot has been told."""
    async with bridge.phone.call(bridge.address) as call:
        await call.answered(timeout=20)
        told = await bot.event("call")
        assert told["kind"] == case.kind
        assert "language" in str(told) or case.protocol in WITHOUT_PARAMETERS
        yield call
