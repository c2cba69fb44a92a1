"""Messages and subscriptions as a program sees them: phones on loopback, in virtual time."""

from __future__ import annotations

from contextlib import AsyncExitStack

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
from spech.sip.message.headers import Headers
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.parser import parse
from spech.sip.transaction.flow import Flow

from ..sip.name_server import open_name_server, resolver_for

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
        assert message == Message(
            f"sip:spech@127.0.0.1:{alice.address[1]}", message.text, recipient="bob"
        )
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


class Notifier:
    """A server at an address of its own that reports a mailbox to whoever subscribes."""

    def __init__(self, bound: trio.socket.SocketType, contact: str) -> None:
        self.subscribes: list[Request] = []
        self.alive = True
        self._bound = bound
        self._contact = contact

    async def serve(self) -> None:
        while True:
            data, source = await self._bound.recvfrom(65_535)
            message = parse(data) if data.strip() else None
            if not self.alive or not isinstance(message, Request):
                continue
            headers = [("Contact", self._contact), ("Expires", "600")]
            response = response_to(message, 200, to_tag="s1", headers=headers)
            if message.method == "SUBSCRIBE":
                self.subscribes.append(message)
                await self._bound.sendto(bytes(response), source)
                await self._bound.sendto(bytes(self._notify(message, response)), source)
            elif message.method == "OPTIONS":
                await self._bound.sendto(bytes(response), source)

    def _notify(self, subscribe: Request, response: Response) -> Request:
        assert subscribe.contact is not None
        host, port = self._bound.getsockname()
        number = len(self.subscribes)
        headers = Headers(
            [
                ("Via", f"SIP/2.0/UDP {host}:{port};branch=z9hG4bK{port}n{number}"),
                ("Max-Forwards", "70"),
                ("From", str(response.to)),
                ("To", str(subscribe.from_)),
                ("Call-ID", subscribe.call_id),
                ("CSeq", f"{number} NOTIFY"),
                ("Contact", self._contact),
                ("Event", "message-summary"),
                ("Subscription-State", "active;expires=600"),
                ("Content-Type", "application/simple-message-summary"),
            ]
        )
        body = f"Messages-Waiting: yes\r\nVoice-Message: {number}/0\r\n".encode()
        return Request("NOTIFY", subscribe.contact.uri, headers, body)


@pytest.mark.parametrize("named", [True, False])
async def test_a_subscription_follows_its_server_to_another_address(
    named: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """RFC 3263 4: each refresh resolves the name again, and so does each new subscription.

    Where the Contact has a name, the refresh within the dialog finds the new address. Where it is
    numeric, the refresh gets no response, which ends the dialog (RFC 3261 12.2.1.2), and a new
    subscription finds it.
    """
    async with AsyncExitStack() as undo:
        nursery = await undo.enter_async_context(trio.open_nursery())
        notifiers = []
        port = 0
        for host in ("127.0.0.21", "127.0.0.22"):
            bound = undo.enter_context(trio.socket.socket(type=trio.socket.SOCK_DGRAM))
            await bound.bind((host, port))
            port = bound.getsockname()[1]
            notifier = Notifier(bound, f"<sip:bob@{'pbx.test' if named else host}:{port}>")
            nursery.start_soon(notifier.serve)
            notifiers.append(notifier)
        before, after = notifiers
        names = await undo.enter_async_context(open_name_server(("pbx.test.", "A", "127.0.0.21")))
        alice = await undo.enter_async_context(
            open_phone(listen=LOOPBACK, resolver=resolver_for(names))
        )
        async with alice.subscribe(f"sip:bob@pbx.test:{port}", expires=600) as subscription:
            assert isinstance(await anext(subscription), Mailbox)
            names.records[:] = [("pbx.test.", "A", "127.0.0.22")]
            before.alive = False
            with trio.fail_after(700):
                assert isinstance(await anext(subscription), Mailbox)
            assert subscription.state == "active"
        assert len(before.subscribes) == 1
        assert (after.subscribes[0].to.tag is not None) is named
        nursery.cancel_scope.cancel()


async def test_the_mailbox_is_unknown_before_a_notification() -> None:
    async with open_phone(listen=LOOPBACK) as alice:
        assert alice.mailbox is None
        with trio.move_on_after(0):
            await alice.mailbox_changed()
    assert not Mailbox(False).waiting
