"""What callers of the office hear, and whom they reach."""

from __future__ import annotations

from pathlib import Path

from spech import Phone, ToneHeard
from spech.testing.asterisk import Asterisk
from spech.testing.audio import assert_tone, read_wav, sine, sounding
from spech.testing.calls import hear_prompt, hear_speech, send_digits, stay_up
from spech.testing.talk import hear_tone
from spech.testing.waiting import first, wait

HERE = Path(__file__).parent
WORKDAY, SATURDAY = "7100", "8100"
RATE = 8000


async def test_the_menu_leads_to_the_workshop(alice: Phone, bob: Phone) -> None:
    ringing = bob.incoming_calls()
    async with alice.call(WORKDAY) as call:
        await call.answered(timeout=10)
        await hear_prompt(call, HERE / "prompts/menu.wav")
        await send_digits(call, "2")
        async with (await first(ringing)).answer() as workshop:
            workshop.play(sine(700, RATE, 10), rate=RATE)
            with call.open_audio(RATE) as port:
                await hear_tone(port, 700)


async def test_a_wrong_digit_repeats_the_menu(alice: Phone) -> None:
    async with alice.call(WORKDAY) as call:
        await call.answered(timeout=10)
        await hear_speech(call)
        await send_digits(call, "7")  # It interrupts the menu.
        await hear_prompt(call, HERE / "prompts/wrong.wav")
        await hear_prompt(call, HERE / "prompts/menu.wav")
        await stay_up(call, 0.2)


async def test_callers_of_sales_wait_with_music(alice: Phone, bob: Phone) -> None:
    ringing = bob.incoming_calls()
    async with alice.call(WORKDAY) as call:
        await call.answered(timeout=10)
        await hear_speech(call)
        await send_digits(call, "1")
        incoming = await first(ringing)
        await hear_prompt(call, HERE / "music/hold.wav")
        async with incoming.answer() as sales:
            sales.play(sine(700, RATE, 10), rate=RATE)
            with call.open_audio(RATE) as port:
                await hear_tone(port, 700)


async def test_at_the_weekend_the_voicemail_answers(office: Asterisk, alice: Phone) -> None:
    async with alice.call(SATURDAY) as call:
        await call.answered(timeout=10)
        heard = call.heard(tones=True)
        await hear_prompt(call, HERE / "prompts/closed.wav")
        assert (
            await first(event.tone async for event in heard if isinstance(event, ToneHeard))
            == "beep"
        )
        call.play(sine(700, RATE, 1.5), rate=RATE)
        await call.played()
    inbox = office.folder / "voicemail/default/200/INBOX"
    wait(lambda: any(inbox.glob("*.wav")) and any(inbox.glob("*.txt")))
    message, rate = read_wav(next(inbox.glob("*.wav")))
    heard = sounding(message, rate)
    assert_tone(heard[rate // 2 : rate], rate, 700)
