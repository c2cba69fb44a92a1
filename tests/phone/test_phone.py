"""Phones on loopback, in virtual time: the behavior that programs rely on."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from spech import (
    Account,
    Call,
    CallEnded,
    CallFailed,
    CallRules,
    IncomingCall,
    LocalProtocolError,
    Phone,
    PortRange,
    PortsExhausted,
    ServerUnreachable,
    open_phone,
)
from spech.audio.tones import tone
from spech.audio.volume import TARGET
from spech.phone import binding
from spech.sip.call.renegotiation import Renegotiation
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.transaction import ServerTransaction
from spech.sip.transport.hosts import LocalHosts

from ..inside import media_of, session_of, sessions_of

LOOPBACK = ("127.0.0.1", 0)
PORTS = PortRange(37_200, 37_239)
#: 20 ms of a tone of -24 dBFS.
SAID = tone((400,), 0.02, 8000, level=-24.0).tobytes()


def at(phone: Phone, user: str = "bob") -> str:
    return f"sip:{user}@127.0.0.1:{phone.address[1]}"


async def answer_all(phone: Phone, answered: list[Call] | None = None) -> None:
    async def serve(incoming: IncomingCall) -> None:
        async with incoming.answer() as call:
            if answered is not None:
                answered.append(call)
            await call.ended()

    async with trio.open_nursery() as nursery:
        async for incoming in phone.incoming_calls():
            nursery.start_soon(serve, incoming)


@asynccontextmanager
async def two_phones() -> AsyncIterator[tuple[Phone, Phone, list[Call]]]:
    """Alice, Bob who answers everything, and the list of Bob's calls."""
    answered: list[Call] = []
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS) as bob,
        open_phone(listen=LOOPBACK, ports=PORTS) as alice,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(answer_all, bob, answered)
        await trio.testing.wait_all_tasks_blocked()
        yield alice, bob, answered
        nursery.cancel_scope.cancel()


async def test_an_error_in_the_block_is_raised_as_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with two_phones() as (alice, bob, answered):
        with pytest.raises(KeyError, match="mine"):
            async with alice.call(at(bob)) as call:
                await call.answered()
                raise KeyError("mine")
        assert call.state == "ended"
        assert call.ended_by == "local"
        await answered[0].ended()
        assert answered[0].ended_by == "remote"


async def test_a_phone_without_incoming_calls_refuses_with_480(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        open_phone(listen=LOOPBACK) as bob,
        open_phone(listen=LOOPBACK, ports=PORTS) as alice,
        alice.call(at(bob)) as call,
    ):
        with pytest.raises(CallFailed) as caught:
            await call.answered()
        assert caught.value.status == 480


async def test_a_call_without_an_answer_in_time_fails(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        open_phone(listen=LOOPBACK) as bob,
        open_phone(listen=LOOPBACK, ports=PORTS) as alice,
    ):
        bob.incoming_calls()  # Bob's phone now rings without an answer.
        with pytest.raises(CallFailed, match="No answer within 3 s"):
            async with alice.call(at(bob)) as call:
                await call.answered(timeout=3)
        assert call.state == "ended"
        await trio.sleep(1)
        assert sessions_of(bob) == ()


async def test_commands_to_an_ended_call_raise(autojump_clock: trio.testing.MockClock) -> None:
    async with two_phones() as (alice, bob, answered), alice.call(at(bob)) as call:
        await call.answered()
        answered[0].hang_up()
        await call.ended()
        assert (call.ended_by, call.status) == ("remote", 200)
        for ask in (
            lambda: call.send_dtmf("1"),
            lambda: call.open_audio().__enter__(),
            call.hold,
        ):
            with pytest.raises(CallEnded):
                ask()
        with pytest.raises(CallEnded):
            await call.collect_digits(1)
        call.hang_up()


async def test_gain_applies_to_either_side(autojump_clock: trio.testing.MockClock) -> None:
    async with two_phones() as (alice, bob, answered), alice.call(at(bob)) as call:
        await call.answered()
        there = answered[0]
        with call.open_audio() as ours, there.open_audio() as theirs:

            async def say(seconds: float) -> None:
                for _ in range(int(50 * seconds)):
                    ours.send(SAID)
                    theirs.send(SAID)
                    await trio.sleep(0.02)

            await say(1)
            spoken, heard = call.levels
            call.microphone_gain, call.speaker_gain = 6.0, -6.0
            await say(1)
            assert there.levels[1] == pytest.approx(spoken + 6, abs=0.5)
            assert call.levels == pytest.approx((spoken + 6, heard - 6), abs=0.5)
            call.microphone_gain = call.speaker_gain = 0.0
            call.automatic_gain = True
            assert call.automatic_gain
            for _ in range(6):
                await trio.sleep(0.4)
                await say(0.7)
            assert call.levels == pytest.approx((TARGET, TARGET), abs=1.0)


async def test_digits_arrive_in_both_directions(autojump_clock: trio.testing.MockClock) -> None:
    async with two_phones() as (alice, bob, answered), alice.call(at(bob)) as call:
        await call.answered()
        await trio.sleep(0.1)
        call.send_dtmf("1123#9")
        answered[0].send_dtmf("*0AD")
        assert await answered[0].collect_digits(10, timeout=5) == "1123"
        assert await answered[0].collect_digits(1, timeout=5) == "9"
        assert await call.collect_digits(4, timeout=5) == "*0AD"
        assert await call.collect_digits(1, timeout=1) == ""
        await call.played()
        assert answered[0].digits_received == "1123#9"


async def test_digits_arrive_by_every_method_and_by_two_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with two_phones() as (alice, bob, answered), alice.call(at(bob)) as call:
        await call.answered()
        await trio.sleep(0.1)
        assert not answered[0].detects_tones
        answered[0].detects_tones = True
        call.send_dtmf("12", method="inband")
        await call.played()
        assert answered[0].digits_received == "12"
        # A gateway sends a digit both in INFO and in the sound.
        call.send_dtmf("5", method="inband")
        call.send_dtmf("56", method="info")
        await call.played()
        assert not session_of(call).digits.pending
        assert answered[0].digits_received == "1256"
        call.send_dtmf("7", method="inband")
        with call.press("8"):
            await trio.sleep(1)
        await call.played()
        assert answered[0].digits_received == "12568"
        answered[0].hang_up()
        await call.ended()
        with pytest.raises(CallEnded):
            call.press("1")


async def test_pauses_are_suppressed_if_one_end_wants_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Alice suppresses pauses, Bob only agrees: she sends little, he everything, without losses."""
    answered: list[Call] = []
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS) as bob,
        open_phone(listen=LOOPBACK, ports=PORTS, silence_suppression=True) as alice,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(answer_all, bob, answered)
        await trio.testing.wait_all_tasks_blocked()
        async with alice.call(at(bob)) as call:
            await call.answered()
            await trio.sleep(10)
            assert call.statistics.sent < 30
            assert answered[0].statistics.sent > 490
            for statistics in (call.statistics, answered[0].statistics):
                assert statistics.lost == statistics.concealed == statistics.dropped_invalid == 0
        nursery.cancel_scope.cancel()


async def test_an_error_in_the_media_ends_that_call_only(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_phones() as (alice, bob, _), alice.call(at(bob)) as other:
        await other.answered()
        with pytest.raises(ZeroDivisionError):
            async with alice.call(at(bob)) as call:
                await call.answered()

                def fail(now: float) -> None:
                    raise ZeroDivisionError

                for phase in alice._calls.clock._phases:
                    for attachment in phase:
                        if attachment.tick == media_of(call).tick:
                            attachment.tick = fail
                await trio.sleep(5)
        assert other.state == "answered"
        before = other.statistics.received
        await trio.sleep(1)
        assert other.statistics.received > before + 40


async def test_a_call_without_free_ports_fails(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS) as bob,
        open_phone(listen=LOOPBACK, ports=PortRange(37_240, 37_241)) as alice,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(answer_all, bob)
        async with alice.call(at(bob)) as call:
            await call.answered()
            with pytest.raises(PortsExhausted):
                async with alice.call(at(bob)):
                    pass
            assert call.state == "answered"
        async with alice.call(at(bob)) as call:  # The port was released at once.
            await call.answered()
        nursery.cancel_scope.cancel()


async def test_a_dead_far_end_is_drained_for_a_while_and_logged(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "spech.sip")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(LOOPBACK)
        target = f"sip:bob@127.0.0.1:{silent.getsockname()[1]}"
        start = trio.current_time()
        async with open_phone(listen=LOOPBACK, ports=PORTS, drain=3.0) as alice:
            async with alice.call(target) as call:
                await trio.sleep(1)
            ended = trio.current_time()
        assert ended - start == pytest.approx(1.0)
        assert trio.current_time() - ended == pytest.approx(3.0)
    assert call.call_id in caplog.text


async def test_registration_at_a_silent_server_fails(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(LOOPBACK)
        account = Account(f"sip:alice@127.0.0.1:{silent.getsockname()[1]}", password="secret")
        async with open_phone(account, listen=LOOPBACK, drain=0.1) as phone:
            with pytest.raises(ServerUnreachable, match="did not answer within 5 s"):
                await phone.registered(timeout=5)
            await trio.sleep(30)
            assert phone.registration.state == "failed"
            with pytest.raises(ServerUnreachable, match="does not answer"):
                await phone.registered(timeout=5)


@pytest.mark.parametrize(
    "target",
    [
        "sip:600@127.0.0.1?X-Foo=bar&From=sip:boss@example.org",
        "600@127.0.0.1?Route=%3Csip:127.0.0.2%3E",
        "sips:600@127.0.0.1;transport=tls?Replaces=1",
    ],
)
async def test_forbidden_headers_in_a_dialled_uri_are_refused_by_name(target: str) -> None:
    async with open_phone(listen=LOOPBACK) as phone:
        with pytest.raises(LocalProtocolError, match="which is not taken from URIs"):
            async with phone.call(target):
                pass


@pytest.mark.parametrize("target", ["", "sip:", "600"])
async def test_invalid_targets_are_refused(target: str) -> None:
    async with open_phone(listen=LOOPBACK) as phone:
        with pytest.raises(LocalProtocolError):
            async with phone.call(target):
                pass


@pytest.mark.parametrize(
    ("target", "uri"),
    [
        ("+49 (30) 12-3", "sip:+4930123@127.0.0.1:5999"),
        ("tel:+49-30-123;phone-context=example.org", "sip:+4930123@127.0.0.1:5999"),
        ("TEL:110", "sip:110@127.0.0.1:5999"),
        ("*21*5#", "sip:*21*5%23@127.0.0.1:5999"),
        ("sip:+4930123@example.org;user=phone", "sip:+4930123@example.org;user=phone"),
        ("bob@example.org", "sip:bob@example.org"),
        ("john.doe-2", "sip:john.doe-2@127.0.0.1:5999"),
    ],
)
async def test_numbers_and_addresses_can_be_dialled(target: str, uri: str) -> None:
    account = Account("sip:alice@127.0.0.1:5999", register=False)
    async with open_phone(account, listen=LOOPBACK) as phone:
        assert str(phone._dialling.complete(target)) == uri


def test_an_account_hides_its_password() -> None:
    account = Account("sip:alice@example.org", password="hush")
    assert "hush" not in repr(account)
    with pytest.raises(LocalProtocolError):
        Account("sip:example.org")


class Registrar:
    """Counts REGISTER requests and accepts them."""

    def __init__(self) -> None:
        self.contacts: list[str] = []

    def __call__(self, request: Request, flow: Flow, now: float) -> Response | None:
        if request.method != "REGISTER":
            return None
        contact = request.headers.values("Contact")[0]
        self.contacts.append(contact)
        return response_to(request, 200, headers=[("Contact", f"{contact};expires=300")])


async def test_a_phone_registers_at_once_after_a_suspend(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep = 0.0
    monkeypatch.setattr(binding, "_seconds_asleep", lambda: asleep)
    registrar = Registrar()
    async with open_phone(listen=LOOPBACK, screen=registrar) as server:
        account = Account(f"sip:alice@127.0.0.1:{server.address[1]}")
        async with open_phone(account, listen=LOOPBACK) as phone:
            await phone.registered(timeout=5)
            await trio.sleep(60)
            assert len(registrar.contacts) == 1
            asleep = 3600.0
            await trio.sleep(6)
            assert len(registrar.contacts) == 2
            assert phone.registration.state == "registered"


async def test_a_phone_registers_from_a_new_network(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = "127.0.0.1"

    monkeypatch.setattr(LocalHosts, "_ask", staticmethod(lambda remote: here))
    registrar = Registrar()
    async with open_phone(listen=LOOPBACK, screen=registrar) as server:
        account = Account(f"sip:alice@127.0.0.1:{server.address[1]}")
        async with open_phone(account, listen=("0.0.0.0", 0)) as phone:
            await phone.registered(timeout=5)
            await trio.sleep(60)
            assert len(registrar.contacts) == 1
            here = "127.0.0.9"
            await trio.sleep(6)
            assert "@127.0.0.9:" in registrar.contacts[1]


async def test_a_caller_can_be_anonymous(autojump_clock: trio.testing.MockClock) -> None:
    seen: list[Request] = []

    def screen(request: Request, flow: Flow, now: float) -> Response:
        seen.append(request)
        return response_to(request, 486)

    async with open_phone(listen=LOOPBACK, screen=screen) as server:
        account = Account(f"sip:alice@127.0.0.1:{server.address[1]}", register=False)
        async with (
            open_phone(account, listen=LOOPBACK, ports=PORTS) as phone,
            phone.call("600", anonymous=True) as call,
        ):
            await call.ended()
    request = seen[0]
    assert str(request.from_.uri) == "sip:anonymous@anonymous.invalid"
    assert request.headers.get("Privacy") == "id"
    assert "alice" in (request.headers.get("P-Preferred-Identity") or "")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
async def test_only_our_own_server_can_assert_identities(
    autojump_clock: trio.testing.MockClock, host: str
) -> None:
    identity = (("P-Asserted-Identity", "<sip:+4930123@example.org>"),)
    async with (
        open_phone(listen=LOOPBACK, screen=Registrar()) as server,
        open_phone(listen=(host, 0)) as caller,
    ):
        account = Account(f"sip:alice@127.0.0.1:{server.address[1]}")
        async with open_phone(account, listen=LOOPBACK) as phone:
            await phone.registered(timeout=5)
            arrivals = phone.incoming_calls()
            uri = Uri.parse(at(phone, "alice"))
            async with caller._calls.place(uri, "alice", None, None, headers=identity):
                incoming = await anext(arrivals)
                assert incoming.caller_number == "+4930123"
                assert incoming.asserted is (host == "127.0.0.1")


async def test_a_refused_hold_is_undone(
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(self: Renegotiation, transaction: ServerTransaction, now: float) -> None:
        transaction.respond(response_to(transaction.request, 403), now)

    monkeypatch.setattr(Renegotiation, "receive_invite", refuse)
    async with two_phones() as (alice, bob, _), alice.call(at(bob)) as call:
        await call.answered()
        call.hold()
        assert call.on_hold
        with trio.fail_after(5):
            while call.on_hold:
                await call.changed()
        assert call.state == "answered"
    assert "hold or resume was refused with 403" in caplog.text


async def test_without_call_waiting_a_second_call_is_refused_with_486(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS, rules=CallRules(call_waiting=False)) as bob,
        open_phone(listen=LOOPBACK, ports=PORTS) as alice,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(answer_all, bob)
        async with alice.call(at(bob)) as call, alice.call(at(bob)) as second:
            await call.answered()
            with pytest.raises(CallFailed) as caught:
                await second.answered()
            assert caught.value.status == 486
        nursery.cancel_scope.cancel()
