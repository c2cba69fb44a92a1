"""Requests that are no part of a call's own course: where they go, and who answers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spech.sip.capabilities import ALLOW, ALLOW_EVENTS, options, refusal
from spech.sip.event_header import EventHeader
from spech.sip.message import response_to
from spech.sip.transaction import ServerTransaction
from spech.sip.transfer import Transfers

if TYPE_CHECKING:
    from spech.sip.session import Context, Session


class Services:
    """What a user agent does besides calls and registrations."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.transfers = Transfers()

    @property
    def pending(self) -> bool:
        """Whether something is still to be told to somebody."""
        return self.transfers.pending

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
                self._receive_options(transaction, now)
            case "NOTIFY" | "SUBSCRIBE":
                self._receive_event(transaction, now)
            case "REFER":
                # It is heard within a call only, where the program knows who asks.
                self._respond(transaction, 603, now)
            case _:
                self._respond(transaction, 481, now)

    def receive_within(self, session: Session, transaction: ServerTransaction, now: float) -> None:
        """A request within the dialog of a call that does not concern the call itself."""
        match transaction.request.method:
            case "REFER":
                self.transfers.receive_refer(session, transaction, now)
            case "NOTIFY":
                self.transfers.receive_notify(session, transaction, now)
            case "SUBSCRIBE":
                self.transfers.receive_subscribe(session, transaction, now)
            case "OPTIONS":
                self._receive_options(transaction, now, session.local_tag)
            case _:
                self._respond(transaction, 405, now, [("Allow", ALLOW)], session.local_tag)

    def _receive_options(
        self, transaction: ServerTransaction, now: float, tag: str | None = None
    ) -> None:
        headers = [*self._context.standard_headers(), *options()]
        self._respond(transaction, 200, now, headers, tag)

    def _receive_event(self, transaction: ServerTransaction, now: float) -> None:
        event = EventHeader.of(transaction.request)
        if event is None or event.package not in ALLOW_EVENTS.split(", "):
            self._respond(transaction, 489, now, [("Allow-Events", ALLOW_EVENTS)])
        else:
            self._respond(transaction, 481, now)

    def _respond(
        self,
        transaction: ServerTransaction,
        status: int,
        now: float,
        headers: list[tuple[str, str]] | None = None,
        tag: str | None = None,
    ) -> None:
        tag = tag or self._context.ids.tag()
        response = response_to(transaction.request, status, to_tag=tag, headers=headers or ())
        transaction.respond(response, now)
