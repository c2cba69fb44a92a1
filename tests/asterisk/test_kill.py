"""After kill -9, a restarted phone ends all calls at a real PBX: no channel stays up."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from spech import Account, TlsSettings, open_phone
from spech.sip.transaction.flow import TransportName
from spech.testing.asterisk import Asterisk
from spech.testing.waiting import until

#: Answers or places calls until it is killed.
PROGRAM = """
import sys
import trio
from spech import Account, PortRange, TlsSettings, open_phone

async def main(journal, address, transport, certificate, answers, *targets):
    account = Account(
        address,
        password="secret-of-tests",
        transport=transport,
        tls=TlsSettings(ca_file=certificate),
    )
    async with open_phone(
        account, listen=("127.0.0.1", PORT), ports=PortRange(33000, 33999), journal=journal
    ) as phone, trio.open_nursery() as nursery:
        incoming = phone.incoming_calls()
        await phone.registered(timeout=5)
        print("registered", flush=True)

        async def call(target):
            async with phone.call(target) as call:
                while call.state not in ("answered", "ringing", "early"):
                    await call.changed()
                print(call.state, flush=True)
                await call.ended()

        for target in targets:
            nursery.start_soon(call, target)
        async for arrived in incoming:
            print("incoming", flush=True)
            if answers == "1":
                nursery.start_soon(answer, arrived)

async def answer(arrived):
    async with arrived.answer() as call:
        print(call.state, flush=True)
        await call.ended()

trio.run(main, *sys.argv[1:])
"""


#: Port of the killed phone and of the next one, so that the contact at the PBX is the same.
SIP_PORT = 33996


def account_at(asterisk: Asterisk, transport: TransportName) -> Account:
    port = asterisk.port + (transport == "tls")
    return Account(
        f"sip:alice@{asterisk.host}:{port}",
        password=asterisk.account("alice").password,
        transport=transport,
        tls=TlsSettings(ca_file=asterisk.certificate_file),
    )


class Program:
    """The program in a separate process."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._text = ""

    async def says(self, *words: str) -> None:
        """Wait until it has printed all of ``words``, in any order. Starting may take a while."""
        assert self._process.stdout is not None
        with trio.fail_after(30):
            while Counter(words) - Counter(self._text.split()):
                data = await self._process.stdout.receive_some()
                assert data, f"the program has ended after {self._text!r}"
                self._text += data.decode()

    async def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()


@asynccontextmanager
async def program(
    asterisk: Asterisk, journal: Path, transport: TransportName, *targets: str, answers: str = "0"
) -> AsyncIterator[Program]:
    account = account_at(asterisk, transport)
    arguments = [str(journal), account.address, transport, str(asterisk.certificate_file)]
    text = PROGRAM.replace("secret-of-tests", account.password or "")
    text = text.replace("PORT)", f"{SIP_PORT})")
    async with trio.open_nursery() as nursery:
        run = partial(
            trio.run_process,
            [sys.executable, "-c", text, *arguments, answers, *targets],
            stdout=subprocess.PIPE,
            check=False,
        )
        process: trio.Process = await nursery.start(run)
        yield Program(process)
        process.kill()


async def restarted(asterisk: Asterisk, journal: Path, transport: TransportName) -> None:
    """Start another phone with that journal: within five seconds no channel is left."""
    account = account_at(asterisk, transport)
    async with open_phone(account, listen=("127.0.0.1", SIP_PORT), journal=journal):
        with trio.fail_after(5):
            await until(lambda: asterisk.channels() == 0)


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_outgoing_calls_of_a_killed_phone_are_ended(
    asterisk: Asterisk, tmp_path: Path, transport: TransportName
) -> None:
    """One call rings, two are up; the PBX challenges the BYE."""
    journal = tmp_path / "calls"
    async with program(asterisk, journal, transport, "604", "602", "600") as killed:
        await killed.says("ringing", "answered", "answered")
        await killed.kill()
    assert asterisk.channels() >= 2  # It ends a call that rings with the connection.
    assert (asterisk.account().password or "-") not in text_of(journal)
    await restarted(asterisk, journal, transport)


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
@pytest.mark.parametrize("answers", ["0", "1"], ids=["ringing", "up"])
async def test_incoming_calls_of_a_killed_phone_are_ended(
    asterisk: Asterisk, tmp_path: Path, transport: TransportName, answers: str
) -> None:
    journal = tmp_path / "calls"
    async with program(asterisk, journal, transport, answers=answers) as killed:
        await killed.says("registered")
        asterisk.originate("alice", "Echo")
        await killed.says("answered" if answers == "1" else "incoming")
        await killed.kill()
    up = asterisk.channels()
    assert up or transport != "udp"
    await restarted(asterisk, journal, transport)


def text_of(journal: Path) -> str:
    return journal.read_text()
