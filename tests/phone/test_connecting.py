"""Two calls that a program connects with each other, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
import trio.testing

from spech import Call, CallFailed, IncomingCall, Phone, PortRange, attend, connect, open_phone
from spech.testing.audio import sine
from spech.testing.talk import hear_tone

LOOPBACK = ("127.0.0.1", 0)
PORTS = PortRange(34_100, 34_179)


def at(phone: Phone, user: str = "desk") -> str:
    return f"sip:{user}@127.0.0.1:{phone.address[1]}"


class Parties:
    """Alice's call to Bob through a program, and Carol's phone, which answers."""

    def __init__(self, alice: Call, bob: Call, carol: Phone) -> None:
        self.alice = alice
        self.bob = bob
        self.carol = carol
        self.carols: list[Call] = []

    async def serve_carol(self) -> None:
        async for incoming in self.carol.incoming_calls():
            async with incoming.answer() as call:
                self.carols.append(call)
                await call.ended()


@pytest.fixture
async def parties(autojump_clock: trio.testing.MockClock) -> AsyncIterator[Parties]:
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS, codecs=["PCMU"]) as alice,
        open_phone(listen=LOOPBACK, ports=PORTS, codecs=["G722"]) as bob,
        open_phone(listen=LOOPBACK, ports=PORTS) as carol,
        open_phone(listen=LOOPBACK, ports=PORTS, codecs=["PCMU", "G722"]) as desk,
        trio.open_nursery() as nursery,
    ):

        async def put_through(incoming: IncomingCall) -> None:
            async with desk.call(at(bob, "bob")) as far:
                await far.answered()
                async with incoming.answer() as near:
                    await connect(near, far, callers=(None, f'"Bob" <{at(desk, "bob")}>'))

        nursery.start_soon(desk.serve, put_through)
        arrivals = bob.incoming_calls()
        await trio.testing.wait_all_tasks_blocked()
        async with alice.call(at(desk)) as one, (await anext(arrivals)).answer() as other:
            await one.answered()
            found = Parties(one, other, carol)
            nursery.start_soon(found.serve_carol)
            await trio.sleep(0.2)
            yield found
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def speaking(call: Call, frequency: float) -> AsyncIterator[None]:
    playback = call.play(sine(frequency, 8000, 60), rate=8000)
    yield
    playback.flush()


async def hears(call: Call, frequency: float) -> None:
    with call.open_audio(8000) as port:
        await hear_tone(port, frequency)


async def test_sound_and_digits_go_both_ways(parties: Parties) -> None:
    alice, bob = parties.alice, parties.bob
    assert (alice.codec, bob.codec) == ("PCMU", "G722")
    async with speaking(alice, 700), speaking(bob, 1200):
        await hears(bob, 700)
        await hears(alice, 1200)
    alice.send_dtmf("12")
    bob.send_dtmf("3")
    assert await bob.collect_digits(2, timeout=2) == "12"
    assert await alice.collect_digits(1, timeout=2) == "3"


@pytest.mark.parametrize("leaves", ["alice", "bob"])
async def test_when_one_hangs_up_the_other_is_hung_up(parties: Parties, leaves: str) -> None:
    ends = {"alice": parties.alice, "bob": parties.bob}
    ends.pop(leaves).hang_up()
    (stays,) = ends.values()
    with trio.fail_after(2):
        await stays.ended()
    assert stays.ended_by == "remote"


async def test_hold_and_resume_reach_the_other_end(parties: Parties) -> None:
    alice, bob = parties.alice, parties.bob
    alice.hold()
    with trio.fail_after(2):
        while not bob.held:
            await bob.changed()
    async with speaking(alice, 700):  # Music on hold.
        await hears(bob, 700)
    alice.resume()
    with trio.fail_after(2):
        while bob.held:
            await bob.changed()
    async with speaking(bob, 1200):
        await hears(alice, 1200)


@pytest.mark.parametrize("held", [False, True])
async def test_the_target_of_a_transfer_takes_the_place_of_who_asked(
    parties: Parties, held: bool
) -> None:
    alice, bob = parties.alice, parties.bob
    if held:
        alice.hold()
        await trio.sleep(0.5)
    await alice.transfer(at(parties.carol, "carol"))
    assert alice.state == "ended"
    (carols,) = parties.carols
    assert carols.remote == "bob"
    async with speaking(carols, 1500), speaking(bob, 1200):
        await hears(bob, 1500)
        await hears(carols, 1200)
    assert not bob.held
    bob.hang_up()
    with trio.fail_after(2):
        await carols.ended()


async def test_a_transfer_that_fails_leaves_both_connected(parties: Parties) -> None:
    with pytest.raises(CallFailed) as failed:
        await parties.bob.transfer("sip:nobody@127.0.0.1:9")
    assert failed.value.status in (408, 503)
    async with speaking(parties.alice, 700):
        await hears(parties.bob, 700)


async def test_attending_ends_with_the_new_call_where_the_old_one_stays_up() -> None:
    """As with a far end that asks for a transfer and does not hang up."""
    served = []

    class FakeCall:
        codec = None
        state = "answered"

        async def transfers(self) -> AsyncIterator[FakeCall]:
            if self is old:
                yield self
            await trio.sleep_forever()

        @asynccontextmanager
        async def follow(self, offered: object, *, caller: object) -> AsyncIterator[FakeCall]:
            yield new

        async def answered(self, timeout: float) -> None:
            pass

    async def serve(call: Any) -> None:
        served.append(call)
        if call is old:
            await trio.sleep_forever()

    old, new = FakeCall(), FakeCall()
    with trio.fail_after(1):
        await attend(cast(Call, old), serve)
    assert served == [old, new]
