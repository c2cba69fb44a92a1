"""Header fields, causes and redirections that programs send and read, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
import trio
import trio.testing

from spech import (
    Call,
    CallFailed,
    Diversion,
    IncomingCall,
    LocalProtocolError,
    Phone,
    PortRange,
    RequestFailed,
    open_phone,
)
from spech.phone.fields import diversions, retry_after, user_to_user
from spech.sip.dialog.caller import q850_cause
from spech.sip.message.headers import Headers

LOOPBACK = ("127.0.0.1", 0)
PORTS = PortRange(34_180, 34_219)


def at(phone: Phone, user: str = "bob") -> str:
    return f"sip:{user}@127.0.0.1:{phone.address[1]}"


class Pair(NamedTuple):
    alice: Phone
    bob: Phone

    @asynccontextmanager
    async def ringing(self, **how: object) -> AsyncIterator[tuple[Call, IncomingCall]]:
        arrivals = self.bob.incoming_calls()
        async with self.alice.call(at(self.bob), **how) as call:  # type: ignore[arg-type]
            yield call, await anext(arrivals)


@pytest.fixture
async def pair(autojump_clock: trio.testing.MockClock) -> AsyncIterator[Pair]:
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS) as alice,
        open_phone(listen=LOOPBACK, ports=PORTS) as bob,
    ):
        yield Pair(alice, bob)


async def test_header_fields_go_both_ways(pair: Pair) -> None:
    sent = {
        "X-Customer": "42",
        "User-to-User": "48656c6c6f;encoding=hex",
        "Diversion": '"Desk" <sip:+4930123@pbx>;reason=user-busy, <sip:lobby@pbx>',
    }
    async with pair.ringing(headers=sent, display_name='The "Boss"') as (call, incoming):
        assert incoming.display_name == 'The "Boss"'
        assert dict(incoming.headers)["X-Customer"] == "42"
        assert incoming.user_to_user == b"Hello"
        assert incoming.diversions == (
            Diversion("+4930123", "sip:+4930123@pbx", "user-busy"),
            Diversion("lobby", "sip:lobby@pbx", "unknown"),
        )
        async with incoming.answer(headers={"X-Agent": "7"}) as answered:
            await call.answered(5)
            assert dict(call.headers)["X-Agent"] == "7"
            assert dict(answered.headers)["X-Customer"] == "42"


@pytest.mark.parametrize(
    "headers", [{"Via": "x"}, {"f": "x"}, {"X-Ok": "a\r\nVia: b"}, {"No Name": "x"}]
)
async def test_header_fields_that_break_the_message_are_refused(
    pair: Pair, headers: dict[str, str]
) -> None:
    with pytest.raises(LocalProtocolError):
        async with pair.alice.call(at(pair.bob), headers=headers):
            pass
    async with pair.ringing() as (_, incoming):
        with pytest.raises(LocalProtocolError):
            incoming.answer(headers=headers)
        with pytest.raises(LocalProtocolError):
            incoming.reject(headers=headers)


async def test_parameters_of_the_target_are_sent(pair: Pair) -> None:
    arrivals = pair.bob.incoming_calls()
    async with pair.alice.call(f"{at(pair.bob, '+4930;tgrp=x')};user=phone"):
        incoming = await anext(arrivals)
        assert dict(incoming.headers)["To"].startswith("<sip:+4930;tgrp=x@127.0.0.1")
        assert ";user=phone>" in dict(incoming.headers)["To"]


async def test_a_refusal_says_when_to_call_again_and_its_cause(pair: Pair) -> None:
    async with pair.ringing() as (call, incoming):
        with pytest.raises(LocalProtocolError, match="from 1 to 127, not 0"):
            incoming.reject(cause=0)
        incoming.reject(503, headers={"Retry-After": "120 (at lunch)"}, cause=34)
        with pytest.raises(CallFailed) as failed:
            await call.answered(5)
    assert (failed.value.status, failed.value.retry_after, failed.value.cause) == (503, 120, 34)


@pytest.mark.parametrize("ends", ["caller", "called"])
async def test_the_one_who_hangs_up_gives_the_cause(pair: Pair, ends: str) -> None:
    async with pair.ringing() as (caller, incoming), incoming.answer() as called:
        await caller.answered(5)
        await trio.sleep(0.1)
        one, other = (caller, called) if ends == "caller" else (called, caller)
        assert other.cause is None
        one.hang_up(503, "The trunk is lost", cause=38)
        await other.ended()
        assert (other.cause, other.reason) == (38, "The trunk is lost")
        assert one.cause is None


async def test_a_redirected_caller_tries_the_targets_in_turn(pair: Pair) -> None:
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS) as carol,
        pair.ringing() as (call, incoming),
    ):
        arrivals = carol.incoming_calls()
        with pytest.raises(LocalProtocolError, match="needs a target"):
            incoming.redirect()
        incoming.redirect(at(carol, "carol"), at(pair.bob, "desk"))
        async with (await anext(arrivals)).answer():
            await call.answered(5)
    assert "302 Moved Temporarily" in call.ladder()
    assert incoming.over


async def test_a_call_is_rejected_during_early_media(pair: Pair) -> None:
    async with pair.ringing() as (call, incoming):
        async with incoming.progress() as early:
            assert early.state == "early"
            incoming.reject(486, headers={"Retry-After": "5"})
            await early.ended()
        with pytest.raises(CallFailed) as failed:
            await call.answered(5)
        assert (failed.value.status, failed.value.retry_after) == (486, 5)


async def test_options_tell_what_a_target_can_do(pair: Pair) -> None:
    answer = await pair.alice.options(at(pair.bob))
    assert answer.status == 200
    assert {"INVITE", "REFER", "MESSAGE"} <= set(answer.methods)
    assert "application/sdp" in dict(answer.headers)["Accept"]
    with pytest.raises(RequestFailed) as failed:
        await pair.alice.options("sip:nobody@127.0.0.1:9")
    assert failed.value.status in (408, 503)


@pytest.mark.parametrize(
    ("read", "name", "value", "expected"),
    [
        (user_to_user, "User-to-User", '"plain text";encoding=ascii', b"plain text"),
        (user_to_user, "User-to-User", "00FF", b"\x00\xff"),
        (user_to_user, "User-to-User", "0g", None),
        (user_to_user, "User-to-User", "00" * 257, None),
        (user_to_user, "User-to-User", '00;encoding="', None),
        (retry_after, "Retry-After", "18000;duration=3600", 18000),
        (retry_after, "Retry-After", "99999999", 86400),
        (retry_after, "Retry-After", "soon", None),
        (diversions, "Diversion", "<sip:, sip:x@y;reason=no-answer", ()),
        (q850_cause, "Reason", 'SIP;cause=486, Q.850;cause=17;text="busy"', 17),
        (q850_cause, "Reason", "Q.850;cause=999", None),
        (q850_cause, "X-Other", "Q.850;cause=16", None),
    ],
)
def test_fields_of_peers_are_read_or_ignored(
    read: Callable[[Headers], object], name: str, value: str, expected: object
) -> None:
    assert read(Headers([(name, value)])) == expected
