"""Requests outside of calls: OPTIONS, MESSAGE, SUBSCRIBE and NOTIFY."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.sip.call.replaces import replaced
from spech.sip.call.session import Session
from spech.sip.call.session_timer import LEAST, too_brief
from spech.sip.dialog.capabilities import (
    ALLOW_EVENTS,
    Refusal,
    refusal,
)
from spech.sip.dialog.context import Context
from spech.sip.dialog.general import receive_instant_message, receive_options
from spech.sip.dialog.identity import Identity
from spech.sip.dialog.requests import RequestDone
from spech.sip.dialog.standalone import StandaloneRequest
from spech.sip.message.message import Request, response_to
from spech.sip.message.uri import Uri
from spech.sip.transaction.arrival import answer_tag
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.transaction import ServerTransaction
from spech.sip.watching.content import ACCEPT, read
from spech.sip.watching.event_header import EventHeader
from spech.sip.watching.mailbox import Mailbox, MailboxChanged
from spech.sip.watching.subscription import EventSubscription, SubscriptionState


class Services:
    """What a user agent does besides calls and registrations."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._subscriptions: list[EventSubscription] = []
        #: Those that may be told something, by Call-ID and our tag.
        self._book: dict[tuple[str, str], EventSubscription] = {}

    # ------------------------------------------------------------------ commands

    def request(
        self,
        identity: Identity,
        method: str,
        target: Uri,
        flows: Sequence[Flow],
        now: float,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        done: RequestDone,
    ) -> StandaloneRequest:
        """Send a request outside any dialog; ``done`` is called with the outcome."""
        return StandaloneRequest(
            self._context,
            identity,
            method,
            target,
            flows,
            now,
            headers=headers,
            body=body,
            done=done,
        )

    def subscribe(
        self,
        identity: Identity,
        target: Uri,
        package: str,
        flows: Sequence[Flow],
        now: float,
        *,
        expires: int = 3600,
    ) -> EventSubscription:
        """Subscribe to an event package of ``target``, and stay subscribed.

        Raises:
            LocalProtocolError: the package is not "message-summary", "dialog" or "presence".
        """
        if package not in ACCEPT:
            raise LocalProtocolError(f"unknown event package {package!r}")
        subscription = EventSubscription(
            self._context, self._book, identity, target, package, expires
        )
        self._subscriptions = [
            one for one in self._subscriptions if one.state is not SubscriptionState.ENDED
        ]
        self._subscriptions.append(subscription)
        subscription.subscribe(flows, now)
        return subscription

    def close(self, now: float) -> None:
        """End every subscription."""
        for subscription in self._subscriptions:
            subscription.unsubscribe(now)

    # ------------------------------------------------------------------ requests

    def refuse(self, transaction: ServerTransaction, now: float) -> bool:
        """Refuse what we cannot do (RFC 3261 8.2.1 to 8.2.3). False where we can."""
        refused = refusal(transaction.request)
        if refused is not None:
            status, headers = refused
            self._respond(transaction, status, now, headers)
        return refused is not None

    def receive_outside(self, transaction: ServerTransaction, now: float) -> None:
        """A request outside any dialog, INVITE excepted."""
        match transaction.request.method:
            case "OPTIONS":
                receive_options(self._context, transaction, self._tag(transaction), now)
            case "MESSAGE":
                receive_instant_message(self._context, transaction, self._tag(transaction), now)
            case "NOTIFY" | "SUBSCRIBE":
                self._receive_event(transaction, now)
            case "REFER":
                # It is heard within a call only, where the program knows who asks.
                self._respond(transaction, 603, now)
            case _:
                self._respond(transaction, 481, now)

    def receive_lost(self, transaction: ServerTransaction, now: float) -> None:
        """A request within a dialog that belongs to no call: to a subscription, or to nothing."""
        request = transaction.request
        subscription = self._book.get((request.call_id, request.to.tag or ""))
        if subscription is not None and request.method == "NOTIFY":
            subscription.receive_notify(transaction, now)
        else:
            self._respond(transaction, 481, now)

    def _receive_event(self, transaction: ServerTransaction, now: float) -> None:
        request = transaction.request
        event = EventHeader.of(request)
        if request.method == "SUBSCRIBE":
            # We tell nothing but what becomes of a REFER, and that within its dialog.
            self._respond(transaction, 489, now, [("Allow-Events", "refer")])
        elif event is None or event.package not in ALLOW_EVENTS.split(", "):
            self._respond(transaction, 489, now, [("Allow-Events", ALLOW_EVENTS)])
        elif event.package == "message-summary":
            self._receive_summary(transaction, now)
        else:
            self._respond(transaction, 481, now)

    def _receive_summary(self, transaction: ServerTransaction, now: float) -> None:
        """Servers tell their users without being asked (RFC 3842 does not know that).

        Only those that we are registered with: anybody else could make a lamp blink.
        """
        request = transaction.request
        if not self._context.registered_at(transaction.flow.remote[0]):
            self._respond(transaction, 481, now)
            return
        try:
            mailbox = read("message-summary", request)
        except RemoteProtocolError as error:
            accept = [("Accept", ACCEPT["message-summary"])] if error.status == 415 else []
            self._respond(transaction, error.status, now, accept)
            return
        assert isinstance(mailbox, Mailbox)
        self._respond(transaction, 200, now)
        self._context.emit(MailboxChanged(mailbox))

    def _tag(self, transaction: ServerTransaction) -> str:
        return answer_tag(self._context.ids, transaction.request)

    def _respond(
        self,
        transaction: ServerTransaction,
        status: int,
        now: float,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        tag = self._tag(transaction)
        response = response_to(transaction.request, status, to_tag=tag, headers=headers)
        transaction.respond(response, now)


def invite_refusal(request: Request, flow: Flow, sessions: Iterable[Session]) -> Refusal | None:
    """Why an INVITE outside a dialog cannot be taken by one who has ``sessions``, or None."""
    if too_brief(request):
        return 422, [("Min-SE", str(LEAST))]
    try:
        old = replaced(request, sessions)
    except RemoteProtocolError as error:
        return error.status, []
    if old is not None and not old.source_check.knows(flow):
        return 403, []  # Identifiers that were seen on the way open no call (RFC 3891 3).
    return None
