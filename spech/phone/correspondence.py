"""Text messages (RFC 3428) and subscriptions (RFC 6665) of a phone."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, Literal

import trio

from spech.errors import LocalProtocolError, RequestFailed, ServerUnreachable
from spech.phone.fields import shown
from spech.scopes import open_scope
from spech.sip import events
from spech.sip.dialog.caller import number_of
from spech.sip.dialog.identity import Identity
from spech.sip.endpoint import Endpoint
from spech.sip.message.headers import Headers
from spech.sip.message.message import REASONS, Response
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow
from spech.sip.watching.content import Content
from spech.sip.watching.mailbox import Mailbox
from spech.sip.watching.subscription import EventSubscription, SubscriptionState

#: The supported event packages (RFC 3842, 4235, 3856).
EventPackage = Literal["message-summary", "dialog", "presence"]

#: Messages queued for ``messages()``; further ones are refused with 480.
_WAITING_MESSAGES: Final = 100
#: Queued states of a subscription. Each state is complete, so the oldest can be dropped.
_WAITING_STATES: Final = 16
#: Longest text in bytes: the whole request must stay below 1,300 bytes (RFC 3428 8).
LONGEST_TEXT: Final = 900


@dataclass(frozen=True, slots=True)
class Message:
    """A received text message.

    Attributes:
        sender: the SIP URI that the sender claims; not verified.
        text: what it says.
        display_name: the sender's name, None without one.
        recipient: the number or name that it was sent to: the user part of the Request-URI.
    """

    sender: str
    text: str
    display_name: str | None = None
    recipient: str = ""


@dataclass(frozen=True, slots=True)
class OptionsAnswer:
    """The answer to OPTIONS, or to another request outside calls.

    Attributes:
        status: 200 where a call would ring; the status that would refuse it otherwise.
        reason: its reason phrase.
        headers: names and values, in order: Allow, Accept, Supported and others.
    """

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that it takes, as Allow lists them (RFC 3261 20.5)."""
        return tuple(Headers(self.headers).values("Allow"))


class Subscription(AsyncIterator[Content]):
    """The state of a user as it changes. Made by :meth:`Phone.subscribe`.

    Iterating yields :class:`Mailbox`, :class:`DialogInfo` or :class:`Presence` values, the current
    one first. Iteration ends when the notifier terminates the subscription for good.
    """

    def __init__(self, pure: EventSubscription) -> None:
        self._pure = pure
        self._states: deque[Content] = deque(maxlen=_WAITING_STATES)
        self._changed = trio.Event()
        self._due = trio.Event()

    def __repr__(self) -> str:
        return f"<Subscription {self._pure.package} {self._pure.target} {self.state}>"

    @property
    def state(self) -> str:
        """The state of the subscription.

        "subscribing", "pending" (it waits for permission), "active", "waiting" (lost, and retried
        automatically), "leaving" or "ended".
        """
        return self._pure.state.value

    @property
    def content(self) -> Content | None:
        """The state from the latest notification, None before the first."""
        return self._pure.content

    async def changed(self) -> None:
        """Wait for the next change of :attr:`state` or :attr:`content`."""
        await self._changed.wait()

    async def __anext__(self) -> Content:
        """The next state.

        Raises:
            RequestFailed: the subscription or its refresh was refused.
            StopAsyncIteration: the notifier terminated it for good.
        """
        while not self._states:
            if self._pure.state in (SubscriptionState.ENDED, SubscriptionState.LEAVING):
                if (
                    self._pure.reason == "noresource"
                    or self._pure.state is SubscriptionState.LEAVING
                ):
                    raise StopAsyncIteration
                raise RequestFailed(self._pure.status, self._pure.reason)
            await self.changed()
        await trio.lowlevel.checkpoint()
        return self._states.popleft()

    def _receive(self, content: Content | None) -> None:
        """Wake the waiting tasks; queue ``content`` if there is a new state."""
        if content is not None:
            self._states.append(content)
        self._changed.set()
        self._changed = trio.Event()


class _Messages(AsyncIterator[Message]):
    """Waiting messages. Not a generator, so that it may be left at any time."""

    def __init__(self, correspondence: Correspondence) -> None:
        self._correspondence = correspondence

    async def __anext__(self) -> Message:
        return await self._correspondence.next_message()


class Correspondence:
    """The messages and subscriptions of one phone."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._subscriptions: dict[EventSubscription, Subscription] = {}
        self._messages_in, self._messages = trio.open_memory_channel[Message](_WAITING_MESSAGES)
        #: The last state that a server sent without a subscription.
        self.mailbox: Mailbox | None = None
        self._mailbox_changed = trio.Event()

    # ------------------------------------------------------------------ messages

    async def send(self, identity: Identity, uri: Uri, flows: Sequence[Flow], text: str) -> int:
        """See :meth:`Phone.send_message`."""
        if not isinstance(text, str):
            raise TypeError(f"a message must be text, not {type(text).__name__}")
        body = text.encode()
        if len(body) > LONGEST_TEXT:
            raise LocalProtocolError(
                f"the text has {len(body)} bytes; at most {LONGEST_TEXT} are allowed"
            )
        headers = [("Content-Type", "text/plain;charset=utf-8")]
        answer = await self._request(identity, "MESSAGE", uri, flows, headers, body)
        if answer.status >= 300:
            raise RequestFailed(answer.status, answer.reason, answered=bool(answer.headers))
        return answer.status

    async def ask(self, identity: Identity, uri: Uri, flows: Sequence[Flow]) -> OptionsAnswer:
        """Send OPTIONS. See :meth:`Phone.options`."""
        answer = await self._request(identity, "OPTIONS", uri, flows)
        if not answer.headers:
            raise RequestFailed(answer.status, answer.reason, answered=False)
        return answer

    async def _request(
        self,
        identity: Identity,
        method: str,
        uri: Uri,
        flows: Sequence[Flow],
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> OptionsAnswer:
        """Send a request outside any dialog. A missing answer has a status, and no header field."""
        ended = trio.Event()
        outcome: list[OptionsAnswer] = []

        def done(status: int, response: Response | None, now: float) -> None:
            if response is None:
                outcome.append(OptionsAnswer(status, REASONS.get(status, ""), ()))
            else:
                outcome.append(OptionsAnswer(status, response.phrase, shown(response.headers)))
            ended.set()

        with self._endpoint.command() as (agent, now):
            agent.services.request(
                identity, method, uri, flows, now, headers=headers, body=body, done=done
            )
        await ended.wait()
        return outcome[0]

    def messages(self) -> AsyncIterator[Message]:
        """See :meth:`Phone.messages`."""
        self._endpoint.agent.takes_messages = True
        return _Messages(self)

    async def next_message(self) -> Message:
        """Return the next message, which makes room for another one."""
        message = await self._messages.receive()
        self._endpoint.agent.takes_messages = True
        return message

    def _receive_message(self, event: events.MessageReceived) -> None:
        sender, uri = event.request.from_, event.request.uri
        recipient = number_of(uri) if uri.user else ""
        self._messages_in.send_nowait(
            Message(sender.uri.address, event.text, sender.display_name or None, recipient)
        )
        if self._messages_in.statistics().current_buffer_used >= _WAITING_MESSAGES:
            self._endpoint.agent.takes_messages = False

    # ------------------------------------------------------------------ subscriptions

    async def mailbox_changed(self) -> None:
        """See :meth:`Phone.mailbox_changed`."""
        await self._mailbox_changed.wait()

    @asynccontextmanager
    async def subscribe(
        self,
        identity: Identity,
        uri: Uri,
        flows: Sequence[Flow],
        package: EventPackage,
        expires: int,
        flows_to: Callable[[Uri], Awaitable[list[Flow]]],
    ) -> AsyncIterator[Subscription]:
        """See :meth:`Phone.subscribe`. ``flows_to`` resolves ``uri`` before each attempt."""
        endpoint = self._endpoint
        with endpoint.command() as (agent, now):
            pure = agent.services.subscribe(identity, uri, package, flows, now, expires=expires)
            subscription = self._subscriptions[pure] = Subscription(pure)
        try:
            async with open_scope() as nursery:
                nursery.start_soon(self._resolve, pure, subscription, flows_to)
                yield subscription
                nursery.cancel_scope.cancel()
        finally:
            # No await here, so nothing can interrupt it.
            with endpoint.command() as (_, now):
                pure.unsubscribe(now)
            self._subscriptions.pop(pure, None)

    async def _resolve(
        self,
        pure: EventSubscription,
        subscription: Subscription,
        flows_to: Callable[[Uri], Awaitable[list[Flow]]],
    ) -> None:
        """Resolve the target's name for each further attempt."""
        while True:
            await subscription._due.wait()
            subscription._due = trio.Event()
            # If DNS fails, the user agent uses the known flows.
            with suppress(ServerUnreachable):
                flows = await flows_to(pure.target)
                with self._endpoint.command() as (_, now):
                    pure.receive_flows(flows, now)

    # ------------------------------------------------------------------ events

    def receive_event(
        self,
        event: events.SubscriptionChanged
        | events.ResubscribeDue
        | events.Notified
        | events.MailboxChanged
        | events.MessageReceived,
    ) -> None:
        """Handle an event of the user agent."""
        match event:
            case events.MessageReceived():
                self._receive_message(event)
            case events.MailboxChanged(mailbox):
                self.mailbox = mailbox
                self._mailbox_changed.set()
                self._mailbox_changed = trio.Event()
            case events.SubscriptionChanged(pure):
                self._tell(pure, None)
            case events.ResubscribeDue(pure):
                if (watching := self._subscriptions.get(pure)) is not None:
                    watching._due.set()
            case events.Notified(pure, content):
                self._tell(pure, content)

    def _tell(self, pure: EventSubscription, content: Content | None) -> None:
        subscription = self._subscriptions.get(pure)
        if subscription is not None:
            subscription._receive(content)
