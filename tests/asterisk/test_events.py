"""Message-waiting state, dialog state and text messages of a real PBX."""

from __future__ import annotations

import pytest
import trio

from spech import (
    DialogInfo,
    Mailbox,
    Phone,
    Presence,
    RequestFailed,
)
from spech.testing.asterisk import Asterisk
from spech.testing.waiting import first


async def test_dialog_state_changes_are_received(phones: tuple[Phone, Phone]) -> None:
    """Extension 700 has the hint PJSIP/bob."""
    alice, bob = phones

    arrivals = bob.incoming_calls()  # Before the command, because the call may arrive at once.

    async def answer() -> None:
        incoming = await first(arrivals)
        async with incoming.answer() as call:
            await call.ended()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        async with alice.subscribe("700", event="dialog") as lamp:
            state = await first(lamp)
            assert isinstance(state, DialogInfo)
            assert not state.busy
            async with alice.call("bob") as call:
                await call.answered(timeout=5)
                with trio.fail_after(5):
                    while not (isinstance(state, DialogInfo) and state.busy):
                        state = await anext(lamp)
            with trio.fail_after(5):
                while not (isinstance(state, DialogInfo) and not state.busy):
                    state = await anext(lamp)


async def test_presence_is_received(phones: tuple[Phone, Phone]) -> None:
    alice, _ = phones
    async with alice.subscribe("700", event="presence") as subscription:
        state = await first(subscription)
        assert isinstance(state, Presence)
        assert state.reachable
        assert subscription.state == "active"


async def test_a_subscription_to_an_unknown_user_is_refused(phones: tuple[Phone, Phone]) -> None:
    alice, _ = phones
    async with alice.subscribe("799", event="dialog") as subscription:
        with pytest.raises(RequestFailed) as refused:
            await first(subscription)
    assert refused.value.status == 404


async def test_the_mailbox_state_is_received(phones: tuple[Phone, Phone], pbx: Asterisk) -> None:
    """Alice's mailbox is box@default; the subscription brings the first state."""
    alice, _ = phones
    async with alice.subscribe("alice") as mailbox:
        state = await first(mailbox)
        assert isinstance(state, Mailbox)
        assert not state.waiting


async def test_a_message_is_relayed_by_the_pbx(phones: tuple[Phone, Phone]) -> None:
    alice, bob = phones
    messages = bob.messages()
    await alice.send_message("bob", "Grüße über die Vermittlung")
    message = await first(messages)
    assert message.text == "Grüße über die Vermittlung"
    assert message.sender.startswith("sip:alice@")
