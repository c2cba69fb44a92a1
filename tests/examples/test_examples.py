"""Every program in examples/ runs as users start it, and calls a phone or is called by one."""

from __future__ import annotations

import csv
import email
import email.policy
import os
import shutil
import socket
import subprocess
import sys
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
import trio

from spech import Account, Call, CallFailed, IncomingCall, Phone, SpeechBegan, open_phone
from spech.bridge.bridge import Bridge
from spech.bridge.routes import Routes
from spech.bridge.url import WebSocketUrl
from spech.exchange import Exchange, open_exchange
from spech.testing.asterisk import AsteriskUnavailable, find
from spech.testing.audio import assert_tone, read_wav, sine, sounding, write_wav
from spech.testing.plugin import unavailable
from spech.testing.talk import hear_tone, listen, talk

from ..bridge.commands import bridge_command

EXAMPLES = Path(__file__).parents[2] / "examples"
PASSWORDS = {"bot": "metal", "alice": "wonderland", "bob": "builder", "carol": "christmas"}
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
async def running(
    exchange: Exchange, name: str, *arguments: str | Path, **variables: str
) -> AsyncIterator[Program]:
    """Run an example as the user ``bot``. Leaving the block ends it, as systemd does."""
    host, port = exchange.address
    environment = os.environ | {
        "SPECH_ACCOUNT": f"sip:bot@{host}:{port}",
        "SPECH_SIP_PASSWORD": PASSWORDS["bot"],
        **variables,
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


@pytest.mark.parametrize("name", ["echo_bot.py", "asyncio_echo.py"])
async def test_echo_bot(name: str, exchange: Exchange) -> None:
    async with running(exchange, name) as program, phone_of("alice", exchange) as alice:
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
            async with calling(bob, "bot") as second:
                await hear_each_other(first, second)
            await program.until("bob left")


async def hear_each_other(first: Call, second: Call) -> None:
    first.play(sine(700, RATE, 20), rate=RATE)  # Until both have heard enough.
    second.play(sine(1200, RATE, 20), rate=RATE)
    with first.open_audio(RATE) as one, second.open_audio(RATE) as other:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear_tone, one, 1200)
            nursery.start_soon(hear_tone, other, 700)


async def test_pin_conference(exchange: Exchange) -> None:
    async with (
        running(exchange, "pin_conference.py", "1234", "5678") as program,
        phone_of("alice", exchange) as alice,
        phone_of("bob", exchange) as bob,
    ):
        await program.until("registered")
        async with calling(alice, "bot") as first, calling(bob, "bot") as second:
            first.send_dtmf("1234")
            second.send_dtmf("0#1234")  # The first PIN is wrong.
            await program.until("alice joined 1234")
            await program.until("bob joined 1234")
            await hear_each_other(first, second)


async def test_b2bua(exchange: Exchange) -> None:
    async with (
        running(exchange, "b2bua.py", "bob") as program,
        phone_of("alice", exchange) as alice,
        phone_of("bob", exchange) as bob,
    ):
        await program.until("registered")
        incoming = bob.incoming_calls()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refused, alice)
            (await anext(incoming)).reject(486)
        async with alice.call("bot") as near:
            ringing = await anext(incoming)
            async with ringing.answer() as far:
                await near.answered(timeout=10)
                await hear_each_other(near, far)
            await near.ended()
        assert near.ended_by == "remote"
        async with alice.call("bot"):
            ringing = await anext(incoming)
        await ringing.ended()  # A caller who gives up is not answered.
        assert ringing.over


async def refused(phone: Phone) -> None:
    async with phone.call("bot") as call:
        with pytest.raises(CallFailed) as failed:
            await call.answered(timeout=10)
    assert failed.value.status == 486


async def test_dialer(exchange: Exchange, tmp_path: Path) -> None:
    numbers = [*(f"sip:60{one % 2}@{{server}};user={one}" for one in range(44)), "carol"]
    numbers += ["none", "sip:", "bob", "600", "601"]
    host, port = exchange.address
    rows = [["number"], *([number.format(server=f"{host}:{port}")] for number in numbers)]
    wanted, results = tmp_path / "numbers.csv", tmp_path / "results.csv"
    message = tone_file(tmp_path, 700, 0.1)
    async with phone_of("bob", exchange) as bob, trio.open_nursery() as nursery:
        nursery.start_soon(bob.serve, decline)
        for run in (rows[:-1], rows):
            with wanted.open("w", newline="") as file:
                csv.writer(file).writerows(run)
            async with running(exchange, "dialer.py", wanted, message, results, "25") as program:
                assert await program.process.wait() == 0
        nursery.cancel_scope.cancel()
    with results.open(newline="") as file:
        outcomes = {row["number"]: row["outcome"] for row in csv.DictReader(file)}
    assert list(outcomes)[-1] == "601"  # The second run called the number that was new.
    assert set(outcomes) == {number for (number,) in rows[1:]}
    assert sum(outcome == "played" for outcome in outcomes.values()) == 46
    assert outcomes["bob"].startswith("486 ")
    assert outcomes["carol"].startswith("480 ")  # She has not registered.
    assert outcomes["none"].startswith("404 ")
    assert "SIP" in outcomes["sip:"]


async def decline(incoming: IncomingCall) -> None:
    incoming.reject(486)


async def test_monitor(exchange: Exchange) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    async with running(exchange, "monitor.py", "600", port) as program:
        await program.until("good")
        with await trio.to_thread.run_sync(urlopen, f"http://127.0.0.1:{port}/metrics") as answer:
            metrics = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines())
    assert metrics['monitor_calls_total{outcome="good"}'] == "1.0"
    assert metrics["monitor_setup_seconds_count"] == "1.0"
    assert 1 < float(metrics["monitor_mos"]) <= 4.5


async def test_three_accounts(exchange: Exchange, tmp_path: Path) -> None:
    host, port = exchange.address
    greetings = {"bot": 500, "bob": 700, "carol": 900}
    accounts = tmp_path / "accounts.toml"
    accounts.write_text(
        "".join(
            f'[{user}s]\naddress = "sip:{user}@{host}:{port}"\npassword = "{PASSWORDS[user]}"\n'
            f'greeting = "{tone_file(tmp_path, frequency, 1)}"\n'
            for user, frequency in greetings.items()
        )
    )

    async def hear_greeting(alice: Phone, user: str) -> None:
        async with calling(alice, user) as call:
            with call.open_audio(RATE) as audio:
                await hear_tone(audio, greetings[user])

    async with (
        running(exchange, "three_accounts.py", accounts) as program,
        phone_of("alice", exchange) as alice,
    ):
        for user in greetings:
            await program.until(f"{user}s is registered")
        async with trio.open_nursery() as nursery:
            for user in greetings:
                nursery.start_soon(hear_greeting, alice, user)
        for user in greetings:
            await program.until(f"alice calls {user}s")


@asynccontextmanager
async def websocket_program(
    exchange: Exchange, name: str, *arguments: str | Path
) -> AsyncIterator[tuple[Program, WebSocketUrl]]:
    """An example that serves a WebSocket, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    async with running(exchange, name, port, *arguments) as program:
        await program.until("waiting")
        yield program, WebSocketUrl.parse(f"ws://127.0.0.1:{port}/")


async def test_websocket_bot_and_recorder(exchange: Exchange, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    async with (
        websocket_program(exchange, "websocket_bot.py") as (program, url),
        websocket_program(exchange, "recorder.py", folder) as (recorder, tap),
        phone_of("bot", exchange) as answering,
        phone_of("alice", exchange) as alice,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(Bridge(Routes(default=url), tap=tap).serve, answering)
        async with calling(alice, "bot") as call:
            with call.open_audio(RATE) as port:
                await hear_tone(port, 700, say=sine(700, RATE, 1))
            call.send_dtmf("#")
            await call.ended()
        assert call.ended_by == "remote"
        await program.until("a call from alice")
        await recorder.until("recorded alice")
        nursery.cancel_scope.cancel()
    (recording,) = folder.iterdir()
    with wave.open(str(recording)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, RATE)
        sides = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    for side in sides.T:
        heard = sounding(side, RATE)
        assert_tone(heard[RATE // 10 : RATE // 2], RATE, 700, tolerance=2)


async def test_ivr_bot(exchange: Exchange) -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed (Debian's package espeak-ng)")
    async with (
        websocket_program(exchange, "ivr_bot.py") as (program, url),
        phone_of("bot", exchange) as answering,
        phone_of("alice", exchange) as alice,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(Bridge(Routes(default=url), rate=22050).serve, answering)
        async with calling(alice, "bot") as call:
            heard = call.heard()
            await until_speech(heard)
            call.send_dtmf("1")
            await program.until("interrupted after ")
            await until_speech(heard)
            call.send_dtmf("#")
            await call.ended()
        assert call.ended_by == "remote"
        nursery.cancel_scope.cancel()


async def test_answering_machine(exchange: Exchange, tmp_path: Path) -> None:
    greeting = tone_file(tmp_path, 700, 1)
    folder = tmp_path / "messages"
    mails: list[bytes] = []
    async with trio.open_nursery() as nursery:
        (server,) = await nursery.start(
            partial(trio.serve_tcp, partial(take_mail, mails=mails), 0, host="127.0.0.1")
        )
        host, port = server.socket.getsockname()
        arguments = (greeting, folder, "office@example.org")
        async with (
            running(
                exchange, "answering_machine.py", *arguments, SMTP_SERVER=f"{host}:{port}"
            ) as program,
            phone_of("alice", exchange) as alice,
        ):
            await leave_message(program, alice)
            while not mails:  # noqa: ASYNC110, a list does not tell
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    (message,) = folder.iterdir()
    assert message.name.endswith(" alice.wav")
    recorded, rate = read_wav(message)
    heard = sounding(np.asarray(recorded), rate)
    assert_tone(heard[rate // 2 : rate], rate, 1200, tolerance=2)
    mail = email.message_from_bytes(mails[0], policy=email.policy.default)
    assert (mail["To"], mail["Subject"]) == ("office@example.org", "Voice message from alice")
    (attached,) = mail.iter_attachments()
    assert attached.get_content() == message.read_bytes()


async def leave_message(program: Program, alice: Phone) -> None:
    await program.until("registered")
    async with calling(alice, "bot") as call:
        with call.open_audio(RATE) as port:
            await hear_tone(port, 700)
            await listen(port, 1.5)  # The rest of the greeting, and the tone after it.
            await talk(port, sine(1200, RATE, 1), 2)
    await program.until("alice left a message")


async def take_mail(stream: trio.SocketStream, mails: list[bytes]) -> None:
    """Serve SMTP (RFC 5321) to smtplib, which writes its commands in lower case."""
    await stream.send_all(b"220 localhost\r\n")
    received = b""
    async for chunk in stream:
        received += chunk
        _, data, mail = received.partition(b"\r\ndata\r\n")
        if mail.endswith(b"\r\n.\r\n"):
            mails.append(mail.removesuffix(b".\r\n"))
            received = b""
            await stream.send_all(b"250 taken\r\n")
        elif data and not mail:
            await stream.send_all(b"354 go on\r\n")
        elif not data and received.endswith(b"\r\n"):
            await stream.send_all(b"221 bye\r\n" if received == b"quit\r\n" else b"250 yes\r\n")


def test_asterisk_ci(tmp_path: Path) -> None:
    try:
        find()
    except AsteriskUnavailable as error:
        unavailable("asterisk", str(error))
    folder = tmp_path / "office"
    shutil.copytree(EXAMPLES / "asterisk-ci", folder)  # As a team does with it.
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "4 passed" in run.stdout, run.stdout + run.stderr


def test_click_to_call_says_how_it_is_used() -> None:
    command = [sys.executable, str(EXAMPLES / "click_to_call.py"), "http://127.0.0.1:8090"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (run.returncode, run.stderr[:6]) == (1, "usage:")


async def test_click_to_call_tells_what_becomes_of_a_call() -> None:
    async def answer(incoming: IncomingCall) -> None:
        async with incoming.answer():
            await trio.sleep(0.5)

    with trio.fail_after(PATIENCE):
        async with (
            open_phone(listen=("127.0.0.1", 0)) as phone,
            bridge_command("--api", "127.0.0.1:0") as (process, _),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(phone.serve, answer)
            assert process.stdout is not None
            api = (await process.stdout.receive_some()).decode().split()[-1].rstrip("/")
            example = [sys.executable, str(EXAMPLES / "click_to_call.py"), api]
            for number, status, told in (
                (
                    f"sip:alice@127.0.0.1:{phone.address[1]}",
                    0,
                    "answered\nended\nspech -> sip:alice",
                ),
                ("600", 1, "not called: '600' needs an account"),
            ):
                run = [*example, number, "order=7"]
                ended = await trio.run_process(run, capture_stdout=True, check=False)
                assert (ended.returncode, told in ended.stdout.decode()) == (status, True)
            nursery.cancel_scope.cancel()
