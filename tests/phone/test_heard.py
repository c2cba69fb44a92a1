"""What the far end does, as one stream of events."""

from __future__ import annotations

import numpy as np
import trio

from spech import (
    AnswererHeard,
    Call,
    CallEnded,
    DigitHeard,
    SpeechBegan,
    SpeechEnded,
    ToneHeard,
)
from spech.phone.heard import HeardEvents
from spech.testing.audio import sine


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


async def test_tones_of_the_network_are_told_to_those_who_ask(
    answered: tuple[Call, Call],
) -> None:
    ours, theirs = answered
    events, without = theirs.heard(tones=True), theirs.heard()
    ours.play_tone("busy", country="us", seconds=3)
    ours.play(np.zeros(16000, np.int16), rate=8000)
    ours.beep()
    await ours.played()
    await trio.sleep(1)
    ours.hang_up()
    tones = [event.tone async for event in events if isinstance(event, ToneHeard)]
    assert tones == ["busy", "beep"]
    assert not [event async for event in without if isinstance(event, ToneHeard)]


async def test_who_has_answered_is_told_to_those_who_ask(answered: tuple[Call, Call]) -> None:
    ours, theirs = answered
    events, without = theirs.heard(answerer=True), theirs.heard()
    ours.play(sine(400, 8000, 0.5, level=-20), rate=8000)
    await trio.sleep(3)
    ours.hang_up()
    (greeting,) = [event async for event in events if isinstance(event, AnswererHeard)]
    assert (greeting.answerer, greeting.words) == ("human", 1)
    assert 0.4 < greeting.seconds < 0.7
    assert not [event async for event in without if isinstance(event, AnswererHeard)]


async def test_what_nobody_reads_is_bounded() -> None:
    def ended() -> None:
        raise CallEnded("the call has ended")

    events = HeardEvents(trio.sleep_forever, ended)
    for number in range(1500):
        events.add(SpeechBegan(number))
    assert [event.at async for event in events] == list(range(500, 1500))
