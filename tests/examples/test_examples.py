"""Every program in examples/ runs as users start it, and calls a phone or is called by one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trio

from spech import Account, Call, Phone, SpeechBegan, open_phone
from spech.bridge.bridge import Bridge
from spech.bridge.routes import Routes
from spech.bridge.url import WebSocketUrl
from spech.exchange import Exchange, open_exchange
from spech.testing.audio import assert_tone, read_wav, sine, sounding, write_wav
from spech.testing.talk import hear_tone, listen, talk

EXAMPLES = Path(__file__).parents[2] / "examples"
PASSWORDS = {"bot": "metal", "alice": "wonderland", "bob": "builder"}
RATE = 8000
#: Seconds for a test, most of which a program needs to start on a busy machine.
PATIENCE = 60


@pytest.fixture
async def exchange() -> AsyncIterator[Exchange]:
    with trio.fail_after(PATIENCE):
        async with open_exchange(("127.0.0.1", 0), PASSWORDS) as exchange:
            yield exchange


@asynccontextmanager
async def phone_of(user: str, exchange: Exchange) -> AsyncIterator[Phone]:
    host, port = exchange.address
    account = Account(f"sip:{user}@{host}:{port}", password=PASSWORDS[user])
    async with open_phone(account, listen=("127.0.0.1", 0)) as phone:
        await phone.registered(timeout=10)
        yield phone


class Program:
    """An example that runs, and the lines that it printed."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.printed = ""

    async def until(self, text: str) -> None:
        """Wait until it has printed this."""
        assert self.process.stdout is not None
        while text not in self.printed:
            some = await self.process.stdout.receive_some()
            assert some, f"ended with {await self.process.wait()}:\n{self.printed}"
            self.printed += some.decode()


@asynccontextmanager
async def running(exchange: Exchange, name: str, *arguments: str | Path) -> AsyncIterator[Program]:
    """Run an example as the user ``bot``. Leaving the block ends it, as systemd does."""
    host, port = exchange.address
    environment = os.environ | {
        "SPECH_ACCOUNT": f"sip:bot@{host}:{port}",
        "SPECH_SIP_PASSWORD": PASSWORDS["bot"],
    }
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                [sys.executable, EXAMPLES / name, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                check=False,
            )
        )
        yield Program(process)
        process.terminate()
        await process.wait()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def calling(phone: Phone, number: str) -> AsyncIterator[Call]:
    async with phone.call(number) as call:
        await call.answered(timeout=10)
        yield call


def tone_file(folder: Path, frequency: float, seconds: float) -> Path:
    path = folder / f"{frequency:.0f}.wav"
    write_wav(path, sine(frequency, RATE, seconds), RATE)
    return path


async def test_echo_bot(exchange: Exchange) -> None:
    async with running(exchange, "echo_bot.py") as program, phone_of("alice", exchange) as alice:
        await program.until("registered")
        async with calling(alice, "bot") as call:
            with call.open_audio(RATE) as port:
                await hear_tone(port, 700, say=sine(700, RATE, 1))
        async with calling(alice, "bot") as call:
            program.process.terminate()
            await call.ended()  # A bot that is told to end hangs up its call.
        assert call.ended_by == "remote"


async def test_announce(exchange: Exchange, tmp_path: Path) -> None:
    file = tone_file(tmp_path, 700, 1.5)
    async with phone_of("alice", exchange) as alice, trio.open_nursery() as nursery:
        incoming = alice.incoming_calls()
        async with running(exchange, "announce.py", "alice", file) as program:
            async with (await anext(incoming)).answer() as call:
                with call.open_audio(RATE) as port:
                    await hear_tone(port, 700)
                await call.ended()
            assert await program.process.wait() == 0
        async with running(exchange, "announce.py", "alice", file) as program:
            (await anext(incoming)).reject(486)
            await program.until("not answered: 486")
            assert await program.process.wait() == 1
        nursery.cancel_scope.cancel()


async def test_menu(exchange: Exchange) -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed (Debian's package espeak-ng)")
    async with running(exchange, "menu.py") as program, phone_of("alice", exchange) as alice:
        await program.until("registered")
        async with calling(alice, "bot") as call:
            heard = call.heard()
            await until_speech(heard)
            call.send_dtmf("2")  # A digit interrupts the question.
            await until_speech(heard)
            call.send_dtmf("42#,,,9,9,9")  # Three wrong answers end the menu.
            await call.ended()
        assert call.ended_by == "remote"


async def until_speech(heard: AsyncIterator[object]) -> None:
    async for event in heard:
        if isinstance(event, SpeechBegan):
            return


async def test_conference_room(exchange: Exchange) -> None:
    async with (
        running(exchange, "conference_room.py") as program,
        phone_of("alice", exchange) as alice,
        phone_of("bob", exchange) as bob,
    ):
        await program.until("registered")
        async with calling(alice, "bot") as first:
            await program.until("alice joined")
            async with calling(bob, "bot") as second, trio.open_nursery() as nursery:
                with first.open_audio(RATE) as one, second.open_audio(RATE) as other:
                    nursery.start_soon(lambda: hear_tone(one, 1200, say=sine(700, RATE, 1)))
                    nursery.start_soon(lambda: hear_tone(other, 700, say=sine(1200, RATE, 1)))
                    await _all_done(nursery)
            await program.until("bob left")


async def test_websocket_bot(exchange: Exchange) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port_number = free.getsockname()[1]
    async with (
        running(exchange, "websocket_bot.py", str(port_number)) as program,
        phone_of("bot", exchange) as answering,
        phone_of("alice", exchange) as alice,
        trio.open_nursery() as nursery,
    ):
        await program.until("waiting")
        url = WebSocketUrl.parse(f"ws://127.0.0.1:{port_number}/")
        nursery.start_soon(Bridge(Routes(default=url)).serve, answering)
        async with calling(alice, "bot") as call:
            with call.open_audio(RATE) as port:
                await hear_tone(port, 700, say=sine(700, RATE, 1))
            call.send_dtmf("#")
            await call.ended()
        assert call.ended_by == "remote"
        await program.until("a call from alice")
        nursery.cancel_scope.cancel()


async def _all_done(nursery: trio.Nursery) -> None:
    while nursery.child_tasks:  # noqa: ASYNC110, a nursery does not tell
        await trio.sleep(0.05)


async def test_answering_machine(exchange: Exchange, tmp_path: Path) -> None:
    greeting = tone_file(tmp_path, 700, 1)
    folder = tmp_path / "messages"
    async with (
        running(exchange, "answering_machine.py", greeting, folder) as program,
        phone_of("alice", exchange) as alice,
    ):
        await program.until("registered")
        async with calling(alice, "bot") as call:
            with call.open_audio(RATE) as port:
                await hear_tone(port, 700)
                await listen(port, 1.5)  # The rest of the greeting, and the tone after it.
                await talk(port, sine(1200, RATE, 1), 2)
        await program.until("alice left a message")
    (message,) = folder.iterdir()
    assert message.name.endswith(" alice.wav")
    recorded, rate = read_wav(message)
    heard = sounding(np.asarray(recorded), rate)
    assert_tone(heard[rate // 2 : rate], rate, 1200, tolerance=2)
