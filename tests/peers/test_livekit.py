"""An AgentSession of LiveKit Agents answers calls itself, with ``spech.contrib.livekit``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from spech import AudioPort, Call, Phone
from spech.testing.plugin import unavailable
from spech.testing.speech import SpeechUnavailable, speak
from spech.testing.talk import hear_tone, talk

from .programs import LIVEKIT, require, running

RATE = 8000


@asynccontextmanager
async def calling(phone: Phone, agent: str) -> AsyncIterator[tuple[Call, AudioPort]]:
    async with phone.call(agent) as call:
        await call.answered(timeout=20)
        with call.open_audio(RATE) as port:
            await hear_tone(port, 600)
            yield call, port


async def test_an_agent_is_interrupted_by_speech_answers_and_ends_with_its_call(
    phone: Phone,
) -> None:
    require(LIVEKIT, "LiveKit Agents")
    try:
        question = speak("The birch canoe slid on the smooth planks.", RATE)
    except SpeechUnavailable as error:
        unavailable("peers", str(error))
    async with running(LIVEKIT, Path(__file__).with_name("livekit_agent.py")) as agent:
        address = f"sip:agent@{await agent.word_after('INFO:spech.contrib.livekit:agents')}"
        async with calling(phone, address) as (call, port):
            await talk(port, question, len(question) / RATE)
            played = await agent.event("played")
            assert played["interrupted"]
            assert 0.4 < played["position"] < 8
            await hear_tone(port, 800)
            played = await agent.event("played")
            assert not played["interrupted"]
            assert played["position"] == pytest.approx(1.5, abs=0.1)
            call.send_dtmf("#")
            with trio.fail_after(10):
                await call.ended()
        assert call.ended_by == "remote"
        assert (await agent.event("finished"))["state"] == "answered"

        async with calling(phone, address) as (call, port):
            call.hang_up()
            assert (await agent.event("played"))["interrupted"]
            assert (await agent.event("finished"))["state"] == "ended"
