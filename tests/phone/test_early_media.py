"""Sound before the answer, from the side that is called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from spech import Call, CallFailed, IncomingCall, LocalProtocolError, PortRange, open_phone
from spech.testing.audio import assert_tone, sine
from spech.testing.talk import listen
from spech.testing.waiting import first

PORTS = PortRange(34_700, 34_719)


async def ring(
    answer: Callable[[IncomingCall], Awaitable[None]], heard: Callable[[Call], Awaitable[None]]
) -> None:
    """A call that comes in to ``answer``, while ``heard`` is its caller."""
    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as bob,
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as alice,
        trio.open_nursery() as nursery,
    ):
        incoming_calls = bob.incoming_calls()
        async with alice.call(f"sip:bob@127.0.0.1:{bob.address[1]}") as call:
            nursery.start_soon(answer, await first(incoming_calls))
            await heard(call)


async def test_an_announcement_is_heard_before_the_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def answer(incoming: IncomingCall) -> None:
        async with incoming.progress() as call:
            assert call.state == "early"
            await call.play(sine(600, 8000, 1, level=-12)).played()
            call.answer()
            with pytest.raises(LocalProtocolError):
                call.answer()
            await call.ended()

    async def caller(call: Call) -> None:
        with call.open_audio() as port:
            heard = await listen(port, 0.8)
        assert call.state == "early"
        assert_tone(heard[2400:], 8000, 600, level=-12)
        await call.answered(timeout=5)

    await ring(answer, caller)


async def test_after_an_announcement_a_call_may_be_declined(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def answer(incoming: IncomingCall) -> None:
        async with incoming.progress() as call:
            await call.play(sine(600, 8000, 0.5)).played()

    async def caller(call: Call) -> None:
        with pytest.raises(CallFailed) as failed:
            await call.answered(timeout=5)
        assert failed.value.status == 480

    await ring(answer, caller)


async def test_an_outgoing_call_is_not_ours_to_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def answer(incoming: IncomingCall) -> None:
        await incoming.ended()

    async def caller(call: Call) -> None:
        with pytest.raises(LocalProtocolError):
            call.answer()

    await ring(answer, caller)
