"""A bot behind `spech bridge`: it says back what it hears, and hangs up at the key #.

    python examples/websocket_bot.py [PORT]
    spech bridge --listen 127.0.0.1:5080 --websocket ws://127.0.0.1:9000/
    spech call sip:bot@127.0.0.1:5080

The port is 9000 by default. The bot needs nothing of Spech: docs/bots.md specifies the protocol,
and any WebSocket library in any language serves.
"""

import json
import sys
from contextlib import suppress

import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket


async def answer(request: WebSocketRequest) -> None:
    connection = await request.accept()
    call = json.loads(await connection.get_message())
    print("a call from", call["caller"], flush=True)
    with suppress(ConnectionClosed):
        while True:
            message = await connection.get_message()
            if isinstance(message, bytes):
                await connection.send_message(message)  # 20 ms of what the caller says
            elif json.loads(message).get("digit") == "#":
                await connection.send_message(json.dumps({"command": "hangup"}))


async def main(port: int) -> None:
    print("waiting for calls", flush=True)
    await serve_websocket(answer, "127.0.0.1", port, ssl_context=None)


if __name__ == "__main__":
    try:
        trio.run(main, int([*sys.argv[1:], "9000"][0]))
    except* KeyboardInterrupt:
        pass
