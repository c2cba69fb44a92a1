"""``spech bridge`` as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio

from .bots import echo, websocket_server


@asynccontextmanager
async def bridge_command(*options: str, port: int = 0) -> AsyncIterator[tuple[trio.Process, str]]:
    """`spech bridge` with a program that echoes, and the address to call."""
    async with websocket_server(echo) as url, trio.open_nursery() as nursery:
        command = [sys.executable, "-m", "spech", "bridge", "--listen", f"127.0.0.1:{port}"]
        run = partial(
            trio.run_process,
            [*command, "--websocket", url, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=False,
        )
        process: trio.Process = await nursery.start(run)
        assert process.stdout is not None
        greeting = b""
        with trio.fail_after(10):
            while not greeting.endswith(b"\n"):
                greeting += await process.stdout.receive_some(1)  # The line, and nothing after it.
        said = greeting.decode()
        address = json.loads(said)["address"] if "--json" in options else said.split()[-1]
        yield process, f"sip:bot@{address}"
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
