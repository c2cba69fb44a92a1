"""Keeps a binding at a registrar (RFC 3261 10). Pure: time comes in as ``now``, in seconds."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from spech.addresses import numeric
from spech.sip.dialog.attempts import Attempts
from spech.sip.dialog.backoff import BackOff
from spech.sip.dialog.context import Context
from spech.sip.dialog.event import Event
from spech.sip.dialog.identity import Identity, Tries
from spech.sip.dialog.probe import Probe
from spech.sip.message.grammar import maybe_number
from spech.sip.message.headers import Headers, NameAddr
from spech.sip.message.message import REASONS, Request, Response
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.state import TransactionState
from spech.sip.transaction.transaction import ClientTransaction

#: The longest binding that is believed, in seconds.
_MOST: Final = 86_400
#: Seconds from one refresh to the next at the least, however short the binding is.
_LEAST_REFRESH: Final = 5.0
#: Seconds after which a refresh uses the known flows, if the host was not resolved.
_LOOK_UP_SECONDS: Final = 10.0
#: A binding that lived this long was a good one: the pauses start again with the shortest.
_GOOD_SECONDS: Final = 120.0
#: Seconds of silence after which a registrar that never answered is not waited for: over UDP, it
#: has got three copies of the request.
_SILENT_SECONDS: Final = 2.0
#: What answers a challenge.
_CREDENTIALS: Final = ("Authorization", "Proxy-Authorization")


class RegistrationState(enum.Enum):
    """The state of a registration."""

    REGISTERING = "registering"
    REGISTERED = "registered"
    FAILED = "failed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class RegistrationChanged(Event):
    """A registration succeeded, failed or was removed: look at it."""

    registration: Registration


@dataclass(frozen=True, slots=True)
class RefreshDue(Event):
    """The registrar has a host name: resolve it, then call :meth:`Registration.register`.

    If that does not happen within 10 s, the known flows are used.
    """

    registration: Registration


class Registration(Attempts):
    """One address of record bound to our contact.

    Refreshes itself before it expires, tries again after a failure with the pauses of
    :class:`~spech.sip.dialog.backoff.BackOff`, and is removed by :meth:`remove`. Before the first
    success, a refused user or password is not tried again. Behind a NAT the address that the
    registrar saw is bound in place of ours (RFC 3581), and the Service-Route that it answers is the
    route of later requests (RFC 3608).

    While it is registered, the registrar is asked for OPTIONS every 12 s, so that a dead server is
    noticed within 20 s. One that never answers OPTIONS is not asked again.

    ``instance`` is a URN that names this phone for as long as it exists, ``urn:uuid:…``; with it
    the binding is one of RFC 5626, which a new one from the same phone replaces.

    ``status`` and ``reason`` are those of the last final response, 408 when there was none.
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
        self.state = RegistrationState.REGISTERING
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
        self._begun = 0.0
        self._back_off = BackOff(context.rng)
        #: Whether it was registered before, and since when without a break.
        self._succeeded_once = False
        self._since: float | None = None
        #: Whether the registrar was found not to know outbound (RFC 5626), and asked for a longer
        #: interval (423); each is answered once.
        self._without_outbound = False
        self._lengthened = False
        #: Whether RefreshDue waits to be answered.
        self._looking_up = False
        self._probe = Probe(context, identity.address, registrar, self._receive_silence)

    def __str__(self) -> str:
        return "the registration"

    def __repr__(self) -> str:
        return f"<Registration {self.identity.uri.address} {self.state.value}>"

    def register(self, flows: Sequence[Flow], now: float) -> None:
        """Bind our contact, trying ``flows`` in turn; a server that we are bound at comes first."""
        bound = self.flow if self.state is RegistrationState.REGISTERED else None
        self.flows = sorted(flows, key=lambda flow: flow != bound)
        self._begun = now
        self.identity.trust(flows)
        self._corrected = self._lengthened = self._looking_up = False
        self._probe.stop()
        self._start(now)

    def doubt(self, flow: Flow, now: float) -> None:
        """A request over ``flow`` got no answer: register again, if that leads to our server."""
        if self.state is RegistrationState.REGISTERED and flow == self.flow and not self.pending:
            self.register(self.flows, now)

    def flow_failed(self, flow: Flow, now: float) -> None:
        """The connection of ``flow`` broke: if we are bound by it, we cannot be reached."""
        if self.state is RegistrationState.REGISTERED and flow == self.flow and not self.pending:
            self._lose("The connection broke", now)
            self._context.timers.set(self, "refresh", now + self._back_off.after_silence())
            self._context.emit(RegistrationChanged(self))

    def _receive_silence(self, now: float) -> None:
        """The registrar no longer answers OPTIONS."""
        self._lose("The server does not answer", now)
        self._refresh(now)
        self._context.emit(RegistrationChanged(self))

    def _lose(self, reason: str, now: float) -> None:
        self._note_break(now)
        self._probe.stop()
        self.state = RegistrationState.REGISTERING
        self.status, self.reason = None, reason

    def _note_break(self, now: float) -> None:
        """A binding that lived long enough ends the row of failures."""
        if self._since is not None and now - self._since >= _GOOD_SECONDS:
            self._back_off.reset()
        self._since = None

    def remove(self, now: float) -> None:
        """Take the binding away (RFC 3261 10.2.2). Nothing is sent where none was made.

        A registrar that has been silent for two seconds is not waited for.
        """
        asking = self.pending
        silent = asking and self._is_silent(now)
        self._probe.stop()
        self._context.timers.clear_all(self)
        self.state = RegistrationState.REMOVED
        self._tries = Tries()
        if silent:
            self.abandon()
            self._removed(408, REASONS[408])
        elif asking:
            return  # Its answer says whether there is anything to take away.
        elif self.expires_at is not None:
            self._send(now)
        else:
            self._context.emit(RegistrationChanged(self))

    def _is_silent(self, now: float) -> bool:
        """Whether the registrar has answered nothing yet, not even a challenge, for too long."""
        transaction = self._transaction
        return (
            transaction is not None
            and transaction.state is TransactionState.TRYING
            and not any(transaction.request.headers.get(name) for name in _CREDENTIALS)
            and not (self.answered or self._succeeded_once)
            and now - self._begun >= _SILENT_SECONDS
        )

    def handle_timer(self, name: str, now: float) -> None:
        """Serve the "refresh" timer."""
        if name == "refresh" and self.state is not RegistrationState.REMOVED:
            self._refresh(now)

    def _refresh(self, now: float) -> None:
        """Register again, at the addresses that the registrar's name has now (RFC 3263 4)."""
        hop = self.identity.route.uri if self.identity.route else self.registrar
        named = numeric(hop.parameter("maddr") or hop.host) is None
        if named and not self._looking_up:
            self._looking_up = True
            self._context.timers.set(self, "refresh", now + _LOOK_UP_SECONDS)
            self._context.emit(RefreshDue(self))
        else:
            self.register(self.flows, now)

    def _flows(self) -> list[Flow]:
        return self.flows

    def _build(self, flow: Flow, *, failover: bool) -> Request:
        expires = 0 if self.state is RegistrationState.REMOVED else self.expires
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
                ("Supported", "path, outbound" if self._with_outbound else "path"),
                *self._context.standard_headers(),
            ]
        )
        return Request("REGISTER", self.registrar, headers)

    def _contact(self, flow: Flow) -> str:
        contact = self._context.contact(flow, self.identity.uri)
        if not self._with_outbound:
            return contact
        return f'{contact};+sip.instance="<{self._instance}>";reg-id=1'  # RFC 5626 4.2.1

    @property
    def _with_outbound(self) -> bool:
        return self._instance is not None and not self._without_outbound

    def _finished(self, status: int, response: Response | None, now: float) -> None:
        self.answered = response is not None
        transaction = self._transaction
        assert transaction is not None
        if response is None or status >= 300:
            self._note_break(now)
        if response is None:
            if self.state is RegistrationState.REMOVED:
                self._removed(status, REASONS[status])
            else:
                self._fail(status, REASONS[status], now, self._back_off.after_silence())
        elif self.state is RegistrationState.REMOVED:
            if status < 300 and transaction.request.expires != 0:
                self._send(now)  # The binding that was being made when we left.
            else:
                self._removed(status, response.phrase)
        elif status < 300:
            self._succeeded(transaction, response, now)
        elif status == 423 and self._lengthen(response):
            self._send(now)
        elif status == 439 and self._with_outbound:
            # First Hop Lacks Outbound Support (RFC 5626 4.2.1): a plain binding then, for good.
            self._without_outbound = True
            self._send(now)
        elif status == 408:
            self._fail(status, response.phrase, now, self._back_off.after_silence())
        else:
            self._refused(status, response, now)

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
            reason = "The registrar granted 0 seconds"
            self._note_break(now)
            self._fail(response.status, reason, now, self._back_off.after_refusal())
            return
        self.state = RegistrationState.REGISTERED
        self._succeeded_once = True
        self._since = now if self._since is None else self._since
        self.status, self.reason = response.status, response.phrase
        self.expires_at = now + granted
        # Early enough for a few lost packets, and not in step with other clients.
        fraction = self._context.rng.uniform(0.7, 0.85)
        refresh = max(granted * fraction, _LEAST_REFRESH)
        self._context.timers.set(self, "refresh", now + refresh)
        self._probe.start(self.flow, now)
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
        if self._lengthened or least is None or least <= self.expires:
            return False
        self._lengthened = True
        self.expires = least
        return True

    def _refused(self, status: int, response: Response, now: float) -> None:
        pause: float | None = self._back_off.after_refusal(response.retry_after)
        # Trying a password again that was never right locks accounts: that waits for a person.
        if status in (401, 403, 407) and not self._succeeded_once:
            pause = None
        self._fail(status, response.phrase, now, pause)

    def _fail(self, status: int, reason: str, now: float, pause: float | None) -> None:
        self.state = RegistrationState.FAILED
        self.status, self.reason = status, reason
        if self.expires_at is not None and self.expires_at <= now:
            self.expires_at = None
        self._context.timers.clear(self, "refresh")
        if pause is not None:
            self._context.timers.set(self, "refresh", now + pause)
        self._context.emit(RegistrationChanged(self))
