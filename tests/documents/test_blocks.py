"""Every fenced Python block of README and docs runs, with the addresses of a far end on loopback.

A block that calls ``spech.run`` is a program and runs as one. Blocks with tests in them are run by
pytest, all in one run. Any other block is the inside of an ``async`` function; it finds the names
that it uses: ``phone``, ``call`` (answered), ``calls`` (two of them), and everything that
:mod:`spech` exports. The far end echoes, and sends the digits 1234 at the beginning of each call. A
block that waits for calls gets one. tests/peers runs the blocks that need a framework for bots.
"""

from __future__ import annotations

import ast
import inspect
import random
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import spech
from spech.exchange.registrar import Registrar
from spech.testing.audio import sine, write_wav
from spech.testing.talk import hear_tone

from .blocks import Block, blocks

PASSWORD = "wonderland"
LOOPBACK = ("127.0.0.1", 0)
PATIENCE = 40


BLOCKS = [block for block in blocks() if not block.framework]


@dataclass
class FarEnd:
    """A registrar whose users all answer, echo, and send 1234."""

    phone: spech.Phone
    digits: list[str] = field(default_factory=list)

    @property
    def server(self) -> str:
        return f"127.0.0.1:{self.phone.address[1]}"

    async def serve(self) -> None:
        async with trio.open_nursery() as calls:
            async for incoming in self.phone.incoming_calls():
                calls.start_soon(self._take, incoming)

    async def _take(self, incoming: spech.IncomingCall) -> None:
        async with incoming.answer() as call:
            call.send_dtmf("1234")
            with call.open_audio() as port:
                async for frame in port:
                    port.send(frame)
            self.digits.append(call.digits_received)

    async def visit(self, phone: spech.Phone) -> None:
        """Call ``phone`` and check that a tone returns."""
        await trio.testing.wait_all_tasks_blocked()  # The block has to accept calls first.
        async with self.phone.call(f"sip:alice@127.0.0.1:{phone.address[1]}") as call:
            await call.answered(timeout=10)
            with call.open_audio(8000) as port:
                await hear_tone(port, 700, say=sine(700, 8000, 1))


@pytest.fixture
async def far_end() -> AsyncIterator[FarEnd]:
    registrar = Registrar({"alice": PASSWORD}, random.Random(1))
    screen = registrar.screen

    def screened(request: Any, flow: Any, now: float) -> Any:
        return screen(request, flow, now) if request.method == "REGISTER" else None

    async with (
        spech.open_phone(listen=LOOPBACK, screen=screened) as phone,
        trio.open_nursery() as nursery,
    ):
        far_end = FarEnd(phone)
        nursery.start_soon(far_end.serve)
        yield far_end
        nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that blocks play, where they may write."""
    monkeypatch.chdir(tmp_path)
    write_wav(tmp_path / "hello.wav", sine(440, 8000, 1), 8000)
    return tmp_path


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.is_program], ids=lambda block: block.name)
async def test_programs_in_documents_run(block: Block, far_end: FarEnd, folder: Path) -> None:
    code = block.code.replace("@pbx.example.org", f"@{far_end.server}").replace("…", PASSWORD)
    (folder / "program.py").write_text(code)
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(
            [sys.executable, "program.py"],
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
        while not far_end.digits:  # noqa: ASYNC110, our hanging up is under way
            await trio.sleep(0.05)
    assert done.returncode == 0, done.stdout
    assert b"they pressed 1234" in done.stdout
    assert far_end.digits == ["1234#"]
    assert (folder / "both.wav").stat().st_size > 8000


@pytest.mark.usefixtures("asterisk")
async def test_tests_in_documents_pass(folder: Path) -> None:
    tests = [block for block in BLOCKS if block.is_test]
    for block in tests:
        name = re.sub(r"\W", "_", block.name)
        (folder / f"test_{name}.py").write_text(block.code)
    command = [sys.executable, "-m", "pytest", "-q", "-o", "trio_mode=true", "-p", "no:xdist"]
    with trio.fail_after(2 * PATIENCE):
        done = await trio.run_process(
            [*command, str(folder)],
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
    assert f"{len(tests)} passed".encode() in done.stdout, done.stdout.decode()


@pytest.mark.parametrize(
    "block",
    [b for b in BLOCKS if not b.is_program and not b.is_test],
    ids=lambda block: block.name,
)
async def test_fragments_in_documents_run(block: Block, far_end: FarEnd) -> None:
    names = {name: getattr(spech, name) for name in spech.__all__} | {"trio": trio}
    # Shorten the waiting times in the block.
    code = re.sub(r"trio\.sleep\(\d\d+\)", "trio.sleep(1)", block.code)
    with trio.fail_after(PATIENCE):
        async with AsyncExitStack() as stack:
            if block.names & {"phone", "call", "calls"}:
                account = spech.Account(f"sip:alice@{far_end.server}", password=PASSWORD)
                phone = await stack.enter_async_context(spech.open_phone(account, listen=LOOPBACK))
                await phone.registered(timeout=10)
                names["phone"] = phone
            if block.names & {"call", "calls"}:
                calls = [await stack.enter_async_context(phone.call(n)) for n in ("600", "601")]
                for call in calls:
                    await call.answered(timeout=10)
                names |= {"calls": calls, "call": calls[0]}
            run = compile(
                code, block.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
            )
            nursery = await stack.enter_async_context(trio.open_nursery())
            with trio.CancelScope() as scope:
                if "incoming_calls" in block.code or "phone.serve" in block.code:

                    async def visited() -> None:
                        await far_end.visit(phone)
                        scope.cancel()

                    nursery.start_soon(visited)
                result = eval(run, names)
                if inspect.isawaitable(result):
                    await result
                for call in names.get("calls", ()):
                    await call.played()
    if "send_dtmf" in block.code:
        while len(far_end.digits) < 2:  # noqa: ASYNC110, our hanging up is under way
            await trio.sleep(0.05)
        assert any(far_end.digits)
