"""Calls to and from a real PBX, with measurements of their sound."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable

import pytest
import trio

from spech import Account, CallFailed, Phone, PortRange, ToneHeard, open_phone
from spech.testing.asterisk import Asterisk
from spech.testing.audio import assert_silence, sine, tone
from spech.testing.talk import hear_tone, listen, talk
from spech.testing.waiting import first, until

RATE = 8000
SAID = sine(700, RATE, 1, level=-18)


@pytest.fixture
async def phone(account: Account, ports: PortRange) -> AsyncIterator[Phone]:
    """Alice's, registered."""
    async with open_phone(account, listen=("127.0.0.1", 0), ports=ports) as phone:
        await phone.registered(timeout=5)
        yield phone


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
async def test_the_echo_returns_the_tone(phone: Phone, codec: str) -> None:
    async with phone.call("600", codecs=[codec]) as call:
        await call.answered(timeout=5)
        assert call.codec == codec
        with call.open_audio(RATE) as port:
            await hear_tone(port, 700, say=SAID, level=-18)
        assert call.statistics.received >= 20
        assert call.statistics.lost == 0
    assert call.ended_by == "local"


async def test_both_ends_measure_the_call(phone: Phone, caplog: pytest.LogCaptureFixture) -> None:
    """Asterisk sends RTCP every five seconds, with the round trip and its losses."""
    caplog.set_level(logging.INFO, "spech.phone.driver")
    async with phone.call("600") as call:
        await call.answered(timeout=5)
        with call.open_audio(RATE) as port:
            await talk(port, sine(700, RATE, 14, level=-18), 14)
        seen = call.statistics
    assert seen.round_trip_ms is not None
    assert 0 <= seen.round_trip_ms < 100
    assert seen.remote_lost == 0
    assert seen.remote_loss_percent == 0.0
    assert seen.remote_jitter_ms is not None
    assert seen.remote_jitter_ms < 50
    assert seen.mos is not None
    assert 4.2 < seen.mos <= 4.41
    assert len(call.quality_history) >= 13
    (line,) = [record.getMessage() for record in caplog.records if "ended after" in record.message]
    assert line.startswith(f"call {call.call_id} ended after 14.")
    assert "PCMU: MOS 4." in line


async def test_muting_silences_the_echo(phone: Phone) -> None:
    async with phone.call("600") as call:
        await call.answered(timeout=5)
        call.muted = True
        with call.open_audio(RATE) as port:
            heard = await talk(port, SAID, 1)
            assert_silence(heard[-RATE // 2 :])
            call.muted = False
            await hear_tone(port, 700, say=SAID, level=-18)


async def test_the_tone_extension_sends_a_tone(phone: Phone) -> None:
    async with phone.call("601") as call:
        await call.answered(timeout=5)
        with call.open_audio(RATE) as port:
            await hear_tone(port, 1004)


async def test_digits_are_read_and_played_back(phone: Phone, pbx: Asterisk) -> None:
    """Read() stops at the ``#``; Asterisk plays back what it read as digits."""
    async with phone.call("602") as call:
        await call.answered(timeout=5)
        await until(lambda: pbx.variable("status") == "reading")
        call.send_dtmf("1234*0#")
        with trio.fail_after(10):
            await call.ended()
    assert pbx.variable("digits") == "1234*0"
    assert pbx.variable("status") == "OK"
    assert call.digits_received == "1234*0"
    assert call.ended_by == "remote"


async def test_asterisk_hangs_up_first(phone: Phone) -> None:
    async with phone.call("605") as call:
        await call.answered(timeout=5)
        with call.open_audio(RATE) as port:
            heard = await listen(port, 0.8)
        assert tone(heard[-RATE // 4 :], RATE).frequency == pytest.approx(440, abs=5)
        with trio.fail_after(5):
            await call.ended()
        assert call.state == "ended"
        assert call.ended_by == "remote"


async def test_a_busy_extension_is_refused_with_486(phone: Phone) -> None:
    async with phone.call("603") as call:
        with pytest.raises(CallFailed) as failed:
            await call.answered(timeout=5)
        assert (failed.value.status, failed.value.cause) == (486, 17)
    assert call.state == "ended"
    assert call.status == 486


async def test_the_pbx_reads_our_header_fields_and_we_read_its_own(
    phone: Phone, trace: Callable[[], str]
) -> None:
    async with phone.call("605", headers={"X-Customer": "42"}, display_name="Sales") as call:
        await call.answered(timeout=5)
        assert dict(call.headers)["Server"].startswith("Asterisk")
        await call.ended()
    assert call.cause == 16
    await until(lambda: "X-Customer: 42" in trace())
    assert 'From: "Sales" <sip:alice@' in trace()
    answer = await phone.options("600")
    assert (answer.status, "INVITE" in answer.methods) == (200, True)


async def test_a_busy_tone_of_the_pbx_is_recognized_before_the_answer(
    phone: Phone, pbx: Asterisk
) -> None:
    steps = ("Progress()", "Playtones(480+620/500,0/500)", "Wait(20)")
    for number, step in enumerate(steps, 1):
        quoted = step.replace(",", "\\,")
        pbx.command(f"dialplan add extension 680,{number},{quoted} into phones")
    async with phone.call("680") as call:
        with trio.fail_after(10):
            async for event in call.heard(tones=True):
                if isinstance(event, ToneHeard):
                    break
        assert event.tone == "busy"
        assert call.state == "early"


async def test_an_unknown_extension_is_refused_with_404(phone: Phone) -> None:
    async with phone.call("699") as call:
        with pytest.raises(CallFailed) as failed:
            await call.answered(timeout=5)
        assert failed.value.status == 404


async def test_a_call_without_an_answer_is_cancelled(
    phone: Phone, trace: Callable[[], str]
) -> None:
    async with phone.call("604") as call:
        while call.state != "ringing":
            await call.changed()
        assert call.status == 180
    await until(lambda: "SIP/2.0 487" in trace())
    assert "CANCEL sip:604@" in trace()
    assert "BYE sip:" not in trace()


async def test_a_cancelled_scope_hangs_up(phone: Phone, trace: Callable[[], str]) -> None:
    with trio.move_on_after(1) as scope:
        async with phone.call("600") as call:
            await call.answered(timeout=5)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    await until(lambda: "BYE sip:" in trace())


async def test_early_media_is_heard_before_the_answer(
    phone: Phone, trace: Callable[[], str]
) -> None:
    async with phone.call("606") as call:
        while call.state != "early":
            await call.changed()
        with call.open_audio(RATE) as port:
            await hear_tone(port, 425)
        assert call.state == "early"
    await until(lambda: "SIP/2.0 487" in trace())


async def test_a_call_from_asterisk_is_answered(phone: Phone, pbx: Asterisk) -> None:
    arrivals = phone.incoming_calls()  # Before the command, because the call may arrive at once.
    pbx.originate("alice", "Milliwatt")
    incoming = await first(arrivals)
    assert incoming.called == "alice"
    async with incoming.answer() as call:
        with call.open_audio(RATE) as port:
            await hear_tone(port, 1004)
        assert call.direction == "incoming"


async def test_a_call_from_asterisk_is_declined(
    phone: Phone, pbx: Asterisk, trace: Callable[[], str]
) -> None:
    arrivals = phone.incoming_calls()  # Before the command, because the call may arrive at once.
    pbx.originate("alice", "Echo")
    incoming = await first(arrivals)
    incoming.reject(486)
    await until(lambda: "SIP/2.0 486" in trace())


async def test_asterisk_cancels_its_call(phone: Phone, pbx: Asterisk) -> None:
    arrivals = phone.incoming_calls()  # Before the command, because the call may arrive at once.
    pbx.originate("alice", "Echo")
    incoming = await first(arrivals)
    assert not incoming.over
    pbx.command("channel request hangup all")
    with trio.fail_after(5):
        await incoming.ended()
    assert incoming.over


async def test_ten_calls_at_once_do_not_disturb_each_other(phone: Phone) -> None:
    """Each call hears only its own tone."""

    async def one(frequency: float) -> None:
        async with phone.call("600") as call:
            await call.answered(timeout=10)
            with call.open_audio(RATE) as port:
                await hear_tone(port, frequency, say=sine(frequency, RATE, 1, level=-18))

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(one, 400 + 100 * number)
