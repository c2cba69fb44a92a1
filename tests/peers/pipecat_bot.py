"""A bot on Pipecat's serializers, run in their environment: ``pipecat_bot.py PROTOCOL RATE``.

It prints JSON, a line for each event: its port, whose call it is, and the keys that are pressed. At
first it says three seconds of a tone of 600 Hz at once. The key 1 interrupts it, 2 makes it an
echo, and # ends the call.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from array import array
from collections.abc import AsyncIterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import websockets
from pipecat.frames.frames import (
    EndFrame,
    InputAudioRawFrame,
    InputDTMFFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    StartFrame,
)
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.exotel import ExotelFrameSerializer
from pipecat.serializers.plivo import PlivoFrameSerializer
from pipecat.serializers.telnyx import TelnyxFrameSerializer
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.serializers.vonage import VonageFrameSerializer
from pipecat_asterisk.serializer import AsteriskFrameSerializer

PROTOCOL, RATE = sys.argv[1], int(sys.argv[2])
#: The URL, the account and the token with which a bot hangs up over Twilio's REST interface.
HANG_UP = sys.argv[3:]
SPEECH = array("h", (round(8000 * math.sin(math.tau * 600 * n / RATE)) for n in range(3 * RATE)))


class Telephony:
    """What Pipecat's runner wants of a WebSocket."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    async def iter_text(self) -> AsyncIterator[str]:
        async for message in self._socket:
            yield message


def tell(**event: Any) -> None:
    print(json.dumps(event), flush=True)


async def open_serializer(socket: Any) -> Any:
    """The serializer for a call, as Pipecat's runner chooses it."""
    if PROTOCOL == "vonage":
        tell(event="call", kind="vonage", first=json.loads(await socket.recv()))
        serializer = VonageFrameSerializer()
    elif PROTOCOL.startswith("asterisk"):
        serializer = AsteriskFrameSerializer()
    else:
        kind, call = await parse_telephony_websocket(Telephony(socket))
        tell(event="call", kind=kind, call=call.model_dump(by_alias=True))
        identifiers = call["stream_id"], call["call_id"]
        off = {"auto_hang_up": False}
        if kind == "twilio" and HANG_UP:
            url, account, token = HANG_UP
            serializer = TwilioFrameSerializer(*identifiers, account, token, base_url=url)
        elif kind == "twilio":
            parameters = TwilioFrameSerializer.InputParams(**off)
            serializer = TwilioFrameSerializer(*identifiers, params=parameters)
        elif kind == "telnyx":
            parameters = TelnyxFrameSerializer.InputParams(**off)
            encoding = call["outbound_encoding"]
            serializer = TelnyxFrameSerializer(
                call["stream_id"], encoding, encoding, call["call_id"], params=parameters
            )
        elif kind == "plivo":
            parameters = PlivoFrameSerializer.InputParams(**off)
            serializer = PlivoFrameSerializer(*identifiers, params=parameters)
        else:
            serializer = ExotelFrameSerializer(*identifiers)
    if PROTOCOL.startswith("asterisk"):
        start = StartFrame(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE)
        await serializer.setup(start)
        first = await socket.recv()
        tell(event="call", kind="asterisk", first=first)
        await serializer.deserialize(first)
    else:
        rates = SimpleNamespace(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE)
        await serializer.setup(rates)
    return serializer


async def talk(socket: Any) -> None:
    serializer = await open_serializer(socket)

    async def send(frame: Any) -> None:
        message = await serializer.serialize(frame)
        if message:
            await socket.send(message)

    async def say(pcm: bytes) -> None:
        await send(OutputAudioRawFrame(audio=pcm, sample_rate=RATE, num_channels=1))

    speech = SPEECH.tobytes()
    for start in range(0, len(speech), RATE // 25 * 2):
        await say(speech[start : start + RATE // 25 * 2])
    with suppress(websockets.ConnectionClosed):
        await converse(socket, serializer, send, say)
    tell(event="closed", code=socket.close_code, reason=socket.close_reason)


async def converse(socket: Any, serializer: Any, send: Any, say: Any) -> None:
    """Do what the keys say until the WebSocket closes."""
    echoes = False
    async for message in socket:
        frame = await serializer.deserialize(message)
        if isinstance(frame, InputAudioRawFrame) and echoes:
            await say(frame.audio)
        elif isinstance(frame, InputDTMFFrame):
            key = frame.button.value
            tell(event="digit", digit=key)
            if key == "1":
                await send(InterruptionFrame())
            elif key == "2":
                echoes = True
            elif key == "#":
                await send(EndFrame())
                if not PROTOCOL.startswith("asterisk") and not HANG_UP:
                    await socket.close()


async def main() -> None:
    subprotocols = ["media"] if PROTOCOL.startswith("asterisk") else None
    async with websockets.serve(talk, "127.0.0.1", 0, subprotocols=subprotocols) as server:
        tell(event="port", port=server.sockets[0].getsockname()[1])
        await server.serve_forever()


asyncio.run(main())
