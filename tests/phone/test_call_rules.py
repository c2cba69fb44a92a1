"""The rules for incoming calls: forwarding, do not disturb, call waiting; virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from spech import CallFailed, CallRules, IncomingCall, Phone, PortRange, open_phone
from spech.phone.rules import TurnedAway

PORTS = PortRange(38_600, 38_639)
LOOPBACK = ("127.0.0.1", 0)


def at(phone: Phone, user: str) -> str:
    return f"sip:{user}@127.0.0.1:{phone.address[1]}"


@asynccontextmanager
async def three_phones() -> AsyncIterator[tuple[Phone, Phone, Phone]]:
    """Alice who calls, Bob who has rules, and Carol, to whom calls are forwarded."""
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS) as alice,
        open_phone(listen=LOOPBACK, ports=PORTS) as bob,
        open_phone(listen=LOOPBACK, ports=PORTS) as carol,
    ):
        yield alice, bob, carol


@pytest.mark.parametrize(
    ("rules", "busy", "expected"),
    [
        (CallRules(), True, None),
        (CallRules(call_waiting=False), False, None),
        (CallRules(call_waiting=False), True, TurnedAway(486, "user-busy")),
        (CallRules(call_waiting=False, engaged=True), False, TurnedAway(486, "user-busy")),
        (CallRules(engaged=True), False, None),
        (CallRules(do_not_disturb=True), False, TurnedAway(480, "do-not-disturb")),
        (
            CallRules(do_not_disturb=True, forward_busy="500"),
            False,
            TurnedAway(302, "do-not-disturb", "500"),
        ),
        (
            CallRules(call_waiting=False, forward_busy="500"),
            True,
            TurnedAway(302, "user-busy", "500"),
        ),
        (CallRules(forward_busy="500"), True, None),
        (
            CallRules(do_not_disturb=True, forward="600", forward_busy="500"),
            True,
            TurnedAway(302, "unconditional", "600"),
        ),
        (CallRules(forward_unanswered="500"), False, None),
    ],
)
def test_rules_decide(rules: CallRules, busy: bool, expected: TurnedAway | None) -> None:
    assert rules.decide(busy=busy) == expected


async def test_calls_are_refused_without_ringing_and_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with three_phones() as (alice, bob, _):
        bob.incoming_calls()
        bob.rules = CallRules(do_not_disturb=True)
        async with alice.call(at(bob, "bob")) as call:
            with pytest.raises(CallFailed) as failed:
                await call.answered(5)
        assert failed.value.status == 480
        assert "180 Ringing" not in call.ladder()
        refused = await anext(bob.turned_away())
        assert (refused.over, refused.forwarded_to) == (True, "")
        assert refused.caller_number == "spech"
        bob.rules = CallRules()
        async with alice.call(at(bob, "bob")) as call:
            await anext(bob.incoming_calls())


async def test_all_calls_are_forwarded_and_say_by_whom(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with three_phones() as (alice, bob, carol):
        bob.incoming_calls()
        bob.rules = CallRules(forward=at(carol, "carol"))
        arrivals = carol.incoming_calls()
        async with alice.call(at(bob, "bob")) as call:
            async with (await anext(arrivals)).answer():
                await call.answered(5)
            header = f"Diversion: <{at(bob, 'bob')}>;reason=unconditional"
            assert any(header.encode() in entry.data for entry in call.timeline)
            assert "180 Ringing" not in call.ladder().partition("302 Moved")[0]
        assert (await anext(bob.turned_away())).forwarded_to == at(carol, "carol")


async def test_a_call_is_forwarded_when_nobody_answers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with three_phones() as (alice, bob, carol):
        bob.rules = CallRules(forward_unanswered=at(carol, "carol"), unanswered_after=20)
        ringing, arrivals = bob.incoming_calls(), carol.incoming_calls()
        async with alice.call(at(bob, "bob")) as call:
            began = trio.current_time()
            incoming = await anext(ringing)
            await incoming.ended()
            assert trio.current_time() - began == pytest.approx(20, abs=0.5)
            assert incoming.forwarded_to == at(carol, "carol")
            async with (await anext(arrivals)).answer():
                await call.answered(5)
        # An answered call stays, however long it lasts.
        async with alice.call(at(bob, "bob")) as call, (await anext(ringing)).answer():
            await call.answered(5)
            await trio.sleep(30)
            assert call.state == "answered"


async def test_rules_hold_for_calls_that_ring_already(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with three_phones() as (alice, bob, carol):
        ringing = bob.incoming_calls()
        carol.incoming_calls()
        async with alice.call(at(bob, "bob")):
            incoming: IncomingCall = await anext(ringing)
            await trio.sleep(10)
            assert incoming.rings
            bob.rules = CallRules(forward_unanswered=at(carol, "carol"), unanswered_after=5)
            with trio.fail_after(1):
                await incoming.ended()


@pytest.mark.parametrize(
    "diversion",
    [
        "<sip:bob@127.0.0.1>;reason=no-answer",
        "<sip:carol@example.org>, Bob <sips:%62ob@127.0.0.1:5061;user=phone>",
        ", ".join(f"<sip:{number}@example.org>" for number in range(5)),
    ],
)
async def test_a_call_that_goes_round_is_not_forwarded(
    autojump_clock: trio.testing.MockClock, diversion: str
) -> None:
    headers = {"Diversion": diversion}
    async with three_phones() as (alice, bob, carol):
        arrivals, target = bob.incoming_calls(), at(carol, "carol")
        for forwarding in (
            CallRules(forward=target),
            CallRules(forward_unanswered=target, unanswered_after=5),
        ):
            bob.rules = forwarding
            async with alice.call(at(bob, "bob"), headers=headers):
                with trio.fail_after(5):
                    incoming = await anext(arrivals)
                await trio.sleep(20)
                assert incoming.rings
            await incoming.ended()
        bob.rules = CallRules(do_not_disturb=True, forward_busy=target)
        async with alice.call(at(bob, "bob"), headers=headers) as call:
            with pytest.raises(CallFailed) as failed:
                await call.answered(5)
        assert failed.value.status == 480
        assert (await anext(bob.turned_away())).forwarded_to == ""


async def test_a_call_that_others_diverted_is_forwarded(
    autojump_clock: trio.testing.MockClock,
) -> None:
    others = ["<sip:bob@example.org>", "<tel:+4930123>", "<sip:carol@127.0.0.1>", "<sip:127.0.0.1>"]
    async with three_phones() as (alice, bob, carol):
        bob.incoming_calls()
        bob.rules = CallRules(forward=at(carol, "carol"))
        arrivals = carol.incoming_calls()
        headers = {"Diversion": ", ".join(others)}
        async with alice.call(at(bob, "bob"), headers=headers):
            await anext(arrivals)
        assert (await anext(bob.turned_away())).forwarded_to == at(carol, "carol")


async def test_a_target_that_cannot_be_called_forwards_nothing(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A phone without an account cannot complete a number."""
    async with three_phones() as (alice, bob, _):
        bob.rules = CallRules(forward="500")
        bob.incoming_calls()
        async with alice.call(at(bob, "bob")) as call:
            with pytest.raises(CallFailed) as failed:
                await call.answered(5)
        assert failed.value.status == 480
        assert "is not forwarded" in caplog.text
