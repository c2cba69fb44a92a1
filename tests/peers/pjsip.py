"""PJSIP at the other end: pjsua2 in a separate process and environment.

It sends a tone of 600 Hz, answers every call and follows every transfer.
"""

from __future__ import annotations

import json
import subprocess
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import trio
from numpy.typing import NDArray

from spech.testing.asterisk import cache
from spech.testing.audio import read_wav, sine, write_wav

#: Frequency of the tone that it sends, in Hz.
TONE_FREQUENCY = 600.0

_AGENT = Path(__file__).with_name("pjsua_agent.py")
_PATIENCE = 20.0


def program() -> Path:
    """The interpreter that has pjsua2."""
    return cache() / "peers" / "pjsip" / "bin" / "python"


class Pjsip:
    """A running PJSIP.

    Attributes:
        events: its events, in order.
        printed: every line of its output.
    """

    def __init__(self, process: trio.Process, directory: Path, port: int) -> None:
        self.events: list[dict[str, Any]] = []
        self.printed: list[bytes] = []
        self.address = f"sip:pjsua@127.0.0.1:{port}"
        self._process = process
        self._directory = directory
        self._news = trio.Event()
        self._recordings = 0

    async def read(self) -> None:
        """Collect its events until it exits."""
        assert self._process.stdout is not None
        text = b""
        async for some in self._process.stdout:
            *lines, text = (text + some).split(b"\n")
            self.printed += lines
            # PJSIP prints some log lines before they can be disabled.
            self.events += [json.loads(line) for line in lines if line.startswith(b"{")]
            self._news.set()
            self._news = trio.Event()

    async def do(self, command: str, *arguments: str) -> None:
        """Send a command; see the methods of ``Commands`` in pjsua_agent.py."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps([command, *arguments]).encode() + b"\n")

    async def until(self, test: Callable[[dict[str, Any]], bool], since: int = 0) -> None:
        """Wait for an event. ``since`` is the number of events to skip.

        Raises:
            TimeoutError: there is none within twenty seconds; the message lists the events.
        """
        with trio.move_on_after(_PATIENCE):
            while not any(test(event) for event in self.events[since:]):
                await self._news.wait()
            return
        raise TimeoutError(b"\n".join(self.printed).decode(errors="replace"))

    async def state(self, state: str, since: int = 0) -> None:
        """Wait until a call is in this state of PJSIP's, such as CONFIRMED."""
        await self.until(lambda event: event.get("state") == state, since)

    async def media(self, *, active: bool, held: bool = False, since: int = 0) -> None:
        """Wait until the sound is active or not, held by us or not."""
        wanted = {"event": "media", "active": active, "held": held}
        await self.until(lambda event: event | wanted == event, since)

    @property
    def digits(self) -> str:
        """The digits that it received."""
        return "".join(e["digit"] for e in self.events if e["event"] == "digit")

    async def heard(self, seconds: float) -> tuple[NDArray[np.int16], int]:
        """What it receives in the newest call in the next seconds, and the rate in Hz."""
        self._recordings += 1
        path = self._directory / f"heard-{self._recordings}.wav"
        since = len(self.events)
        await self.do("record", str(path))
        await trio.sleep(seconds)
        await self.do("stop")
        await self.until(lambda event: event["event"] == "stopped", since)
        with trio.fail_after(_PATIENCE):
            while True:  # PJSIP's conference bridge completes the file a little later.
                try:
                    sound, rate = read_wav(path)
                except (wave.Error, EOFError):
                    await trio.sleep(0.05)
                    continue
                if len(sound):
                    return sound, rate
                await trio.sleep(0.05)


@asynccontextmanager
async def running(
    directory: Path, port: int, codec: str, *, encryption: str = "off"
) -> AsyncIterator[Pjsip]:
    """Run PJSIP while the block runs.

    Args:
        directory: where its files go; one of its own for each run.
        port: of SIP; RTP takes the next sixteen from two above it.
        codec: the only codec, by its name there, such as ``PCMU/8000/1``.
        encryption: "off" or "sdes".
    """
    tone = directory / "pjsip.wav"
    write_wav(tone, sine(TONE_FREQUENCY, 16000, 1), 16000)
    command = [program(), "-u", _AGENT, str(port), codec, encryption, tone]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(
                trio.run_process,
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
        )
        pjsip = Pjsip(process, directory, port)
        nursery.start_soon(pjsip.read)
        await pjsip.until(lambda event: event["event"] == "codecs")
        yield pjsip
        await process.stdin.aclose()
        with trio.move_on_after(5):
            await process.wait()
        nursery.cancel_scope.cancel()
