"""Records the calls of `spech bridge` as its listener, with a side of the call on each channel.

    python examples/recorder.py 9001 recordings/
    spech bridge --listen 127.0.0.1:5080 --websocket ws://127.0.0.1:9000/ --tap ws://127.0.0.1:9001/

A file is named after the hash of the Call-ID. docs/bots.md specifies the protocol.
"""

import hashlib
import json
import sys
import wave
from contextlib import suppress
from functools import partial
from pathlib import Path

import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket


async def record(folder: Path, request: WebSocketRequest) -> None:
    connection = await request.accept()
    call = json.loads(await connection.get_message())
    # A Call-ID is chosen by the peer, and may hold any character.
    path = folder / f"{hashlib.sha256(call['call_id'].encode()).hexdigest()[:16]}.wav"
    with wave.open(str(path), "wb") as file, suppress(ConnectionClosed):
        file.setnchannels(call["channels"])
        file.setsampwidth(2)
        file.setframerate(call["rate"])
        while True:
            message = await connection.get_message()
            if isinstance(message, bytes):
                file.writeframes(message)
    print("recorded", call["caller"], "in", path, flush=True)


async def main(port: int, folder: Path) -> None:
    print("waiting for calls", flush=True)
    await serve_websocket(partial(record, folder), "127.0.0.1", port, ssl_context=None)


if __name__ == "__main__":
    recordings = Path(sys.argv[2])
    recordings.mkdir(parents=True, exist_ok=True)
    try:
        trio.run(main, int(sys.argv[1]), recordings)
    except* KeyboardInterrupt:
        pass
