"""A telephone: an account at a provider, outgoing and incoming calls.

    async with open_phone(Account("sip:alice@example.org", password="…")) as phone:
        await phone.registered(timeout=5)
        async with phone.call("600") as call:
            await call.answered(timeout=30)
            call.play("hello.wav")
            await call.played()

Everything is a scope: leaving a call's block hangs up, leaving the phone's block ends every call
and removes the registration, and cancellation does the same.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, Never

import trio

from spech.addresses import Address
from spech.errors import CallEnded, LocalProtocolError, SpechError
from spech.phone.account import Account
from spech.phone.arguments import check_subscription
from spech.phone.binding import AccountBinding, RegistrationStatus
from spech.phone.call import Call
from spech.phone.callers import Callers
from spech.phone.calls import Calls
from spech.phone.correspondence import (
    Correspondence,
    EventPackage,
    Message,
    OptionsAnswer,
    Subscription,
)
from spech.phone.dialling import Dialling, without_headers
from spech.phone.fields import sendable
from spech.phone.incoming import IncomingCall, IncomingQueue
from spech.phone.journal import Journal
from spech.phone.life import Patience
from spech.phone.reach import Reach
from spech.phone.roaming import roam
from spech.phone.rules import CallRules
from spech.phone.takeover import take_over
from spech.rtp.ports import PortRange
from spech.scopes import open_scope, require_trio
from spech.sip import events
from spech.sip.description.media_security import Policy
from spech.sip.endpoint import Endpoint
from spech.sip.message.uri import Uri
from spech.sip.timeline import to_pcap
from spech.sip.transaction.flow import Flow
from spech.sip.watching.mailbox import Mailbox

_log: Final = logging.getLogger(__name__)


class Phone:
    """An open phone. Made by :func:`open_phone`."""

    def __init__(
        self,
        endpoint: Endpoint,
        account: Account | None,
        *,
        ports: PortRange,
        codecs: Sequence[str],
        reach: Reach,
        callers: Callers,
        rules: CallRules,
        silence_suppression: bool,
        patience: Patience,
        rng: random.Random,
    ) -> None:
        self._endpoint = endpoint
        self._account = account
        self._dialling = Dialling(endpoint, account, rng)
        self._binding: AccountBinding | None = None
        identity = self._dialling.identity
        if account is not None and identity is not None and account.register:
            self._binding = AccountBinding(endpoint, account, identity, self._dialling.servers, rng)
            endpoint.on_broken = self._binding.receive_broken
        self._calls = Calls(
            endpoint,
            account,
            self._dialling,
            self._flows_to,
            reach,
            ports=ports,
            codecs=codecs,
            silence_suppression=silence_suppression,
            patience=patience,
            rng=rng,
        )
        self._callers = callers
        callers.attach(endpoint.agent)
        self._incoming = IncomingQueue(self._calls, rules)
        self._correspondence = Correspondence(endpoint)
        endpoint.on_event = self._receive_event

    @property
    def account(self) -> Account | None:
        """The account that it registers as and calls from, None without one."""
        return self._account

    @property
    def address(self) -> Address:
        """Where it listens for SIP over UDP and TCP, as (host, port)."""
        return self._endpoint.address

    @property
    def secure_address(self) -> Address | None:
        """Where it listens for SIP over TLS, None without a certificate."""
        return self._endpoint.secure_address

    @property
    def codecs(self) -> tuple[str, ...]:
        """Its codecs in order of preference."""
        return self._calls.codecs

    @property
    def ports(self) -> PortRange:
        """The UDP ports for the sound of its calls, a pair for each."""
        return self._calls.ports

    @property
    def active_calls(self) -> tuple[Call, ...]:
        """The calls whose blocks are open."""
        return self._calls.active

    # ------------------------------------------------------------------ registration

    @property
    def registration(self) -> RegistrationStatus:
        """How the registration stands."""
        return self._binding.status if self._binding else RegistrationStatus("off")

    async def registered(self, timeout: float | None = None) -> None:
        """Wait until the account is registered.

        Args:
            timeout: seconds to wait, None for no limit.

        Raises:
            RegistrationFailed: the registrar refused; 401, 403 and 407 mean a wrong user or
                password.
            ServerUnreachable: the host is unknown, or there was no response in time.
            LocalProtocolError: this phone does not register.
            RuntimeError: this is not a task of Trio.
        """
        require_trio()
        if self._binding is None:
            raise LocalProtocolError("this phone does not register")
        await self._binding.made(timeout)

    async def options(self, target: str) -> OptionsAnswer:
        """Ask ``target`` what it can do, without calling it (OPTIONS, RFC 3261 11).

        Args:
            target: a number or name at the account's server, or a SIP URI.

        Raises:
            RequestFailed: there was no response within 32 s (408), or the address refuses (503).
            ServerUnreachable: the host is unknown.
            LocalProtocolError: ``target`` is neither a number nor a SIP URI.
        """
        uri, _ = without_headers(self._dialling.complete(target))
        return await self._ask(uri)

    async def ping(self) -> int:
        """Send OPTIONS to the account's server, and return the status of its answer (RFC 3261 11).

        Any answer shows that the server is alive; a refusal does, too.

        Raises:
            RequestFailed: there was no response within 32 s (408), or the address refuses (503).
            ServerUnreachable: the host is unknown.
            LocalProtocolError: this phone has no account.
        """
        if self._account is None:
            raise LocalProtocolError("this phone has no account")
        return (await self._ask(replace(self._account.uri, user=None))).status

    async def _ask(self, uri: Uri) -> OptionsAnswer:
        flows = await self._flows_to(uri)
        return await self._correspondence.ask(
            self._dialling.caller(None, flows[0].local), uri, flows
        )

    def capture_registration(self) -> bytes:
        """The messages of the registration as a packet capture (pcap), credentials masked.

        It holds no message where the phone does not register, or where no server was found.
        """
        timeline = () if self._binding is None else self._binding.timeline
        return to_pcap(timeline, time.time() - trio.current_time())

    async def registration_changed(self) -> None:
        """Wait for the next change of :attr:`registration`.

        A phone that does not register waits until it is cancelled.
        """
        if self._binding is None:
            await trio.sleep_forever()
        else:
            await self._binding.changed()

    # ------------------------------------------------------------------ calls

    @asynccontextmanager
    async def call(
        self,
        target: str,
        *,
        codecs: Sequence[str] | None = None,
        caller: str | None = None,
        display_name: str | None = None,
        anonymous: bool = False,
        headers: Mapping[str, str] | None = None,
        encryption: Policy | None = None,
    ) -> AsyncIterator[Call]:
        """Call ``target`` for the time of an ``async with`` block; leaving it hangs up.

        The block begins at once, while it rings: ``await call.answered()`` is the next step.

        Args:
            target: a number or name at the account's server (``600``), or a SIP URI with any
                parameters. Of the header fields that a URI asks for (``?Subject=…``), Subject,
                Priority, Organization, User-to-User and X-… are sent.
            codecs: names in order of preference; the phone's own by default.
            caller: a user at the account's server or a SIP URI to call from, in place of the
                account's, with a display name if wanted: ``"Bob" <sip:bob@example.org>``.
            display_name: the name to show with that address, in place of its own.
            anonymous: ask the account's server to withhold our number (RFC 3323, 3325).
            headers: header fields for the INVITE, besides the usual ones:
                ``{"User-to-User": "48656c6c6f;encoding=hex"}``.
            encryption: see :class:`~spech.Account`; the account's by default.

        Raises:
            ServerUnreachable: the host of ``target`` is unknown.
            LocalProtocolError: ``target`` is neither a number nor a SIP URI, or asks for another
                header field; ``caller`` is not an address; a header field cannot be sent.
            PortsExhausted: no RTP port is free.
            CodecUnavailable: a name in ``codecs`` is unknown or its library is missing.
        """
        uri, asked = without_headers(self._dialling.complete(target))
        async with self._calls.place(
            uri,
            target,
            codecs,
            caller,
            display_name=display_name,
            headers=(*asked, *sendable(headers)),
            anonymous=anonymous,
            encryption=encryption,
        ) as call:
            yield call

    def incoming_calls(self) -> AsyncIterator[IncomingCall]:
        """The incoming calls, each ringing already: ``async for call in phone.incoming_calls()``.

        The iterator never ends. Until this is called, callers are refused with 480. A call that is
        neither answered nor rejected rings until the caller gives up or the phone closes.
        """
        return self._incoming.incoming_calls()

    def refuse_calls(self) -> None:
        """Refuse new calls with 503 from now on; calls that ring already stay.

        OPTIONS is answered with 503 too, so that a load balancer in front of several phones sends
        calls elsewhere (RFC 3261 11.2). A program that is to end calls this, and waits until its
        calls are over.
        """
        self._callers.closed = True

    @property
    def rules(self) -> CallRules:
        """The rules for incoming calls: do not disturb, call waiting, forwarding.

        Assign others at any time; they hold for calls that ring already as well.
        """
        return self._incoming.rules

    @rules.setter
    def rules(self, rules: CallRules) -> None:
        self._incoming.rules = rules

    def turned_away(self) -> AsyncIterator[IncomingCall]:
        """The calls that :attr:`rules` has refused or forwarded, each over already.

        The iterator never ends. While 32 calls are waiting, further ones are left out.
        """
        return self._incoming.turned_away()

    async def serve(
        self, handler: Callable[[IncomingCall], Awaitable[object]], *, limit: int | None = None
    ) -> Never:
        """Serve incoming calls until cancelled, each in its own task.

        An error in ``handler`` ends its call and no other. It is logged, except
        :class:`~spech.CallEnded`, which is how a caller hangs up. A call that ``handler`` leaves
        unanswered is declined with 480.

            async def echo(incoming: IncomingCall) -> None:
                async with incoming.answer() as call:
                    ...

            await phone.serve(echo)

        Args:
            handler: an async function, called with each :class:`IncomingCall`.
            limit: how many calls are handled at once; further callers get 486 (busy). None for no
                limit.
        """
        async with open_scope() as handlers:
            async for incoming in self.incoming_calls():
                if limit is not None and len(handlers.child_tasks) >= limit:
                    incoming.reject(486)
                else:
                    handlers.start_soon(_handle, incoming, handler)
        raise AssertionError("incoming calls never end")

    # ------------------------------------------------------------------ messages and states

    async def send_message(self, target: str, text: str, *, caller: str | None = None) -> int:
        """Send a text message (RFC 3428) and wait until it has arrived.

        After a cancellation the message may still arrive.

        Args:
            target: a number or name at the account's server, or a SIP URI.
            text: at most 900 bytes in UTF-8.
            caller: whom it comes from, as for :meth:`call`; the account by default.

        Returns:
            The status: 200 where it has arrived, 202 where a server has accepted it and delivers it
            later.

        Raises:
            RequestFailed: it was refused, there was no response within 32 s (408), or the address
                refuses (503).
            ServerUnreachable: the host of ``target`` is unknown.
            LocalProtocolError: the text is too long, or ``target`` is neither a number nor a SIP
                URI, or ``caller`` is not an address.
        """
        uri, _ = without_headers(self._dialling.complete(target))
        flows = await self._flows_to(uri)
        return await self._correspondence.send(
            self._dialling.caller(caller, flows[0].local), uri, flows, text
        )

    def messages(self) -> AsyncIterator[Message]:
        """The incoming text messages: ``async for message in phone.messages()``.

        The iterator never ends. Messages are refused with 480 until this is called, and while 100
        messages are waiting.
        """
        return self._correspondence.messages()

    @asynccontextmanager
    async def subscribe(
        self, target: str, *, event: EventPackage = "message-summary", expires: int = 3600
    ) -> AsyncIterator[Subscription]:
        """Subscribe to the state of ``target`` (RFC 6665); leaving the block ends the subscription.

        The subscription is refreshed until then. After a temporary failure it is renewed.

        Args:
            target: a number or name at the account's server, or a SIP URI.
            event: "message-summary" (waiting messages), "dialog" (busy lamps) or "presence".
            expires: the interval to request, in seconds.

        Raises:
            ServerUnreachable: the host of ``target`` is unknown.
            LocalProtocolError: ``target`` is neither a number nor a SIP URI, ``event`` is unknown,
                or ``expires`` is less than one second.
        """
        check_subscription(event, expires)
        uri, _ = without_headers(self._dialling.complete(target))
        flows = await self._flows_to(uri)
        identity = self._dialling.caller(None, flows[0].local)
        async with self._correspondence.subscribe(
            identity, uri, flows, event, expires, self._flows_to
        ) as found:
            yield found

    @property
    def mailbox(self) -> Mailbox | None:
        """The last unsolicited message-waiting state from the server, or None."""
        return self._correspondence.mailbox

    async def mailbox_changed(self) -> None:
        """Wait for the next unsolicited notification about waiting messages."""
        await self._correspondence.mailbox_changed()

    async def _flows_to(self, uri: Uri) -> list[Flow]:
        """Where a request to ``uri`` is sent: to the first Route, or to the server that it names.

        The server that we are registered with comes first.

        Raises:
            ServerUnreachable: the host is unknown, or has no address that we can send to.
        """
        return self._endpoint.nearest(await self._dialling.servers(uri))

    # ------------------------------------------------------------------ events

    def _receive_event(self, event: events.Event) -> None:
        match event:
            case events.InviteReceived(session):
                self._incoming.receive_invite(session)
            case events.RegistrationChanged(registration):
                if self._binding is not None:
                    self._binding.receive_registration(registration)
            case events.RefreshDue():
                if self._binding is not None:
                    self._binding.receive_due()
            case (
                events.MessageReceived()
                | events.MailboxChanged()
                | events.SubscriptionChanged()
                | events.ResubscribeDue()
                | events.Notified()
            ):
                self._correspondence.receive_event(event)
            case _ if isinstance(event, events.SessionEvent):
                self._calls.receive_event(event)
            case _:
                pass  # The endpoint has handled it.

    async def _run(self, journal: Journal | None) -> None:
        """The phone's own tasks, until cancelled."""
        async with open_scope() as nursery:
            if journal is not None:
                nursery.start_soon(journal.run)
                nursery.start_soon(
                    take_over, journal, self._endpoint, self._dialling, self._binding
                )
            nursery.start_soon(self._calls.clock.run)
            nursery.start_soon(roam, self._calls)
            nursery.start_soon(self._calls.watch)
            nursery.start_soon(self._incoming.forward_unanswered)
            nursery.start_soon(self._callers.run, self._dialling.servers, self._unregistered_server)
            if self._binding is not None:
                nursery.start_soon(self._binding.run)

    @property
    def _unregistered_server(self) -> Uri | None:
        """The server of an account that does not register, None otherwise."""
        return None if self._account is None or self._binding is not None else self._account.uri


async def _handle(
    incoming: IncomingCall, handler: Callable[[IncomingCall], Awaitable[object]]
) -> None:
    """Handle one incoming call, and log its errors."""
    name = f"the call from {incoming.caller_number} to {incoming.called}"
    try:
        await handler(incoming)
    except* CallEnded as ended:
        _log.info("%s is over: %s", name, ended.exceptions[0])
    except* SpechError as failed:
        _log.warning("%s failed: %s", name, failed.exceptions[0])
    except* Exception:
        _log.exception("%s failed", name)
    finally:
        incoming.reject(480)  # Does nothing if the call was answered.
