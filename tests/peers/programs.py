"""Other programs that talk with a test in lines."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from spech.testing.asterisk import cache
from spech.testing.plugin import unavailable

ROOT = Path(__file__).parents[2]
#: The environments that `make test-peers` makes.
PEERS = cache() / "peers"
#: The interpreters that have Pipecat, LiveKit Agents and Twilio's library.
PIPECAT, LIVEKIT, TWILIO = (
    PEERS / name / "bin" / "python" for name in ("pipecat", "livekit", "twilio")
)


def require(program: Path, title: str) -> None:
    """Skip the test, or fail, where ``make test-peers`` has not installed this."""
    if not program.exists():
        unavailable("peers", f"{title} is not installed; `make test-peers` installs it")


def free_port() -> int:
    """A TCP port that nobody listens on, for a program that takes no other."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Program:
    """A running program. Made by :func:`running`."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._text = b""
        self._printed: list[str] = []

    async def line(self, wanted: Callable[[bytes], bool]) -> bytes:
        """Wait for the next line of its output that is wanted."""
        with trio.move_on_after(60):
            while True:
                line = await self._next_line()
                if wanted(line):
                    return line
        raise AssertionError("\n".join(["it has not printed what was wanted:", *self._printed]))

    async def _next_line(self) -> bytes:
        assert self._process.stdout is not None
        while b"\n" not in self._text:
            some = await self._process.stdout.receive_some()
            assert some, "\n".join(["the program ended:", *self._printed, self._text.decode()])
            self._text += some
        line, _, self._text = self._text.partition(b"\n")
        self._printed = [*self._printed[-50:], line.decode()]
        return line

    async def line_with(self, text: str) -> None:
        """Wait for the next line of its output that contains this."""
        await self.line(lambda line: text.encode() in line)

    async def event(self, name: str) -> dict[str, Any]:
        """Wait for the next event of that name, an object in JSON."""

        def named(line: bytes) -> bool:
            return line.startswith(b"{") and json.loads(line).get("event") == name

        return dict(json.loads(await self.line(named)))

    async def word_after(self, beginning: str) -> str:
        """The last word of the next line that begins with this."""
        line = await self.line(lambda line: line.startswith(beginning.encode()))
        return line.decode().split()[-1]

    async def ask(self, function: str, **named: Any) -> Any:
        """Have it call a function, and wait for the result, a line of JSON."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps([function, named]).encode() + b"\n")
        return json.loads(await self.line(lambda line: True))


@asynccontextmanager
async def running(*command: str | Path, **variables: str) -> AsyncIterator[Program]:
    """A program for a block; it is terminated at the end. It can import this Spech.

    Args:
        command: its path, and its arguments.
        variables: of its environment, besides ours.
    """
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
                check=False,
            )
        )
        yield Program(process)
        process.terminate()
