"""A pipeline of Pipecat answers calls itself, with ``spech.contrib.pipecat`` as its transport."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import trio

from spech import AudioPort, Call, Phone
from spech.testing.audio import sine
from spech.testing.talk import hear_tone, listen

from .programs import PIPECAT, require, running


@asynccontextmanager
async def calling(phone: Phone, agent: str) -> AsyncIterator[tuple[Call, AudioPort]]:
    async with phone.call(agent) as call:
        await call.answered(timeout=20)
        with call.open_audio(8000) as port:
            await hear_tone(port, 600)
            yield call, port


async def test_a_pipeline_is_interrupted_echoes_and_ends_with_its_call(phone: Phone) -> None:
    require(PIPECAT, "Pipecat")
    async with running(PIPECAT, Path(__file__).with_name("pipecat_agent.py")) as agent:
        address = f"sip:agent@127.0.0.1:{(await agent.event('port'))['port']}"
        async with calling(phone, address) as (call, port):
            call.send_dtmf("1")
            await agent.event("digit")
            await listen(port, 0.3)
            assert np.abs(await listen(port, 0.5)).max() < 100

            call.send_dtmf("2")
            await agent.event("digit")
            await hear_tone(port, 1200, say=sine(1200, 8000, 1))

            call.send_dtmf("3")
            with trio.fail_after(10):
                assert await call.collect_digits(2) == "42"

            call.send_dtmf("#")
            await hear_tone(port, 800)
            with trio.fail_after(10):
                await call.ended()
        assert call.ended_by == "remote"
        assert (await agent.event("finished"))["state"] == "answered"

        async with calling(phone, address) as (call, port):
            call.hang_up()
            assert (await agent.event("disconnected"))["by"] == "remote"
            assert (await agent.event("finished"))["state"] == "ended"
