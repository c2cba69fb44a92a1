"""Holding a call through a real PBX, and the sound before, during and after the hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import trio

from spech import Account, Call, CallEnded, Phone, PortRange, open_phone
from spech.testing.asterisk import Asterisk
from spech.testing.audio import assert_silence, sine
from spech.testing.talk import hear_tone, listen, talk
from spech.testing.waiting import first, until

RATE = 8000
ALICE = sine(700, RATE, 1, level=-18)
BOB = sine(1200, RATE, 1, level=-18)


@pytest.fixture
async def alice(account: Account, ports: PortRange) -> AsyncIterator[Phone]:
    """Registered."""
    async with open_phone(account, listen=("127.0.0.1", 0), ports=ports) as phone:
        await phone.registered(timeout=5)
        yield phone


@pytest.fixture
async def bob(asterisk: Asterisk, ports: PortRange) -> AsyncIterator[Phone]:
    """Registered."""
    account = asterisk.account("bob")
    async with open_phone(account, listen=("127.0.0.1", 0), ports=ports) as phone:
        await phone.registered(timeout=5)
        yield phone


async def confirmed(call: Call, number: int) -> None:
    """Wait for Asterisk's 200 to the n-th INVITE of the call."""
    await until(lambda: call.ladder().count("200 OK (INVITE)") == number)


async def test_a_tone_is_heard_before_and_after_a_hold_but_not_during_it(alice: Phone) -> None:
    """Twice: a resumed call can be held again."""
    async with alice.call("601") as call:
        await call.answered(timeout=5)
        with call.open_audio(RATE) as port:
            for number in (2, 4):
                await hear_tone(port, 1004)
                call.hold()
                await confirmed(call, number)
                await listen(port, 0.2)  # Packets in flight.
                # Asterisk's tone generator continues during the hold; its sound is discarded.
                assert_silence(await listen(port, 0.5))
                call.resume()
                await confirmed(call, number + 1)
            await hear_tone(port, 1004)
        ladder = call.ladder()
    assert [ladder.count(line) for line in ("+ a=sendonly", "+ a=recvonly")] == [2, 2]
    assert call.ended_by == "local"


async def test_a_held_party_hears_us_and_is_not_heard(alice: Phone, bob: Phone) -> None:
    held, heard, resumed, heard_again = (trio.Event() for _ in range(4))

    arrivals = bob.incoming_calls()  # Before the command, because the call may arrive at once.

    async def answer() -> None:
        incoming = await first(arrivals)
        async with incoming.answer() as call:
            with call.open_audio(RATE) as port:
                await hear_tone(port, 700, say=BOB, level=-18)
                for now, done in ((held, heard), (resumed, heard_again)):
                    while not now.is_set():
                        await talk(port, BOB, 0.1)
                    await hear_tone(port, 700, say=BOB, level=-18)
                    done.set()
                while call.state == "answered":
                    with suppress(CallEnded):
                        await talk(port, BOB, 0.1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        async with alice.call("bob") as call:
            await call.answered(timeout=5)
            with call.open_audio(RATE) as port:
                await hear_tone(port, 1200, say=ALICE, level=-18)
                call.hold()
                await confirmed(call, 2)
                await talk(port, ALICE, 0.2)  # Packets in flight.
                held.set()
                while not heard.is_set():
                    assert_silence(await talk(port, ALICE, 0.5))
                call.resume()
                await confirmed(call, 3)
                resumed.set()
                await hear_tone(port, 1200, say=ALICE, level=-18)
                while not heard_again.is_set():
                    await talk(port, ALICE, 0.1)
    assert call.ended_by == "local"


async def test_options_keep_a_silent_held_call_up(account: Account, ports: PortRange) -> None:
    """The PBX sends nothing but answers OPTIONS within the call."""
    async with open_phone(
        account, listen=("127.0.0.1", 0), ports=ports, no_sound_after=1, give_up_after=6
    ) as phone:
        await phone.registered(timeout=5)
        async with phone.call("608") as call:
            await call.answered(timeout=5)
            call.hold()
            await trio.sleep(12)
            assert call.state == "answered"
            assert not call.no_sound
            call.resume()
            await trio.sleep(1)
            assert not call.no_sound
