"""The exchange as users see it: over sockets on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from spech import (
    Account,
    CallFailed,
    IncomingCall,
    Phone,
    PortRange,
    RegistrationFailed,
    RequestFailed,
    open_phone,
)
from spech.exchange import Exchange, open_exchange
from spech.phone.checkup import open_checkup
from spech.sip.message.uri import Uri
from spech.testing.audio import assert_tone, sine, sounding
from spech.testing.talk import listen, talk

ACCOUNTS = {"alice": "wonderland", "bob": "builder"}
PORTS = PortRange(34000, 34199)


@asynccontextmanager
async def exchange_is_open() -> AsyncIterator[Exchange]:
    async with open_exchange(("127.0.0.1", 0), ACCOUNTS, ports=PortRange(34200, 34399)) as exchange:
        yield exchange


@asynccontextmanager
async def phone_of(
    user: str, exchange: Exchange, *, password: str | None = None, name: str | None = None
) -> AsyncIterator[Phone]:
    account = Account(
        f"sip:{user}@127.0.0.1:{exchange.address[1]}",
        password=password or ACCOUNTS[user],
        display_name=name,
    )
    async with open_phone(account, listen=("127.0.0.1", 0), ports=PORTS) as phone:
        yield phone


async def next_call(phone: Phone) -> IncomingCall:
    return await anext(phone.incoming_calls())


async def test_echo_returns_received_sound() -> None:
    async with exchange_is_open() as exchange, phone_of("alice", exchange) as phone:
        await phone.registered(timeout=5)
        async with phone.call("600") as call:
            await call.answered(timeout=5)
            with call.open_audio() as port:
                heard = await talk(port, sine(1000, 8000, 1), 1.5)
    assert_tone(heard[4800:], 8000, 1000)


@pytest.mark.parametrize(
    ("user", "password", "last", "passed"),
    [
        ("alice", "wonderland", "echo", True),
        ("alice", "looking-glass", "registration", False),
        ("carol", "wonderland", "registration", False),
    ],
)
async def test_a_check_up_proves_an_account(
    user: str, password: str, last: str, passed: bool
) -> None:
    async with exchange_is_open() as exchange:
        account = Account(f"sip:{user}@127.0.0.1:{exchange.address[1]}", password=password)
        async with open_checkup(account, echo="600") as steps:
            found = [step async for step in steps]
    assert all(step.passed for step in found[:-1])
    assert (found[-1].name, found[-1].passed) == (last, passed)


async def test_the_tone_extension_sounds_without_a_gap() -> None:
    async with (
        exchange_is_open() as exchange,
        phone_of("alice", exchange) as phone,
        phone.call("601") as call,
    ):
        await call.answered(timeout=5)
        with call.open_audio() as port:
            heard = await listen(port, 2.0)
    assert_tone(heard[4000:], 8000, 440, purity=0.99)


async def test_digits_are_played_back_as_tones_and_events() -> None:
    async with (
        exchange_is_open() as exchange,
        phone_of("alice", exchange) as phone,
        phone.call("602") as call,
    ):
        await call.answered(timeout=5)
        with call.open_audio() as port:
            prompt = await listen(port, 0.5)
            call.send_dtmf("5#")
            with trio.fail_after(10):
                assert await call.collect_digits(2, terminator=None) == "5#"
            # The port keeps only the last 0.2 s, so the sound is not checked here.
    assert_tone(sounding(prompt, 8000)[400:1200], 8000, 880, tolerance=20)


async def test_extension_604_calls_back() -> None:
    async with exchange_is_open() as exchange, phone_of("alice", exchange) as phone:
        await phone.registered(timeout=5)
        async with trio.open_nursery() as nursery:
            called_back = trio.Event()

            async def wait_for_call() -> None:
                incoming = await next_call(phone)
                assert incoming.caller_number == "604"
                async with incoming.answer() as call:
                    with call.open_audio() as port:
                        heard = await talk(port, sine(700, 8000, 1), 1.0)
                assert_tone(heard[4800:], 8000, 700)
                called_back.set()

            nursery.start_soon(wait_for_call)
            async with phone.call("604") as call:
                await call.answered(timeout=5)
                with call.open_audio() as port:
                    await talk(port, sine(700, 8000, 1), 1.0)
            with trio.fail_after(15):
                await called_back.wait()


async def test_users_talk_to_each_other() -> None:
    async with (
        exchange_is_open() as exchange,
        phone_of("alice", exchange) as alice,
        phone_of("bob", exchange) as bob,
        trio.open_nursery() as nursery,
    ):
        await bob.registered(timeout=5)
        result: list[str] = []

        async def be_bob() -> None:
            incoming = await next_call(bob)
            assert incoming.caller_number == "alice"
            async with incoming.answer() as call:
                with call.open_audio() as port:
                    heard = await talk(port, sine(500, 8000, 1), 2.0)
                result.append(await call.collect_digits(3, timeout=5))
            assert_tone(heard[8000:], 8000, 900)

        nursery.start_soon(be_bob)
        async with alice.call("bob") as call:
            await call.answered(timeout=5)
            with call.open_audio() as port:
                heard = await talk(port, sine(900, 8000, 1), 2.0)
            call.send_dtmf("42#")
            await call.ended()
        assert_tone(heard[8000:], 8000, 500)
    assert result == ["42"]
    assert call.ended_by == "remote"


async def test_a_caller_who_gives_up_ends_the_other_leg() -> None:
    async with (
        exchange_is_open() as exchange,
        phone_of("alice", exchange) as alice,
        phone_of("bob", exchange) as bob,
        trio.open_nursery() as nursery,
    ):
        await bob.registered(timeout=5)
        rings, over = trio.Event(), trio.Event()

        async def be_bob() -> None:
            incoming = await next_call(bob)
            rings.set()
            await incoming.ended()
            over.set()

        nursery.start_soon(be_bob)
        async with alice.call("bob"):
            with trio.fail_after(5):
                await rings.wait()
        with trio.fail_after(5):
            await over.wait()


async def test_a_declined_call_is_reported_to_the_caller() -> None:
    async with (
        exchange_is_open() as exchange,
        phone_of("alice", exchange) as alice,
        phone_of("bob", exchange) as bob,
        trio.open_nursery() as nursery,
    ):
        await bob.registered(timeout=5)

        async def be_bob() -> None:
            (await next_call(bob)).reject(603)

        nursery.start_soon(be_bob)
        async with alice.call("bob") as call:
            with pytest.raises(CallFailed) as caught:
                await call.answered(timeout=5)
    assert caught.value.status == 603


@pytest.mark.parametrize("name", [None, "Alice Liddell", 'A "quoted" \\ <name>', "Ælfgifu, 愛麗絲"])
async def test_the_name_of_a_caller_reaches_the_other_user(name: str | None) -> None:
    async with (
        exchange_is_open() as exchange,
        phone_of("alice", exchange, name=name) as alice,
        phone_of("bob", exchange) as bob,
    ):
        await bob.registered(timeout=5)
        arrivals, messages = bob.incoming_calls(), bob.messages()
        async with alice.call("bob"):
            with trio.fail_after(5):
                incoming = await anext(arrivals)
            assert (incoming.caller_number, incoming.display_name) == ("alice", name)
        await alice.send_message("bob", "Tea at four?")
        with trio.fail_after(5):
            assert (await anext(messages)).display_name == name


@pytest.mark.parametrize(("number", "status"), [("699", 404), ("bob", 480)])
async def test_unreachable_numbers_are_refused(number: str, status: int) -> None:
    async with (
        exchange_is_open() as exchange,
        phone_of("alice", exchange) as phone,
        phone.call(number) as call,
    ):
        with pytest.raises(CallFailed) as caught:
            await call.answered(timeout=5)
    assert caught.value.status == status


async def test_a_wrong_password_is_refused() -> None:
    async with (
        exchange_is_open() as exchange,
        phone_of("alice", exchange, password="looking-glass") as phone,
    ):
        with pytest.raises(RegistrationFailed) as refused:
            await phone.registered(timeout=5)
        async with phone.call("600") as call:
            with pytest.raises(CallFailed) as failed:
                await call.answered(timeout=5)
    assert (refused.value.status, failed.value.status) == (403, 403)


async def test_an_unregistered_user_is_not_found() -> None:
    async with exchange_is_open() as exchange:
        async with phone_of("alice", exchange) as phone:
            await phone.registered(timeout=5)
            assert exchange.registrar.contacts("alice", trio.current_time())
        assert not exchange.registrar.contacts("alice", trio.current_time())


async def test_a_transfer_to_an_extension_is_followed() -> None:
    """Alice transfers Bob to 601 and hangs up: he hears the tone in his existing call."""
    async with (
        exchange_is_open() as exchange,
        phone_of("alice", exchange) as alice,
        phone_of("bob", exchange) as bob,
        trio.open_nursery() as nursery,
    ):
        await alice.registered(timeout=5)

        async def be_bob() -> None:
            async with bob.call("alice") as call:
                await call.answered(timeout=5)
                with call.open_audio() as port:
                    heard = await listen(port, 3.0)
            assert_tone(heard[-8000:], 8000, 440)

        nursery.start_soon(be_bob)
        async with (await next_call(alice)).answer() as call:
            await call.answered(timeout=5)
            await call.transfer("601")
        assert call.transfer_progress == (200, "OK")


async def test_an_extension_is_transferred_to_a_user() -> None:
    async with (
        exchange_is_open() as exchange,
        phone_of("alice", exchange) as alice,
        phone_of("bob", exchange) as bob,
        trio.open_nursery() as nursery,
    ):
        await bob.registered(timeout=5)

        async def be_bob() -> None:
            incoming = await next_call(bob)
            assert incoming.caller_number == "600"
            async with incoming.answer() as call:
                with call.open_audio() as port:
                    heard = await talk(port, sine(700, 8000, 1), 1.5)
            assert_tone(heard[4800:], 8000, 700)

        nursery.start_soon(be_bob)
        async with alice.call("600") as call:
            await call.answered(timeout=5)
            await call.transfer("bob")


async def test_an_attended_transfer_connects_an_extension_and_a_user() -> None:
    """Alice has calls to Bob and 601, and connects them."""
    async with (
        exchange_is_open() as exchange,
        phone_of("alice", exchange) as alice,
        phone_of("bob", exchange) as bob,
        trio.open_nursery() as nursery,
    ):
        await bob.registered(timeout=5)

        async def be_bob() -> None:
            async with (await next_call(bob)).answer() as call:
                with call.open_audio() as port:
                    heard = await listen(port, 3.0)
            assert_tone(heard[-8000:], 8000, 440)

        nursery.start_soon(be_bob)
        async with alice.call("bob") as one, alice.call("601") as other:
            await one.answered(timeout=5)
            await other.answered(timeout=5)
            await other.transfer_to(one)


async def test_an_extension_follows_a_transfer_that_comes_with_the_answer() -> None:
    async with (
        exchange_is_open() as exchange,
        phone_of("alice", exchange) as alice,
        phone_of("bob", exchange) as bob,
    ):
        await bob.registered(timeout=5)
        arrivals = bob.incoming_calls()
        async with alice.call("600") as call, trio.open_nursery() as nursery:
            while call.state != "answered":
                await call.changed()
            nursery.start_soon(call.transfer, "bob")
            async with (await anext(arrivals)).answer():
                await call.ended()
        assert call.transfer_progress == (200, "OK")


async def test_a_message_is_relayed_to_its_recipient() -> None:
    async with (
        exchange_is_open() as exchange,
        phone_of("alice", exchange) as alice,
        phone_of("bob", exchange) as bob,
    ):
        await bob.registered(timeout=5)
        messages = bob.messages()
        await alice.send_message("bob", "Tea at four?")
        with trio.fail_after(5):
            message = await anext(messages)
        sender = f"sip:alice@127.0.0.1:{exchange.address[1]}"
        assert (message.sender, message.text) == (sender, "Tea at four?")
        assert message.recipient == "bob"


@pytest.mark.parametrize(("number", "status"), [("600", 404), ("bob", 480)])
async def test_a_message_that_nobody_can_receive_is_refused(number: str, status: int) -> None:
    async with exchange_is_open() as exchange, phone_of("alice", exchange) as phone:
        with pytest.raises(RequestFailed) as refused:
            await phone.send_message(number, "Are you there?")
    assert refused.value.status == status


async def test_a_transfer_to_an_unknown_user_keeps_the_call() -> None:
    async with (
        exchange_is_open() as exchange,
        phone_of("alice", exchange) as alice,
        alice.call("600") as call,
    ):
        await call.answered(timeout=5)
        with pytest.raises(CallFailed) as caught:
            await call.transfer("699")
        with call.open_audio() as port:
            heard = await talk(port, sine(1000, 8000, 1), 1.5)
    assert caught.value.status == 404
    assert_tone(heard[4800:], 8000, 1000)


async def test_a_call_to_a_contact_that_leads_back_here_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with exchange_is_open() as exchange, phone_of("bob", exchange) as bob:
        await bob.registered(timeout=5)
        back = Uri.parse(f"sip:alice@127.0.0.1:{exchange.address[1]}")
        monkeypatch.setattr(exchange.registrar, "contacts", lambda user, now: [back])
        with trio.fail_after(10), pytest.raises(CallFailed) as failed:
            async with bob.call("alice") as call:
                await call.answered()
        # The offer is too long for UDP, and over TCP the exchange is a caller like any other.
        assert failed.value.status == 480


@pytest.mark.parametrize(("status", "told"), [(401, 480), (407, 480), (486, 486)])
async def test_a_challenge_of_the_called_phone_does_not_reach_the_caller(
    status: int, told: int, autojump_clock: trio.testing.MockClock
) -> None:
    """It is for the exchange's INVITE: the caller has no password for another user's phone."""
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"

    async def refuse(phone: Phone) -> None:
        challenge = 'Digest realm="spech", nonce="1", algorithm=SHA-256, qop="auth"'
        (await next_call(phone)).reject(status, headers={name: challenge})

    async with (
        exchange_is_open() as exchange,
        phone_of("alice", exchange) as alice,
        phone_of("bob", exchange) as bob,
        trio.open_nursery() as nursery,
    ):
        await bob.registered(timeout=5)
        nursery.start_soon(refuse, bob)
        with pytest.raises(CallFailed) as failed:
            async with alice.call("bob") as call:
                await call.answered(timeout=5)
        assert failed.value.status == told
        assert all(name != header for header, _ in call.headers)
