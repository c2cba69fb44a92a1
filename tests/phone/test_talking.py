"""A program that asks for digits and listens, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
import trio

from spech import Call, CallEnded, Playback
from spech.testing.audio import assert_tone, level, sine, sounding
from spech.testing.talk import listen

RATE = 8000
LONG = sine(700, RATE, 30)


async def press(call: Call, digits: str, after: float) -> None:
    await trio.sleep(after)
    call.send_dtmf(digits)


async def test_the_first_digit_ends_the_prompts(
    answered: tuple[Call, Call], nursery: trio.Nursery
) -> None:
    caller, bot = answered
    began = trio.current_time()
    nursery.start_soon(press, caller, "42", 3)
    with caller.open_audio(RATE) as port:
        nursery.start_soon(bot.play(sine(1200, RATE, 1)).played)
        assert await bot.ask(LONG, LONG, digits=2) == "42"
        assert trio.current_time() - began < 5
        heard = await listen(port, 0.5)
    assert level(heard[RATE // 4 :]) < -60


async def test_digits_that_were_dialled_ahead_skip_the_prompts(
    answered: tuple[Call, Call],
) -> None:
    caller, bot = answered
    asked: list[int] = []

    def prompt() -> Playback:
        asked.append(1)
        return bot.beep()

    caller.send_dtmf("12#34")
    await caller.played()
    await trio.sleep(0.2)
    assert await bot.ask(prompt, digits=4) == "12"
    assert await bot.ask(prompt, digits=2) == "34"
    assert asked == []


async def test_an_entry_is_complete_after_a_pause(
    answered: tuple[Call, Call], nursery: trio.Nursery
) -> None:
    caller, bot = answered
    nursery.start_soon(press, caller, "7", 1)
    began = trio.current_time()
    assert await bot.ask(bot.beep, digits=10, inter_digit=2) == "7"
    assert 2.9 < trio.current_time() - began < 3.5


@pytest.mark.parametrize("valid", [{"2"}, "2".__eq__])
async def test_a_wrong_entry_is_asked_again_without_what_followed_it(
    answered: tuple[Call, Call], nursery: trio.Nursery, valid: object
) -> None:
    caller, bot = answered
    asked: list[float] = []

    def prompt() -> Playback:
        asked.append(trio.current_time())
        return bot.play(sine(700, RATE, 1))

    nursery.start_soon(press, caller, "99", 0.5)
    nursery.start_soon(press, caller, "2", 3)
    assert await bot.ask(prompt, valid=valid) == "2"  # type: ignore[arg-type]
    assert len(asked) >= 2


async def test_nobody_answers_the_question(answered: tuple[Call, Call]) -> None:
    _, bot = answered
    began = trio.current_time()
    assert await bot.ask(sine(700, RATE, 1), timeout=4, tries=2) is None
    assert 10 <= trio.current_time() - began < 10.5


async def test_a_caller_who_hangs_up_ends_the_question(
    answered: tuple[Call, Call], nursery: trio.Nursery
) -> None:
    caller, bot = answered

    async def leave() -> None:
        await trio.sleep(1)
        caller.hang_up()

    nursery.start_soon(leave)
    with pytest.raises(CallEnded):
        await bot.ask(LONG, LONG)


async def test_a_spoken_prompt_ends_when_it_is_cancelled(answered: tuple[Call, Call]) -> None:
    _, bot = answered
    closed = trio.Event()

    async def speech() -> AsyncIterator[bytes]:
        try:
            while True:
                yield LONG.tobytes()
        finally:
            closed.set()

    with trio.move_on_after(2):
        await bot.ask(speech())
    with trio.fail_after(1):
        await closed.wait()
        await bot.played()


async def test_listening_ends_with_silence_and_holds_the_far_end_only(
    answered: tuple[Call, Call], nursery: trio.Nursery
) -> None:
    caller, bot = answered
    bot.play(LONG)
    caller.play(np.concatenate([np.zeros(RATE, np.int16), sine(1200, RATE, 2)]))
    heard = await bot.listen(30, silence=3, rate=RATE)
    assert 5.5 * RATE < len(heard) < 6.7 * RATE
    assert_tone(sounding(heard, RATE)[400:-400], RATE, 1200)
    assert level(heard[-2 * RATE :]) < -60


@pytest.mark.parametrize("way", ["terminator", "hang-up", "time"])
async def test_listening_ends_with_a_digit_the_call_or_the_time(
    answered: tuple[Call, Call], nursery: trio.Nursery, way: str
) -> None:
    caller, bot = answered
    caller.play(LONG)

    async def end() -> None:
        await trio.sleep(3)
        if way == "terminator":
            caller.flush()
            caller.send_dtmf("5#")
        elif way == "hang-up":
            caller.hang_up()

    nursery.start_soon(end)
    heard = await bot.listen(4 if way == "time" else 60)
    assert (4.0 if way == "time" else 3.0) * RATE == pytest.approx(len(heard), abs=0.6 * RATE)
    assert_tone(heard[RATE : 2 * RATE], RATE, 700)
    assert bot.digits_received == ("5#" if way == "terminator" else "")


async def test_the_beep_is_heard(answered: tuple[Call, Call]) -> None:
    caller, bot = answered
    with caller.open_audio(RATE) as port:
        bot.beep()
        heard = sounding(await listen(port, 1), RATE)
    assert len(heard) == pytest.approx(0.25 * RATE, abs=400)
    assert_tone(heard[400:-400], RATE, 1000)
