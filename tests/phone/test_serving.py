"""A program that serves calls: the end of one does not affect the others."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from spech import (
    CallFailed,
    IncomingCall,
    LocalProtocolError,
    MediaError,
    Phone,
    PortRange,
    open_phone,
    run,
)

PORTS = PortRange(37_580, 37_639)
LOOPBACK = ("127.0.0.1", 0)


@asynccontextmanager
async def served(
    handler: Callable[[IncomingCall], Awaitable[object]], *, limit: int | None = None
) -> AsyncIterator[tuple[Phone, str]]:
    """A phone that calls, and the address at which ``handler`` serves calls."""
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS) as bot,
        open_phone(listen=LOOPBACK, ports=PORTS) as phone,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(partial(bot.serve, handler, limit=limit))
        await trio.testing.wait_all_tasks_blocked()
        yield phone, f"sip:bot@127.0.0.1:{bot.address[1]}"
        nursery.cancel_scope.cancel()


async def test_a_caller_that_hangs_up_ends_only_its_own_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With the idiom of an IVR: the program waits for a digit when the caller hangs up."""
    collected: list[str] = []

    async def ask(incoming: IncomingCall) -> None:
        async with incoming.answer() as call:
            collected.append(await call.collect_digits(1, timeout=20))

    caplog.set_level(logging.WARNING)
    async with served(ask) as (phone, bot), phone.call(bot) as stays:
        await stays.answered(5)
        async with phone.call(bot) as leaves:
            await leaves.answered(5)
        with trio.fail_after(5):
            await trio.sleep(0.3)
            assert stays.state == "answered"
            async with phone.call(bot) as third:
                await third.answered(5)
            stays.send_dtmf("7")
            await stays.ended()
    assert collected == ["7"]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("error", "level", "traceback"),
    [(MediaError("no such file"), "WARNING", False), (RuntimeError("a bug"), "ERROR", True)],
)
async def test_an_error_in_one_call_is_logged_and_ends_that_call(
    caplog: pytest.LogCaptureFixture, error: Exception, level: str, traceback: bool
) -> None:
    async def fail(incoming: IncomingCall) -> None:
        async with incoming.answer():
            await trio.sleep(0.2)
            raise error

    caplog.set_level(logging.WARNING, "spech.phone.phone")
    async with served(fail) as (phone, bot):
        for _ in range(2):
            async with phone.call(bot) as call:
                await call.answered(5)
                with trio.fail_after(5):
                    await call.ended()
    assert [record.levelname for record in caplog.records] == [level, level]
    assert all(bool(record.exc_info) is traceback for record in caplog.records)
    assert "to bot failed" in caplog.text


async def test_a_call_that_the_handler_leaves_ringing_is_declined() -> None:
    async def ignore(incoming: IncomingCall) -> None:
        pass

    async with served(ignore) as (phone, bot), phone.call(bot) as call:
        with pytest.raises(CallFailed) as refused:
            await call.answered(5)
        assert refused.value.status == 480


async def test_a_call_beyond_the_limit_is_refused_with_486() -> None:
    async def stay(incoming: IncomingCall) -> None:
        async with incoming.answer() as call:
            await call.ended()

    async with served(stay, limit=1) as (phone, bot):
        async with phone.call(bot) as first:
            await first.answered(5)
            async with phone.call(bot) as second:
                with pytest.raises(CallFailed) as refused:
                    await second.answered(5)
                assert refused.value.status == 486
        await trio.sleep(0.3)
        async with phone.call(bot) as third:
            await third.answered(5)


def test_run_returns_what_the_program_returns() -> None:
    async def main(one: int, two: int) -> int:
        await trio.lowlevel.checkpoint()
        return one + two

    assert run(main, 1, 2) == 3


def test_run_raises_what_the_program_raises() -> None:
    async def main() -> None:
        raise MediaError("no such file")

    with pytest.raises(MediaError):
        run(main)


PROGRAM = """
import sys
import spech
from spech import PortRange, open_phone

async def main(target):
    async with open_phone(listen=("127.0.0.1", 0), ports=PortRange(37_620, 37_639)) as phone:
        async with phone.call(target) as call:
            await call.answered()
            await call.ended()

assert spech.run(main, sys.argv[1]) is None
print("ended by the signal")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_every_call_with_a_bye(number: signal.Signals) -> None:
    async with open_phone(listen=LOOPBACK, ports=PORTS) as phone:
        arrivals = phone.incoming_calls()
        target = f"sip:bob@127.0.0.1:{phone.address[1]}"
        command = [sys.executable, "-c", PROGRAM, target]
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(
                partial(trio.run_process, command, stdout=subprocess.PIPE, env=os.environ)
            )
            incoming = await anext(arrivals)
            async with incoming.answer() as call:
                await trio.sleep(0.5)
                process.send_signal(number)
                with trio.fail_after(5):
                    await call.ended()
                assert call.ended_by == "remote"
            assert process.stdout is not None
            assert (await process.stdout.receive_some()).startswith(b"ended by the signal")
            assert await process.wait() == 0


@pytest.mark.parametrize("status", [100, 200, 302, 700])
async def test_only_a_failure_status_can_reject_a_call(status: int) -> None:
    async def reject(incoming: IncomingCall) -> None:
        with pytest.raises(LocalProtocolError, match="from 400 to 699"):
            incoming.reject(status)
        incoming.reject(404)

    async with served(reject) as (phone, bot), phone.call(bot) as call:
        with pytest.raises(CallFailed) as failed:
            await call.answered(5)
    assert failed.value.status == 404
