"""The command as a process, and an exchange for it to call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from spech import PortRange
from spech.exchange import Exchange, open_exchange
from spech.testing.waiting import until

KEYS = [
    "event",
    "remote",
    "answered",
    "status",
    "reason",
    "codec",
    "encrypted",
    "duration_s",
    "ended_by",
    "rtp",
    "quality",
    "dtmf_received",
]


@asynccontextmanager
async def exchange_is_open() -> AsyncIterator[Exchange]:
    accounts = {"alice": "wonderland"}
    async with open_exchange(("127.0.0.1", 0), accounts, ports=PortRange(34600, 34699)) as exchange:
        yield exchange


def account(exchange: Exchange) -> list[str]:
    return ["--account", f"sip:alice@127.0.0.1:{exchange.address[1]}"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "spech", *arguments]


def environment(password: str) -> dict[str, str]:
    return {**os.environ, "SPECH_SIP_PASSWORD": password, "COLUMNS": "200"}


async def spech(
    *arguments: str,
    password: str = "wonderland",
    stdout: int | None = None,
    largest_file: int | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end. Its output is captured, or goes to a file descriptor.

    ``largest_file`` limits what it can write into one file, in blocks of 512 bytes.
    """
    words = command(*arguments)
    if largest_file is not None:
        words = ["sh", "-c", f'ulimit -f {largest_file} && exec "$@"', "sh", *words]
    where: dict[str, Any] = {"capture_stdout": True} if stdout is None else {"stdout": stdout}
    with trio.fail_after(30):
        return await trio.run_process(
            words,
            stdin=subprocess.DEVNULL,
            **where,
            capture_stderr=True,
            check=False,
            env=environment(password),
        )


class Running:
    """A command that runs until it is told to stop."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.said = ""

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for part in self.process.stdout:
            self.said += part.decode()

    async def says(self, text: str) -> None:
        await until(lambda: text in self.said, within=15)

    async def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        with trio.fail_after(15):
            return await self.process.wait()


@asynccontextmanager
async def running(*arguments: str, password: str = "wonderland") -> AsyncIterator[Running]:
    """Start the command, with standard error redirected to standard output."""
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(
                trio.run_process,
                command(*arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
                env=environment(password),
            )
        )
        program = Running(process)
        nursery.start_soon(program.listen)
        yield program
        nursery.cancel_scope.cancel()


def events_of(output: bytes | str) -> list[dict[str, Any]]:
    """The events of ``--json``: every line is an object, and nothing else is printed."""
    return [json.loads(line) for line in output.splitlines()]


def outcome_of(result: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    """The result of a call: the last line of ``--json``."""
    outcome = events_of(result.stdout)[-1]
    assert list(outcome) == KEYS
    assert outcome["event"] == "ended"
    assert list(outcome["rtp"]) == ["sent", "received", "lost", "jitter_ms"]
    return outcome
