"""Keeping a binding at a registrar (RFC 3261 10). Pure: time comes in as ``now``, in seconds."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from spech.sip.dialog.attempts import Attempts, back_off
from spech.sip.dialog.context import Context
from spech.sip.dialog.event import Event
from spech.sip.dialog.identity import Identity, Tries
from spech.sip.message.grammar import maybe_number
from spech.sip.message.headers import Headers, NameAddr
from spech.sip.message.message import REASONS, Request, Response
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.transaction import ClientTransaction

#: The longest binding that is believed, in seconds.
_MOST: Final = 86_400


class State(enum.Enum):
    """Where a registration is."""

    REGISTERING = "registering"
    REGISTERED = "registered"
    FAILED = "failed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class RegistrationChanged(Event):
    """A registration succeeded, failed or was removed: look at it."""

    registration: Registration


class Registration(Attempts):
    """One address of record bound to our contact.

    Refreshes itself before it expires, tries again with growing pauses after a failure, and is
    removed by :meth:`remove`. A wrong password is not tried again by itself. Behind a NAT the
    address that the registrar saw is bound in place of ours (RFC 3581), and what it answers in
    Service-Route is the way of later requests (RFC 3608).

    ``instance`` is a URN that names this phone for as long as it exists, ``urn:uuid:…``; with it
    the binding is one of RFC 5626, which a new one from the same phone replaces.

    ``status`` and ``reason`` are those of the last final response, 408 when nobody answered.
    """

    def __init__(
        self,
        context: Context,
        identity: Identity,
        registrar: Uri,
        expires: int,
        instance: str | None = None,
    ) -> None:
        super().__init__(context, identity)
        self.registrar = registrar
        self.expires = expires
        self.state = State.REGISTERING
        self.status: int | None = None
        self.reason = ""
        #: Whether the status is the registrar's own word, not our conclusion from its silence.
        self.answered = False
        #: When the binding ends, on the caller's clock; None while there is none.
        self.expires_at: float | None = None
        self.call_id = context.ids.call_id()
        self._instance = instance
        self._bound_before: Uri | None = None
        self._corrected = False
        self._tag = context.ids.tag()
        self._sequence = context.ids.sequence()
        #: The ways to the registrar, tried in turn.
        self.flows: list[Flow] = []
        self._failures = 0

    def __str__(self) -> str:
        return "the registration"

    def __repr__(self) -> str:
        return f"<Registration {self.identity.uri.address} {self.state.value}>"

    def register(self, flows: Sequence[Flow], now: float) -> None:
        """Bind our contact, trying ``flows`` in turn."""
        self.flows = list(flows)
        self.identity.trust(flows)
        self._corrected = False
        self._start(now)

    def remove(self, now: float) -> None:
        """Take the binding away (RFC 3261 10.2.2). Nothing is sent where none was made."""
        asking = self._transaction is not None and self._transaction.pending
        self._context.timers.clear_all(self)
        self.state = State.REMOVED
        self._tries = Tries()
        if asking:
            return  # Its answer says whether there is anything to take away.
        if self.expires_at is not None:
            self._send(now)
        else:
            self._context.emit(RegistrationChanged(self))

    def handle_timer(self, name: str, now: float) -> None:
        """Serve the "refresh" timer."""
        if name == "refresh" and self.state is not State.REMOVED:
            self.register(self.flows, now)

    def _flows(self) -> list[Flow]:
        return self.flows

    def _build(self, flow: Flow, *, failover: bool) -> Request:
        expires = 0 if self.state is State.REMOVED else self.expires
        before, self._bound_before = self._bound_before, None
        self._sequence += 1
        headers = Headers(
            [
                ("Via", self._context.via(flow)),
                ("Max-Forwards", "70"),
                ("From", str(self.identity.address.with_tag(self._tag))),
                ("To", str(self.identity.address)),
                ("Call-ID", self.call_id),
                ("CSeq", f"{self._sequence} REGISTER"),
                ("Contact", self._contact(flow)),
                *([("Contact", f"<{before}>;expires=0")] if before else []),
                ("Expires", str(expires)),
                ("Supported", "path, outbound" if self._instance else "path"),
                *self._context.standard_headers(),
            ]
        )
        return Request("REGISTER", self.registrar, headers)

    def _contact(self, flow: Flow) -> str:
        contact = self._context.contact(flow, self.identity.uri)
        if self._instance is None:
            return contact
        return f'{contact};+sip.instance="<{self._instance}>";reg-id=1'  # RFC 5626 4.2.1

    def _finished(self, status: int, response: Response | None, now: float) -> None:
        self.answered = response is not None
        transaction = self._transaction
        assert transaction is not None
        if response is None:
            if self.state is State.REMOVED:
                self._removed(status, REASONS[status])
            else:
                self._fail(status, REASONS[status], now)
        elif self.state is State.REMOVED:
            if status < 300 and transaction.request.expires != 0:
                self._send(now)  # The binding that was being made when we left.
            else:
                self._removed(status, response.phrase)
        elif status < 300:
            self._succeeded(transaction, response, now)
        elif status == 423 and self._lengthen(response):
            self._send(now)
        else:
            retry = (response.headers.get("Retry-After") or "").partition(";")[0].partition("(")[0]
            pause = maybe_number(retry.strip(), _MOST)
            self._fail(status, response.phrase, now, pause)

    def _removed(self, status: int, reason: str) -> None:
        self.status, self.reason, self.expires_at = status, reason, None
        self._context.emit(RegistrationChanged(self))

    def _succeeded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if self._corrects_contact(transaction.request, response):
            self._send(now)
            return
        routes = [NameAddr.parse(value) for value in response.headers.values("Service-Route")]
        self.identity.service_route = tuple(routes)
        granted = self._granted(transaction.request, response)
        if granted == 0:
            self.expires_at = None
            self._fail(response.status, "The registrar bound us for no time", now)
            return
        self.state = State.REGISTERED
        self.status, self.reason = response.status, response.phrase
        self.expires_at = now + granted
        self._failures = 0
        # Early enough for a few lost packets, and not in step with everybody else.
        fraction = self._context.rng.uniform(0.7, 0.85)
        self._context.timers.set(self, "refresh", now + max(granted * fraction, 1.0))
        self._context.emit(RegistrationChanged(self))

    def _corrects_contact(self, request: Request, response: Response) -> bool:
        """Whether the registrar saw us at another address than the one that was bound.

        Once for each registration: a NAT that changes its mind all the time is not chased.
        """
        via = response.via
        port = maybe_number(via.rport or "", 65_535)
        if self._corrected or self.flow.reliable or not via.received or not port:
            return False
        if not self._context.learn_address(self.flow, (via.received, port)):
            return False
        self._corrected = True
        self._bound_before = request.contact.uri if request.contact else None
        return True

    def _granted(self, request: Request, response: Response) -> int:
        """Seconds for which the registrar bound us (RFC 3261 10.2.4).

        Something on the way may have rewritten our Contact so that it cannot be told from those of
        other devices; then the shortest counts, since refreshing too early does no harm.
        """
        times: dict[bool, list[int]] = {True: [], False: []}
        for contact in response.contacts:
            granted = maybe_number(contact.parameter("expires") or "", 2**32 - 1)
            if granted is not None:
                times[self._is_ours(contact, request)].append(min(granted, _MOST))
        if times[True]:
            return min(times[True])
        if response.expires is not None:
            return min(response.expires, _MOST)
        return min([self.expires, *filter(None, times[False])])

    def _is_ours(self, contact: NameAddr, request: Request) -> bool:
        instance = contact.parameter("+sip.instance")
        if instance and self._instance is not None:
            return instance.strip('<>"') == self._instance
        return request.contact is not None and contact.uri.equivalent(request.contact.uri)

    def _lengthen(self, response: Response) -> bool:
        """423 Interval Too Brief: take what the registrar asks for (RFC 3261 10.2.8)."""
        least = maybe_number((response.headers.get("Min-Expires") or "").strip(), _MOST)
        if least is None or least <= self.expires:
            return False
        self.expires = least
        return True

    def _fail(self, status: int, reason: str, now: float, pause: float | None = None) -> None:
        self.state = State.FAILED
        self.status, self.reason = status, reason
        if self.expires_at is not None and self.expires_at <= now:
            self.expires_at = None
        # Trying a refused password again and again locks accounts: that waits for a person.
        if status not in (401, 403, 407):
            if pause is None:
                pause = back_off(self._failures)
            pause *= self._context.rng.uniform(1.0, 1.2)  # Never before Retry-After (20.33).
            self._context.timers.set(self, "refresh", now + pause)
        self._failures += 1
        self._context.emit(RegistrationChanged(self))
