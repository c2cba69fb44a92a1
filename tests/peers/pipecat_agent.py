"""An agent on ``spech.contrib.pipecat``, run in Pipecat's environment: it answers every call.

It prints JSON, a line for each event. At first it says ten seconds of a tone of 600 Hz at once. The
key 1 interrupts it, 2 makes it an echo, 3 sends the digits 42, and # ends the pipeline after half a
second of a tone of 800 Hz.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from array import array
from typing import Any

from loguru import logger
from pipecat.frames.frames import (
    ClientConnectedFrame,
    EndWorkerFrame,
    InputAudioRawFrame,
    InputDTMFFrame,
    OutputAudioRawFrame,
    OutputDTMFFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.workers.runner import WorkerRunner

from spech import IncomingCall, PortRange, open_phone
from spech.aio import enter, handler, run
from spech.contrib.pipecat import SpechTransport

RATE = 16000


def tell(**event: Any) -> None:
    print(json.dumps(event), flush=True)


def tone(frequency: int, seconds: float) -> bytes:
    samples = range(round(seconds * RATE))
    return array(
        "h", (round(8000 * math.sin(math.tau * frequency * n / RATE)) for n in samples)
    ).tobytes()


class Talker(FrameProcessor):  # type: ignore[misc]
    """Stands for speech recognition, language model and speech synthesis."""

    def __init__(self) -> None:
        super().__init__()
        self._echoes = False

    async def process_frame(self, frame: Any, direction: Any) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            if self._echoes:
                await self.push_frame(OutputAudioRawFrame(frame.audio, frame.sample_rate, 1))
            return
        await self.push_frame(frame, direction)
        if isinstance(frame, ClientConnectedFrame):
            await self._say(tone(600, 10))
        elif isinstance(frame, InputDTMFFrame):
            tell(event="digit", digit=frame.button.value)
            await self._obey(frame.button.value)

    async def _obey(self, key: str) -> None:
        if key == "1":
            await self.broadcast_interruption()
        elif key == "2":
            self._echoes = True
        elif key == "3":
            await self.push_frame(OutputDTMFFrame.from_string("42"))
        elif key == "#":
            self._echoes = False
            await self._say(tone(800, 0.5))
            await self.push_frame(EndWorkerFrame())

    async def _say(self, pcm: bytes) -> None:
        await self.push_frame(TTSStartedFrame())
        await self.push_frame(TTSAudioRawFrame(pcm, RATE, 1))
        await self.push_frame(TTSStoppedFrame())


async def answer(incoming: IncomingCall) -> None:
    async with enter(incoming.answer()) as call:
        transport = SpechTransport(call)

        @transport.event_handler("on_client_disconnected")  # type: ignore[untyped-decorator]
        async def disconnected(transport: Any, call: Any) -> None:
            tell(event="disconnected", by=call.ended_by)

        worker = PipelineWorker(
            Pipeline([transport.input(), Talker(), transport.output()]),
            params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
        )
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        await runner.run()
        tell(event="finished", state=call.state)


async def main() -> None:
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    phone_ports = PortRange(33300, 33349)
    async with enter(open_phone(listen=("127.0.0.1", 0), ports=phone_ports)) as phone:
        tell(event="port", port=phone.address[1])
        await run(phone.serve, handler(answer))


asyncio.run(main())
