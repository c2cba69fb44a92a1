"""What the far end does, as one stream of events."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from spech import (
    Call,
    CallEnded,
    DigitHeard,
    Phone,
    PortRange,
    SpeechBegan,
    SpeechEnded,
    open_phone,
)
from spech.phone.heard import HeardEvents
from spech.testing.audio import sine

PORTS = PortRange(34_080, 34_099)


@pytest.fixture
async def answered(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> AsyncIterator[tuple[Call, Call]]:
    """Both sides of a call: the one that called, and the one that answered."""
    sides: list[Call] = []

    async def answer(phone: Phone) -> None:
        async for incoming in phone.incoming_calls():
            async with incoming.answer() as call:
                sides.append(call)
                await call.ended()

    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as bob,
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as alice,
    ):
        nursery.start_soon(answer, bob)
        await trio.testing.wait_all_tasks_blocked()
        async with alice.call(f"sip:bob@127.0.0.1:{bob.address[1]}") as call:
            await call.answered()
            yield call, sides[0]
        nursery.cancel_scope.cancel()


async def test_speech_and_digits_come_in_order_and_the_iterator_ends_with_the_call(
    answered: tuple[Call, Call],
) -> None:
    ours, theirs = answered
    events = theirs.heard()
    ours.play(sine(400, 8000, 1, level=-20))
    await ours.played()
    await trio.sleep(1)
    ours.send_dtmf("7#")
    await ours.played()
    await trio.sleep(0.5)
    ours.hang_up()
    found = [event async for event in events]
    assert [type(event) for event in found] == [SpeechBegan, SpeechEnded, DigitHeard, DigitHeard]
    assert [event.digit for event in found if isinstance(event, DigitHeard)] == ["7", "#"]
    assert found == sorted(found, key=lambda event: event.at)
    assert 1.0 < found[1].at - found[0].at < 1.4
    assert theirs.digits_received == "7#"


async def test_each_iterator_gets_every_event(answered: tuple[Call, Call]) -> None:
    ours, theirs = answered
    readers = [theirs.heard(), theirs.heard()]
    ours.send_dtmf("1")
    for events in readers:
        event = await anext(events)
        assert isinstance(event, DigitHeard)
        assert event.digit == "1"


async def test_what_nobody_reads_is_bounded() -> None:
    def ended() -> None:
        raise CallEnded("the call has ended")

    events = HeardEvents(trio.sleep_forever, ended)
    for number in range(1500):
        events.add(SpeechBegan(number))
    assert [event.at async for event in events] == list(range(500, 1500))
