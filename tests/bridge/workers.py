"""``spech bridge --workers 2`` as a process, with its control plane."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio
from trio_websocket import WebSocketConnection

from .asking import ask
from .bots import Program, websocket_server


@dataclass(frozen=True)
class WorkersBridge:
    """The command, the ``host:port`` that it listens on, and the URL of its control plane."""

    process: trio.Process
    address: str
    api: str

    async def show(self, path: str) -> Any:
        """What the control plane answers."""
        status, body = await ask(self.api + path)
        assert status == 200, body
        return json.loads(body)

    async def record(self, call: str, **wanted: object) -> dict[str, Any]:
        """The record of a call once it has these values."""
        with trio.fail_after(15):
            while True:
                record: dict[str, Any] = await self.show(f"/v1/calls/{call}")
                if record | wanted == record:
                    return record
                await trio.sleep(0.05)

    async def metrics(self) -> dict[str, float]:
        """Names with labels, and values."""
        _, body = await ask(f"{self.api}/metrics")
        lines = [line.rsplit(" ", 1) for line in body.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in lines}


async def echo_sound(connection: WebSocketConnection) -> None:
    """A bot that sends back what it hears, and not what it is told."""
    while True:
        message = await connection.get_message()
        if isinstance(message, bytes):
            await connection.send_message(message)


@asynccontextmanager
async def workers_bridge(
    *options: str, program: Program = echo_sound, environment: dict[str, str] | None = None
) -> AsyncIterator[WorkersBridge]:
    """Two workers, once they take calls; SIGTERM ends them, and the block waits for that.

    Args:
        options: further ones, such as ``--listen``.
        program: the bot.
        environment: of the process; that of this one by default.
    """
    async with websocket_server(program) as url, trio.open_nursery() as nursery:
        command = [sys.executable, "-m", "spech", "bridge", "--workers", "2", "--json"]
        command += ["--websocket", url, "--api", "127.0.0.1:0", *options]
        run = partial(
            trio.run_process,
            command,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        process: trio.Process = await nursery.start(run)
        assert process.stdout is not None
        said = b""
        with trio.fail_after(30):  # Three processes have to start.
            while b'"serving"' not in said or not said.endswith(b"\n"):
                more = await process.stdout.receive_some()
                assert more, f"it has ended after {said!r}"
                said += more
        told = {line["event"]: line for line in map(json.loads, said.splitlines())}
        api = told["serving"]["url"].rstrip("/")
        nursery.start_soon(_swallow, process)
        yield WorkersBridge(process, told["listening"]["address"], api)
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)


async def _swallow(process: trio.Process) -> None:
    """Read what it prints about calls, so that it does not wait."""
    assert process.stdout is not None
    async for _ in process.stdout:
        pass


def worker_processes(front: trio.Process) -> list[int]:
    """The processes of the workers, in the order of their start."""
    children = (task / "children" for task in Path(f"/proc/{front.pid}/task").iterdir())
    return sorted(int(pid) for file in children for pid in file.read_text().split())


def udp_sockets(pid: int) -> int:
    """How many UDP sockets a process has: two for each call."""
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    found = {line.split()[9] for line in Path("/proc/net/udp").read_text().splitlines()[1:]}
    return len({link[8:-1] for link in links if link.startswith("socket:")} & found)
