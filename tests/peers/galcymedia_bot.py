"""A bot on galcymedia, run in Pipecat's environment: ``galcymedia_bot.py PORT RATE``.

It does and prints the same as ``pipecat_bot.py``.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from array import array
from typing import Any

from galcymedia import serve

PORT, RATE = int(sys.argv[1]), int(sys.argv[2])
SPEECH = array("h", (round(8000 * math.sin(math.tau * 600 * n / RATE)) for n in range(3 * RATE)))


def tell(**event: Any) -> None:
    print(json.dumps(event), flush=True)


class Agent:
    def __init__(self, session: Any) -> None:
        self._session = session
        self._echoes = False
        self._speaking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        media = self._session.media
        tell(event="call", kind="galcymedia", variables=media.channel_variables)
        await self._session.answer()
        self._speaking = asyncio.create_task(self._speak())

    async def _speak(self) -> None:
        """Say everything at once, in pieces that are no whole frames."""
        speech = SPEECH.tobytes()
        for start in range(0, len(speech), 1998):
            await self._session.send_audio(speech[start : start + 1998])

    async def send_audio(self, chunk: bytes) -> None:
        if self._echoes:
            await self._session.send_audio(chunk)

    async def on_dtmf(self, digit: str) -> None:
        tell(event="digit", digit=digit)
        if digit == "1":
            await self._session.flush()
        elif digit == "2":
            self._echoes = True
        elif digit == "#":
            self._echoes = False
            await self._session.finish()

    async def close(self) -> None:
        tell(event="closed", code=1000)


async def main() -> None:
    async with serve(Agent, port=PORT, forward_dtmf=True):
        tell(event="port", port=PORT)
        await asyncio.Event().wait()


asyncio.run(main())
