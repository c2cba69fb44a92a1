"""Processes that are killed, stopped and started again, and that end with this one."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import trio

from bench.soak.held import HOST

_ROOT: Final = Path(__file__).parents[2]


class Process:
    """A phone in another process, which can be killed and started again at the same port.

    A spare process has its modules loaded, so that a start is quick even on a busy machine.
    """

    def __init__(self, *arguments: str) -> None:
        self.port = _free_port()
        self._command = ["--play", "phone", "--at", str(self.port), *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._spare: subprocess.Popen[bytes] | None = None
        self._loaded = False

    async def loaded(self) -> None:
        """Wait until the spare can be started at once."""
        if self._spare is None:
            self._spare = begin(*self._command)
        if not self._loaded:
            await _hear(self._spare)
            self._loaded = True

    async def start(self) -> None:
        """Start the spare, wait until it takes calls, and begin to load another one."""
        await self.loaded()
        assert self._spare is not None
        self._process, self._spare, self._loaded = self._spare, None, False
        assert self._process.stdin is not None
        self._process.stdin.write(b"start\n")
        await _hear(self._process)
        self._spare = begin(*self._command)

    def stop(self) -> None:
        """Stop it, so that it no longer answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    async def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it by a signal, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            await end(process, number)

    async def close(self) -> None:
        """End the spare."""
        if self._spare is not None:
            await end(self._spare)


def begin(*arguments: str) -> subprocess.Popen[bytes]:
    """Run this package in another process.

    The kernel kills it when the thread that began it ends; so it is not begun in a worker thread.
    """
    command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "bench.soak", *arguments]
    return subprocess.Popen(
        command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT
    )


async def end(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGKILL) -> None:
    """End it by a signal, and wait for that."""
    process.send_signal(number)
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(process.wait)
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        stream.close()


async def _hear(process: subprocess.Popen[bytes]) -> None:
    """Wait for the next output of the process."""
    assert process.stdout is not None
    line = await trio.to_thread.run_sync(process.stdout.readline, abandon_on_cancel=True)
    assert line, "another process has failed"


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
