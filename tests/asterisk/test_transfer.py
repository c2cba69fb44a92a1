"""Transfers through a real PBX, and what the transferred party hears."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import trio

from spech import CallFailed, Phone
from spech.testing.asterisk import Asterisk
from spech.testing.audio import assert_tone, sine
from spech.testing.talk import listen, talk
from spech.testing.waiting import first, until

RATE = 8000


async def bridged(pbx: Asterisk) -> None:
    """Wait until Asterisk has bridged both legs; until then it refuses a REFER with 400."""
    await until(lambda: re.search(r"\s2\s+basic", pbx.command("bridge show all")))


async def test_a_blind_transfer_to_the_tone(phones: tuple[Phone, Phone], pbx: Asterisk) -> None:
    alice, bob = phones
    async with trio.open_nursery() as nursery:
        heard = []

        arrivals = bob.incoming_calls()  # Before the command, because the call may arrive at once.

        async def answer() -> None:
            incoming = await first(arrivals)
            async with incoming.answer() as call:
                with call.open_audio(RATE) as port:
                    await transferred.wait()
                    heard.append(await listen(port, 2))
                assert call.state == "answered"

        transferred = trio.Event()
        nursery.start_soon(answer)
        async with alice.call("bob") as call:
            await call.answered(timeout=5)
            await bridged(pbx)
            await until(lambda: call.statistics.received > 10)
            await call.transfer("601", timeout=10)
            assert call.transfer_progress is not None
            assert call.transfer_progress[0] == 200
        transferred.set()
    assert_tone(heard[0][-RATE:], RATE, 1004, tolerance=1)


async def test_an_attended_transfer_of_two_calls(
    phones: tuple[Phone, Phone], pbx: Asterisk
) -> None:
    """Bob then hears his own echo: a tone from Asterisk would end with Alice's channel."""
    alice, bob = phones
    async with trio.open_nursery() as nursery:
        heard = []

        arrivals = bob.incoming_calls()  # Before the command, because the call may arrive at once.

        async def answer() -> None:
            incoming = await first(arrivals)
            async with incoming.answer() as call:
                with call.open_audio(RATE) as port:
                    await transferred.wait()
                    heard.append(await talk(port, sine(700, RATE, 1, level=-18), 2))
                assert call.state == "answered"

        transferred = trio.Event()
        nursery.start_soon(answer)
        async with alice.call("bob") as one, alice.call("600") as other:
            await one.answered(timeout=5)
            await other.answered(timeout=5)
            await bridged(pbx)
            # Asterisk hangs up a leg that it moves before the echo has begun.
            await until(lambda: min(one.statistics.received, other.statistics.received) > 10)
            await one.transfer_to(other, timeout=10)
            assert (one.state, other.state) == ("ended", "ended")
        transferred.set()
    assert_tone(heard[0][-RATE:], RATE, 700, tolerance=1)


async def test_a_failed_transfer_keeps_the_call(
    phones: tuple[Phone, Phone], trace: Callable[[], str]
) -> None:
    alice, _ = phones
    async with alice.call("600") as call:
        await call.answered(timeout=5)
        with pytest.raises(CallFailed) as failed:
            await call.transfer("699", timeout=10)
        assert failed.value.status == 404
        assert call.state == "answered"
    await until(lambda: "BYE sip:" in trace())
