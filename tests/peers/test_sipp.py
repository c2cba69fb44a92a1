"""SIPp calls us, and we call SIPp. It rejects every message that its scenario does not list."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from spech import CallFailed, IncomingCall, Phone
from spech.testing.audio import Tone, sine
from spech.testing.plugin import unavailable
from spech.testing.talk import hear_tone, listen
from spech.testing.waiting import first

from .. import ports
from . import sipp
from .conftest import await_bound

RATE = 8000
PORT = ports.reserve(8)


@pytest.fixture(autouse=True)
def installed() -> None:
    if not sipp.available():
        unavailable(
            "peers", "SIPp is not installed (Debian's sip-tester); `make test-peers` installs it"
        )


async def test_the_tone_of_a_calling_sipp_is_heard(phone: Phone, tmp_path: Path) -> None:
    target = "{}:{}".format(*phone.address)
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sipp.run, sipp.caller(seconds=2), tmp_path, PORT, target)
            incoming = await first(phone.incoming_calls())
            assert incoming.called == "spech"
            assert incoming.caller_number == "guest"
            async with incoming.answer() as call:
                with call.open_audio(RATE) as port:
                    await hear_tone(port, sipp.TONE_FREQUENCY, level=sipp.TONE_LEVEL)
                await call.ended()
    assert call.ended_by == "remote"


async def test_many_calls_at_once_are_heard_and_answered(phone: Phone, tmp_path: Path) -> None:
    heard: list[Tone] = []

    async def answer(incoming: IncomingCall) -> None:
        async with incoming.answer() as call:
            with call.open_audio(RATE) as port:
                heard.append(await hear_tone(port, sipp.TONE_FREQUENCY))
            await call.ended()

    target = "{}:{}".format(*phone.address)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:

            async def receptionist() -> None:
                async for incoming in phone.incoming_calls():
                    nursery.start_soon(answer, incoming)

            desk = trio.CancelScope()

            async def call_us() -> None:
                await sipp.run(sipp.caller(seconds=2), tmp_path, PORT, target, calls=20, rate=40)
                desk.cancel()

            nursery.start_soon(call_us)
            with desk:
                await receptionist()
    assert len(heard) == 20


async def test_we_hang_up_first(phone: Phone, tmp_path: Path) -> None:
    target = "{}:{}".format(*phone.address)
    scenario = sipp.caller(seconds=0, remote_ends=True)
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sipp.run, scenario, tmp_path, PORT, target)
            incoming = await first(phone.incoming_calls())
            async with incoming.answer() as call:
                with call.open_audio(RATE) as port:
                    await listen(port, 0.2)
    assert call.ended_by == "local"


async def test_a_phone_that_takes_no_calls_refuses_with_480(phone: Phone, tmp_path: Path) -> None:
    """If the program takes no calls, the caller gets 480."""
    target = "{}:{}".format(*phone.address)
    with pytest.raises(sipp.SippFailed, match="480"):
        await sipp.run(sipp.caller(seconds=1), tmp_path, PORT, target)


async def test_our_tone_returns_from_a_called_sipp(phone: Phone, tmp_path: Path) -> None:
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sipp.run, sipp.callee(), tmp_path, PORT)
            await await_bound(PORT)
            async with phone.call(f"sip:echo@127.0.0.1:{PORT}") as call:
                await call.answered(timeout=5)
                with call.open_audio(RATE) as port:
                    await hear_tone(port, 700, say=sine(700, RATE, 1, level=-18), level=-18)


async def test_a_refusal_is_reported_and_acknowledged(phone: Phone, tmp_path: Path) -> None:
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sipp.run, sipp.callee(status=603), tmp_path, PORT)
            await await_bound(PORT)
            async with phone.call(f"sip:nobody@127.0.0.1:{PORT}") as call:
                with pytest.raises(CallFailed) as failed:
                    await call.answered(timeout=5)
            assert failed.value.status == 603
