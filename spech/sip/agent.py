"""The user agent: the one front door of the pure SIP stack.

Feed it what arrives (:meth:`UserAgent.receive_message`) and the time
(:meth:`UserAgent.handle_timer`, when :meth:`UserAgent.get_timer` says so), tell it what to do, then
send what :meth:`UserAgent.to_send` returns and act on :meth:`UserAgent.next_event`. Every method is
synchronous; ``now`` is seconds on one monotonic scale. Nothing that arrives raises: it is answered,
dropped or counted.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from spech.allowance import Allowance
from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.shares import Shares, Standing, source_of
from spech.sip.agent_context import AgentContext
from spech.sip.call.replaces import replaced
from spech.sip.call.session import Session
from spech.sip.call.transfer import Referral
from spech.sip.description.offer_answer import Negotiator
from spech.sip.dialog.capabilities import Refusal
from spech.sip.dialog.event import Event
from spech.sip.dialog.identity import Identity
from spech.sip.message.body import opened
from spech.sip.message.headers import NameAddr
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.parser import parse, salvage, validate
from spech.sip.message.uri import Uri
from spech.sip.registration import Registration
from spech.sip.services import Services, invite_refusal
from spech.sip.timeline import Timeline
from spech.sip.transaction.arrival import answer_tag, traced
from spech.sip.transaction.flow import Flow, Outgoing
from spech.sip.transaction.timers import T1
from spech.sip.transaction.transaction import (
    ClientTransaction,
    ServerTransaction,
    Transaction,
)

#: A drain of fewer seconds has no time to wait for a confirmation before it tries other flows.
_SHORT_DRAIN: Final = 4 * T1

#: Looks at a request outside any dialog before we do: the response to give, ``Standing.KNOWN`` to
#: let in a peer that has proved who and where it is, or None to let in any other.
Screen = Callable[[Request, Flow, float], Response | Standing | None]


@dataclass(frozen=True, slots=True)
class ConnectionOffered(Event):
    """The connection of ``flow`` may carry what goes to that host at ``port`` (RFC 5923)."""

    flow: Flow
    port: int | None


@dataclass(frozen=True, slots=True)
class Malformed(Event):
    """Something that is not SIP, or breaks its rules, was dropped."""

    flow: Flow
    cause: str


class UserAgent(AgentContext):
    """All calls and registrations of one endpoint.

    Args:
        rng: randomness for identifiers and back-off; seeded in tests.
        screen: asked about every request outside a dialog but ACK and CANCEL. A registrar serves
            REGISTER by it, a server authenticates by it.
        max_sessions: incoming calls at once, of which one source gets at most half
            (:class:`~spech.shares.Shares`); further INVITEs are answered 503.
        max_memory: bytes that requests in progress may take, shared in the same way.

    More of both is reserved for known peers: see :attr:`is_known_peer`.
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        screen: Screen | None = None,
        max_sessions: int = 2000,
        max_memory: int = 80_000_000,
    ) -> None:
        super().__init__(rng, max_memory)
        #: What happened in the latest calls.
        self.timeline = Timeline()
        self.services = Services(self)
        #: Called when :meth:`Session.farewell_record` of a session may have changed.
        self.on_session_changed: Callable[[Session], None] | None = None
        #: What was dropped, by cause.
        self.dropped: Counter[str] = Counter()
        self._screen = screen
        self._room = Shares(max_sessions)
        self._sessions: dict[tuple[str, str], Session] = {}
        #: The sessions of INVITEs that came, by what two copies of one INVITE have in common.
        self._invited: dict[tuple[str, str | None, int], Session] = {}
        #: The sources of these INVITEs.
        self._callers: dict[Session, str] = {}
        self._closed = False

    # ------------------------------------------------------------------ the four pipes

    def receive_message(self, data: bytes, flow: Flow, now: float) -> None:
        """One datagram, or one whole message of a stream."""
        try:
            message = parse(data)
        except RemoteProtocolError as error:
            self._drop("unreadable", flow, str(error))
            request = salvage(data)
            if request is not None:
                self._refuse(request, flow, error)
            return
        try:
            if isinstance(message, Response):
                validate(message)
                if not self.layer.receive_response(opened(message), now):
                    self.dropped["unneeded response"] += 1
            else:
                self._receive_request(message, flow, len(data), now)
        except RemoteProtocolError as error:
            self._drop("rule broken", flow, str(error))
        # Written down after the fact, but before what it caused: see to_send. A call that it
        # began is known by now.
        self.timeline.received(data, flow, now)

    def handle_timer(self, now: float) -> None:
        """Serve everything that is due at ``now``."""
        while (due := self.timers.pop_due(now)) is not None:
            owner, name = due
            self.note(owner.call_id, f"timer {name} of {owner}")
            owner.handle_timer(name, now)
            if isinstance(owner, ClientTransaction) and name in "BF":
                self.doubt(owner.flow, now)

    def doubt(self, flow: Flow, now: float) -> None:
        """A request over ``flow`` got no answer. Where our registrar is there, it may be dead."""
        for registration in self._registrations:
            registration.doubt(flow, now)

    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` wants to be called next, or None."""
        return self.timers.next_at()

    def to_send(self, now: float) -> list[Outgoing]:
        """The messages to send, in order; each is returned once. Call it after every command."""
        # Emptied in place, because the transactions append to this list.
        queue = self._outbox.copy()
        self._outbox.clear()
        outgoing = []
        for item in queue:
            if isinstance(item, Outgoing):
                self.timeline.sent(item.data, item.flow, now)
                outgoing.append(item)
            else:
                self.timeline.note(item.call_id, item.text, now)
        return outgoing

    def next_event(self) -> Event | None:
        """The next event, or None."""
        return self._events.popleft() if self._events else None

    def send_failed(self, outgoing: Outgoing, now: float) -> None:
        """The system refused to send ``outgoing``.

        A stream is broken then, and everything on it with it; of a datagram it says nothing about
        the next one.
        """
        if outgoing.flow.reliable:
            self.layer.transport_failed(outgoing.flow, now)
        elif isinstance(outgoing.sender, Transaction):
            outgoing.sender.transport_failed(now)

    def transport_failed(self, flow: Flow, now: float) -> None:
        """The transport could not deliver on ``flow`` (RFC 3261 8.1.3.1)."""
        self.layer.transport_failed(flow, now)
        for registration in self._registrations:
            registration.flow_failed(flow, now)

    @property
    def idle(self) -> bool:
        """Whether nothing is left to send, and no peer waits for us."""
        return (
            not any(isinstance(item, Outgoing) for item in self._outbox)
            and self.layer.pending == 0
            and not any(session.pending for session in self._sessions.values())
        )

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The calls that have not ended completely."""
        return tuple(self._sessions.values())

    @property
    def unconfirmed(self) -> list[str]:
        """What the other ends have not confirmed yet, in words: calls, registrations."""
        waiting = [f"call {session.call_id}" for session in self._sessions.values()]
        for registration in self._registrations:
            if registration.pending:
                waiting.append(f"the removal of {registration.identity.uri.address}")
        return waiting or ["a request or its response"]

    # ------------------------------------------------------------------ commands

    def register(
        self,
        identity: Identity,
        registrar: Uri,
        flows: Sequence[Flow],
        now: float,
        *,
        expires: int = 300,
        instance: str | None = None,
    ) -> Registration:
        """Bind ``identity`` to this endpoint, and keep it bound. See :class:`Registration`."""
        registration = Registration(self, identity, registrar, expires, instance)
        self._registrations.append(registration)
        self.timeline.open(registration.call_id)
        registration.register(flows, now)
        return registration

    def invite(
        self,
        identity: Identity,
        target: Uri,
        flows: Sequence[Flow],
        make_negotiator: Callable[[int], Negotiator],
        now: float,
        *,
        referral: Referral | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Session:
        """Call ``target``. ``make_negotiator`` takes a session id (o= line, 63 bits).

        ``headers`` go with the INVITE beside the usual ones. With ``referral`` it is the call that
        the event ``TransferRequested`` asked for: the far end receives progress reports.
        """
        if self._closed:
            raise LocalProtocolError("the user agent is closed")
        session = Session(
            self, identity, self.ids.call_id(), self._forget, self._session_changed, outgoing=True
        )
        self._sessions[session.call_id, session.local_tag] = session
        session.headers = headers
        if referral is not None:
            session.headers = (*headers, *referral.headers)
            session.referral = referral
        self.timeline.open(session.call_id)
        session.invite(make_negotiator, target, flows, now)
        return session

    def close(self, now: float, drain: float = _SHORT_DRAIN) -> None:
        """Give every call its farewell and remove every binding. Idempotent.

        A BYE that is not confirmed soon goes over every flow that is known for its call. ``drain``
        is the number of seconds that the farewells have; where they are few, it does so at once.
        """
        if self._closed:
            return
        self._closed = True
        for session in self.sessions:
            session.hang_up(now)
            session.hurry(now, T1 if drain >= _SHORT_DRAIN else 0.0)
        self.services.close(now)
        for registration in self._registrations:
            registration.remove(now)

    # ------------------------------------------------------------------ sessions

    def _session_changed(self, session: Session) -> None:
        if self.on_session_changed is not None:
            self.on_session_changed(session)

    def _forget(self, session: Session) -> None:
        self._sessions.pop((session.call_id, session.local_tag), None)
        self._stop_talking(session)
        if session.invited_by is not None:
            self._invited.pop(session.invited_by.origin, None)
            caller = self._callers.pop(session, None)
            if caller is not None:
                self._room.give_back(caller)

    # ------------------------------------------------------------------ requests

    def _drop(self, kind: str, flow: Flow, cause: str) -> None:
        self.dropped[kind] += 1
        self.emit(Malformed(flow, cause))

    def _receive_request(self, request: Request, flow: Flow, size: int, now: float) -> None:
        if flow.reliable:
            self._note_alias(request, flow)
        request, flow = traced(request, flow)
        if request.method == "ACK":
            validate(request)
            self._receive_ack(opened(request), flow, now)
            return
        try:
            known = self.layer.match(request)
            if known is None:
                validate(request)
        except RemoteProtocolError as error:
            self._drop("rule broken", flow, str(error))
            self._respond(request, flow, error.status, str(error)[:80])
            return
        if known is not None:
            if known.allowance is not None:
                known.allowance.earn(size)
            if not known.receive_request(request, now):
                self.dropped["unneeded request"] += 1
            return
        session = self._sessions.get((request.call_id, request.to.tag or ""))
        standing = self._standing(request, session, flow)
        transaction = self.layer.serve(opened(request), flow, standing)
        if transaction is None:
            self.dropped["too many transactions"] += 1
            self._respond(request, flow, 503, headers=[self.retry_after()])
            return
        if request.method == "INVITE" and session is None and self._is_forgeable(flow):
            transaction.allowance = Allowance(ipv6=":" in flow.remote[0])
            transaction.allowance.earn(size)
        try:
            self._serve(transaction, session, flow, standing, now)
        except Exception as error:
            # Also where it is our own fault: a request without a final response keeps the other
            # end waiting, and a re-INVITE without one blocks every later change of the call.
            if not transaction.answered:
                status = error.status if isinstance(error, RemoteProtocolError) else 500
                tag = session.local_tag if session else answer_tag(self.ids, request)
                transaction.respond(response_to(request, status, to_tag=tag), now)
            raise
        finally:
            if session is None and self._is_repeatable(transaction):
                transaction.abandon()

    def _standing(self, request: Request, session: Session | None, flow: Flow) -> Standing:
        """Which reserved room a request may use."""
        if session is not None:
            # An unanswered caller is still a stranger, but may hang up.
            admitted = session.outgoing or session.is_up or request.method == "BYE"
        else:
            admitted = request.method == "CANCEL" and bool(self.layer.match(request, "INVITE"))
        return Standing.ADMITTED if admitted else self._standing_of(flow)

    def _standing_of(self, flow: Flow) -> Standing:
        return Standing.KNOWN if self.is_known(flow.remote[0]) else Standing.STRANGER

    def _is_repeatable(self, transaction: ServerTransaction) -> bool:
        """Whether the answer that went out would be given again to the same request.

        Then no state is kept for it, so that a flood of such requests fills nothing
        (RFC 3261 8.2.7).
        """
        request, status = transaction.request, transaction.status
        if status is None or status < 200:
            return False
        if request.to.tag is not None:
            return status == 481
        return status >= 300 or request.method == "OPTIONS"

    def _serve(
        self,
        transaction: ServerTransaction,
        session: Session | None,
        flow: Flow,
        standing: Standing,
        now: float,
    ) -> None:
        request = transaction.request
        if request.method == "CANCEL":
            self._receive_cancel(transaction, now)
        elif session is not None:
            if not self.services.refuse(transaction, now):
                session.receive_request(transaction, now)
        elif request.to.tag is not None:
            self.services.receive_lost(transaction, now)
        else:
            self._receive_outside(transaction, flow, standing, now)

    def _note_alias(self, request: Request, flow: Flow) -> None:
        """RFC 5923: the other end takes requests on this connection, too.

        Over TLS its certificate proves who it is; else it must be where it says.
        """
        via = request.via
        offered = any(name == "alias" for name, _ in via.parameters)
        if offered and (flow.transport == "tls" or via.host == flow.remote[0]):
            self.emit(ConnectionOffered(flow, via.port))

    def _refuse(self, request: Request, flow: Flow, error: RemoteProtocolError) -> None:
        """Answer what could not be read, if it says where to (RFC 3261 18.3)."""
        if request.method == "ACK":
            return
        try:
            request, flow = traced(request, flow)
        except RemoteProtocolError:
            return
        self._respond(request, flow, error.status, str(error)[:80])

    def _respond(
        self,
        request: Request,
        flow: Flow,
        status: int,
        reason: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        # Without state, so that a flood of such requests fills nothing (RFC 3261 8.2.7).
        tag = answer_tag(self.ids, request)
        response = response_to(request, status, reason, to_tag=tag, headers=headers)
        self.send(Outgoing(bytes(response), flow))

    def retry_after(self) -> tuple[str, str]:
        """The header field of a 503: random, so that the refused do not all come back at once."""
        return "Retry-After", str(self.rng.randint(5, 15))

    def _receive_ack(self, request: Request, flow: Flow, now: float) -> None:
        session = self._sessions.get((request.call_id, request.to.tag or ""))
        if request.body and session is not None and not session.source_check.knows(flow):
            # It may be an answer to our offer. Whoever has seen the tags must not send one.
            self.dropped["ACK from elsewhere"] += 1
            return
        transaction = self.layer.match(request)
        if transaction is not None and transaction.receive_request(request, now):
            return
        if session is not None:
            session.receive_ack(request, flow, now)
        else:
            self.dropped["unneeded ACK"] += 1

    def _receive_cancel(self, transaction: ServerTransaction, now: float) -> None:
        request = transaction.request
        target = self.layer.match(request, "INVITE")
        if target is not None and target.flow.remote[0] != transaction.flow.remote[0]:
            target = None  # It does not come from the caller.
        status = 481 if target is None else 200
        session = None if target is None else self._invited.get(target.request.origin)
        tag = session.local_tag if session else answer_tag(self.ids, request)
        transaction.respond(response_to(request, status, to_tag=tag), now)
        if session is not None:
            session.receive_cancel(request, now)

    def _receive_outside(
        self, transaction: ServerTransaction, flow: Flow, standing: Standing, now: float
    ) -> None:
        request = transaction.request
        if self._screen is not None:
            verdict = self._screen(request, flow, now)
            if isinstance(verdict, Response):
                transaction.respond(verdict, now)
                return
            if verdict is Standing.KNOWN:
                standing = verdict
                if transaction.allowance is not None:
                    transaction.allowance.proven = True
        if self.services.refuse(transaction, now):
            return
        if request.method == "INVITE":
            self._receive_invite(transaction, standing, now)
        else:
            self.services.receive_outside(transaction, now)

    def _receive_invite(
        self, transaction: ServerTransaction, standing: Standing, now: float
    ) -> None:
        request = transaction.request
        caller = source_of(transaction.flow.remote[0])
        refusal = self._refusal(transaction)
        if refusal is None and not self._room.take(caller, standing=standing):
            refusal = 503, [self.retry_after()]
        if refusal is not None:
            status, headers = refusal
            # With a To tag, as every final response (RFC 3261 8.2.6.2).
            tag = answer_tag(self.ids, request)
            transaction.respond(response_to(request, status, to_tag=tag, headers=headers), now)
            return
        ours = request.to.uri.bare
        if request.uri.scheme == "sips":
            ours = replace(ours, scheme="sips")  # Our Contact has to be such a one (12.1.1).
        identity = Identity(
            NameAddr(ours),
            request.uri.user or "",
            None,
            self.rng,
        )
        session = Session(
            self, identity, request.call_id, self._forget, self._session_changed, outgoing=False
        )
        try:
            session.replaces = replaced(request, self._sessions.values())
            session.receive_invite(transaction, now)
        except RemoteProtocolError:
            self._room.give_back(caller)
            raise
        self.timeline.open(session.call_id)
        self._callers[session] = caller
        assert session.dialog is not None
        registration = self._registration_at(session.dialog.flow.remote[0])
        if registration is not None:
            # Our server may ask for credentials within this call, too (RFC 3261 22.2, 22.3).
            session.identity = registration.identity.under(identity.address)
        self._sessions[session.call_id, session.local_tag] = session
        self._invited[request.origin] = session

    def _refusal(self, transaction: ServerTransaction) -> Refusal | None:
        """Why an INVITE outside a dialog cannot be taken, or None."""
        request = transaction.request
        if self._closed:
            return 480, []
        if request.origin in self._invited or self.layer.merged(transaction):
            return 482, []  # The same request by another way (RFC 3261 8.2.2.2).
        return invite_refusal(request, transaction.flow, self._sessions.values())
