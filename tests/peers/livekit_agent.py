"""An agent on ``spech.contrib.livekit``, run in LiveKit's environment: it answers every call.

The session and its voice activity detection are LiveKit's; speech recognition, language model and
speech synthesis are local stand-ins. It prints JSON, a line for each event. The greeting is ten
seconds of a tone of 600 Hz. Whatever is said is answered with 1.5 s of 800 Hz. The key # ends it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from array import array
from typing import Any

from livekit.agents import Agent, AgentSession, llm, stt, tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

from spech import Call, CallEnded, PortRange
from spech.aio import run
from spech.contrib.livekit import AgentServer, JobContext, JobProcess

RATE = 24000
#: What is said, as the frequency in Hz and the seconds of a tone.
TONES = {"greeting": (600, 10.0), "answer": (800, 1.5)}


def tell(**event: Any) -> None:
    print(json.dumps(event), flush=True)


class Recognition(stt.STT):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))

    async def _recognize_impl(self, buffer: Any, **options: Any) -> Any:
        return stt.SpeechEvent(
            type=stt.SpeechEventType.FINAL_TRANSCRIPT,
            alternatives=[stt.SpeechData(language="en", text="a question")],
        )


class Model(llm.LLM):  # type: ignore[misc]
    def chat(self, *, chat_ctx: Any, tools: Any = None, **options: Any) -> Any:
        return Reply(
            self, chat_ctx=chat_ctx, tools=tools or [], conn_options=DEFAULT_API_CONNECT_OPTIONS
        )


class Reply(llm.LLMStream):  # type: ignore[misc]
    async def _run(self) -> None:
        delta = llm.ChoiceDelta(role="assistant", content="answer")
        self._event_ch.send_nowait(llm.ChatChunk(id="1", delta=delta))


class Synthesis(tts.TTS):  # type: ignore[misc]
    def __init__(self) -> None:
        capabilities = tts.TTSCapabilities(streaming=False)
        super().__init__(capabilities=capabilities, sample_rate=RATE, num_channels=1)

    def synthesize(self, text: str, *, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS) -> Any:
        return Sound(tts=self, input_text=text, conn_options=conn_options)


class Sound(tts.ChunkedStream):  # type: ignore[misc]
    async def _run(self, output: Any) -> None:
        output.initialize(request_id="1", sample_rate=RATE, num_channels=1, mime_type="audio/pcm")
        frequency, seconds = TONES[self._input_text.strip()]
        samples = range(round(seconds * RATE))
        wave = (round(8000 * math.sin(math.tau * frequency * n / RATE)) for n in samples)
        output.push(array("h", wave).tobytes())
        output.flush()


class Clerk(Agent):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(instructions="Answer.")

    async def on_enter(self) -> None:
        self.session.output.audio.on("playback_finished", self._tell_playback)
        self.session.say("greeting")

    def _tell_playback(self, event: Any) -> None:
        tell(event="played", position=event.playback_position, interrupted=event.interrupted)


async def watch_keys(call: Call, session: AgentSession) -> None:
    try:
        while await run(call.collect_digits, 1, None, None) != "#":
            pass
    except CallEnded:
        return
    session.shutdown()


server = AgentServer(listen=("127.0.0.1", 0), ports=PortRange(33350, 33399))


def set_up(proc: JobProcess) -> None:
    proc.userdata["model"] = Model()


server.setup_fnc = set_up


@server.sip_session()
async def entrypoint(ctx: JobContext) -> None:
    await ctx.connect()
    session = AgentSession(
        stt=Recognition(),
        llm=ctx.proc.userdata["model"],
        tts=Synthesis(),
        aec_warmup_duration=None,
        turn_handling={
            "turn_detection": "vad",
            "endpointing": {"min_delay": 0.5},
            "interruption": {"mode": "vad", "min_duration": 0.2},
        },
    )
    ctx.session = session
    keys = asyncio.create_task(watch_keys(ctx.call, session))

    @session.on("close")  # type: ignore[untyped-decorator]
    def closed(event: Any) -> None:
        keys.cancel()
        tell(event="finished", state=ctx.call.state)

    await session.start(agent=Clerk(), room=ctx.room)


logging.basicConfig(level=logging.INFO)
server.run()
tell(event="ended")
