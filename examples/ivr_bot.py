"""A voice menu behind `spech bridge`, which a key interrupts: 1 tells the time, # ends the call.

    python examples/ivr_bot.py 9000
    spech bridge --listen 127.0.0.1:5080 --websocket ws://127.0.0.1:9000/ --rate 22050
    spech call sip:bot@127.0.0.1:5080

It speaks with espeak-ng, whose rate the bridge is told. docs/bots.md specifies the protocol.
"""

import datetime
import json
import sys
from contextlib import suppress

import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    serve_websocket,
)

MENU = "For the time, press 1. To end this call, press hash."


async def say(connection: WebSocketConnection, text: str) -> None:
    """Send all of the speech at once: the bridge plays it in order."""
    command = ["espeak-ng", "--stdin", "--stdout"]
    spoken = await trio.run_process(command, stdin=text.encode(), capture_stdout=True)
    await connection.send_message(spoken.stdout[44:])  # PCM after the header of a WAV file


async def command(connection: WebSocketConnection, name: str, /, **members: str) -> None:
    await connection.send_message(json.dumps({"command": name, **members}))


async def answer(request: WebSocketRequest) -> None:
    connection = await request.accept()
    call = json.loads(await connection.get_message())
    print("a call from", call["caller"], flush=True)
    with suppress(ConnectionClosed):
        await say(connection, MENU)
        while True:
            message = await connection.get_message()
            if isinstance(message, str):
                await react(connection, json.loads(message))


async def react(connection: WebSocketConnection, event: dict[str, str]) -> None:
    if event["event"] == "dtmf":
        await command(connection, "clear")  # What has not been played is dropped at once.
        if event["digit"] == "#":
            await say(connection, "Goodbye.")
            await command(connection, "mark", name="goodbye")
        elif event["digit"] == "1":
            await say(connection, f"It is {datetime.datetime.now():%H:%M}. {MENU}")
        else:
            await say(connection, f"There is no {event['digit']}. {MENU}")
    elif event["event"] == "cleared":
        print("interrupted after", event["played_ms"], "ms", flush=True)
    elif event["event"] == "mark":
        await command(connection, "hangup")  # The caller has heard the last word.


async def main(port: int) -> None:
    print("waiting for calls", flush=True)
    await serve_websocket(answer, "127.0.0.1", port, ssl_context=None)


if __name__ == "__main__":
    try:
        trio.run(main, int(sys.argv[1]))
    except* KeyboardInterrupt:
        pass
