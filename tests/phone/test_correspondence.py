"""Messages and subscriptions as a program sees them: phones on loopback, in virtual time."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from spech import (
    LocalProtocolError,
    Mailbox,
    Message,
    Phone,
    PortRange,
    RequestFailed,
    open_phone,
)
from spech.sip.message.message import Request, Response, response_to
from spech.sip.transaction.flow import Flow

LOOPBACK = ("127.0.0.1", 0)
PORTS = PortRange(39_100, 39_139)


def at(phone: Phone, user: str = "bob") -> str:
    return f"sip:{user}@127.0.0.1:{phone.address[1]}"


async def test_a_message_arrives(autojump_clock: trio.testing.MockClock) -> None:
    async with open_phone(listen=LOOPBACK) as bob, open_phone(listen=LOOPBACK) as alice:
        with pytest.raises(RequestFailed) as refused:
            await alice.send_message(at(bob), "is somebody there?")
        assert refused.value.status == 480
        messages = bob.messages()
        await alice.send_message(at(bob), "Grüße, Bob\nzweite Zeile")
        message = await anext(messages)
        assert message == Message(f"sip:spech@127.0.0.1:{alice.address[1]}", message.text)
        assert message.text == "Grüße, Bob\nzweite Zeile"


async def test_messages_beyond_the_queue_are_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_phone(listen=LOOPBACK) as bob, open_phone(listen=LOOPBACK) as alice:
        messages = bob.messages()
        for number in range(100):
            await alice.send_message(at(bob), str(number))
        with pytest.raises(RequestFailed, match="480"):
            await alice.send_message(at(bob), "too much")
        assert (await anext(messages)).text == "0"
        await alice.send_message(at(bob), "again")


async def test_messages_that_cannot_be_sent_raise(autojump_clock: trio.testing.MockClock) -> None:
    async with open_phone(listen=LOOPBACK) as alice:
        with pytest.raises(LocalProtocolError):
            await alice.send_message("sip:bob@127.0.0.1:9", "x" * 901)
        with pytest.raises(LocalProtocolError):
            await alice.send_message("600", "whose number is that?")
        with pytest.raises(RequestFailed) as failed:
            await alice.send_message("sip:bob@127.0.0.1:9", "nobody listens there")
        assert failed.value.status in (408, 503)


class Server:
    """A screen that accepts subscriptions and sends a mailbox state."""

    def __init__(self) -> None:
        self.subscribes: list[int | None] = []
        self.status = 200

    def screen(self, request: Request, flow: Flow, now: float) -> Response | None:
        if request.method != "SUBSCRIBE":
            return None
        self.subscribes.append(request.expires)
        return response_to(request, self.status, to_tag="s1", headers=[("Expires", "3600")])


async def test_a_refused_subscription_raises(autojump_clock: trio.testing.MockClock) -> None:
    server = Server()
    server.status = 403
    async with (
        open_phone(listen=LOOPBACK, screen=server.screen) as bob,
        open_phone(listen=LOOPBACK) as alice,
        alice.subscribe(at(bob), event="dialog") as subscription,
    ):
        with pytest.raises(RequestFailed) as refused:
            await anext(subscription)
        assert refused.value.status == 403
        assert subscription.state == "ended"


async def test_a_phone_refuses_subscriptions(autojump_clock: trio.testing.MockClock) -> None:
    async with open_phone(listen=LOOPBACK) as bob, open_phone(listen=LOOPBACK) as alice:
        async with alice.subscribe(at(bob), event="presence") as subscription:
            with pytest.raises(RequestFailed, match="489"):
                async for _ in subscription:
                    pass
        with pytest.raises(LocalProtocolError):
            async with alice.subscribe(at(bob), event="weather"):  # type: ignore[arg-type]
                pass


async def test_leaving_ends_a_subscription_without_a_notify(
    autojump_clock: trio.testing.MockClock,
) -> None:
    server = Server()
    async with (
        open_phone(listen=LOOPBACK, screen=server.screen) as bob,
        open_phone(listen=LOOPBACK) as alice,
    ):
        async with alice.subscribe(at(bob)) as subscription:
            with trio.move_on_after(35):
                await anext(subscription)
            assert subscription.state == "waiting"
            assert subscription.content is None
        assert subscription.state == "ended"
        count = len(server.subscribes)
        await trio.sleep(100)
        assert len(server.subscribes) == count


async def test_the_mailbox_is_unknown_before_a_notification() -> None:
    async with open_phone(listen=LOOPBACK) as alice:
        assert alice.mailbox is None
        with trio.move_on_after(0):
            await alice.mailbox_changed()
    assert not Mailbox(False).waiting
