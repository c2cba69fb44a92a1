"""The INVITE session: a call, from the first INVITE to the farewell (RFC 3261 13-15).

However a call ends, the far end is told in the way that its state asks for. :data:`FAREWELL` is
that rule, and :meth:`Session.hang_up` the only place that applies it. Pure: time comes in as
``now`` in seconds, bytes leave through the context.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.sip.dialog import Dialog
from spech.sip.events import (
    Answered,
    CallEnded,
    DigitReceived,
    EarlyMedia,
    Event,
    IncomingCall,
    MediaChanged,
    Ringing,
)
from spech.sip.flow import Flow, Outgoing
from spech.sip.headers import Headers
from spech.sip.identity import Identity
from spech.sip.ids import Identifiers
from spech.sip.layer import TransactionLayer
from spech.sip.message import REASONS, Request, Response, response_to
from spech.sip.offer_answer import Agreed, Negotiator
from spech.sip.timers import PATIENCE, T1, T2, TimerSet
from spech.sip.transaction import ClientTransaction, ServerTransaction
from spech.sip.uri import Uri

SDP: Final = "application/sdp"
#: How often credentials are tried for one request: once per server on the way, and a stale nonce.
_MOST_TRIES: Final = 4


class State(enum.Enum):
    """Where a session is."""

    CALLING = "we called, nothing heard yet"
    RINGING = "we called, a provisional response came"
    CANCELLING = "we cancelled, the final response is still to come"
    INCOMING = "they called, not yet answered"
    ANSWERED = "we answered, no ACK yet"
    CONFIRMED = "confirmed"
    CLOSING = "BYE sent"
    ENDED = "ended"


class Farewell(enum.Enum):
    """How a session is left."""

    CANCEL_LATER = "wait for a provisional response, then CANCEL"  # RFC 3261 9.1
    CANCEL = "CANCEL"
    DECLINE = "a final failure response"
    BYE_LATER = "wait for the ACK or 64*T1, then BYE"  # RFC 3261 15
    BYE = "BYE"
    NOTHING = "nothing: it has been said"


#: The farewell in each state. A 2xx that crosses our CANCEL, or comes from a further fork, is
#: acknowledged and then ended with BYE: see :meth:`Session._accepted`.
FAREWELL: Final[dict[State, Farewell]] = {
    State.CALLING: Farewell.CANCEL_LATER,
    State.RINGING: Farewell.CANCEL,
    State.CANCELLING: Farewell.NOTHING,
    State.INCOMING: Farewell.DECLINE,
    State.ANSWERED: Farewell.BYE_LATER,
    State.CONFIRMED: Farewell.BYE,
    State.CLOSING: Farewell.NOTHING,
    State.ENDED: Farewell.NOTHING,
}


class Context(Protocol):
    """What a session needs of its user agent."""

    rng: random.Random
    ids: Identifiers
    timers: TimerSet
    layer: TransactionLayer

    def via(self, flow: Flow) -> str: ...
    def contact(self, flow: Flow, user: str | None) -> str: ...
    def standard_headers(self) -> list[tuple[str, str]]: ...
    def emit(self, event: Event) -> None: ...
    def send(self, outgoing: Outgoing) -> None: ...
    def forget(self, session: Session) -> None: ...


@dataclass(slots=True)
class Fork:
    """One answerer of our INVITE: an object of its own for every early dialog."""

    dialog: Dialog
    agreed: Agreed | None = None
    #: Bytes of the ACK for each INVITE's CSeq, sent again for each retransmitted 2xx.
    acks: dict[int, Outgoing] = field(default_factory=dict)


@dataclass(slots=True)
class _Acceptance:
    """A 2xx of ours that waits for its ACK."""

    response: Outgoing
    sequence: int
    deadline: float
    interval: float
    offered: bool


class Session:
    """One call.

    The program's handle: commands are methods of :class:`~spech.sip.agent.UserAgent`, what happens
    comes back as events that name this object.
    """

    def __init__(
        self,
        context: Context,
        *,
        outgoing: bool,
        identity: Identity,
        negotiator: Negotiator | None,
        call_id: str,
        local_tag: str,
    ) -> None:
        self.outgoing = outgoing
        self.identity = identity
        self.call_id = call_id
        self.local_tag = local_tag
        self.state = State.CALLING if outgoing else State.INCOMING
        #: The confirmed dialog, or None while there is none.
        self.dialog: Dialog | None = None
        #: The INVITE that came, for an incoming call.
        self.invitation: Request | None = None
        #: Who ended it, status and reason, once it is over.
        self.ended: CallEnded | None = None
        self._context = context
        self._negotiator = negotiator
        self._forks: dict[str, Fork] = {}
        self._invite: ClientTransaction | None = None
        self._targets: list[Flow] = []
        self._target: Uri | None = None
        self._sequence = 0
        self._tries = 0
        self._incoming: ServerTransaction | None = None
        self._acceptance: _Acceptance | None = None
        self._farewell_owed = False
        self._reinvite: ClientTransaction | None = None
        self._changing = False

    def __repr__(self) -> str:
        return f"<Session {self.call_id} {self.state.name}>"

    @property
    def pending(self) -> bool:
        """Whether a farewell is still on its way."""
        return self.state in (State.CANCELLING, State.CLOSING) or self._farewell_owed

    # ------------------------------------------------------------------ calling

    def invite(self, target: Uri, flows: Sequence[Flow], now: float) -> None:
        """Call ``target``, trying ``flows`` in turn."""
        self._target = target
        self._targets = list(flows)
        self._sequence = self._context.ids.sequence()
        self._send_invite(now)

    def _send_invite(self, now: float) -> None:
        assert self._target is not None
        assert self._negotiator is not None
        flow = self._targets[0]
        body = self._invite.request.body if self._invite else self._negotiator.offer()
        address = self.identity.address.with_tag(self.local_tag)
        headers = Headers(
            [
                ("Via", self._context.via(flow)),
                ("Max-Forwards", "70"),
                ("From", str(address)),
                ("To", f"<{self._target}>"),
                ("Call-ID", self.call_id),
                ("CSeq", f"{self._sequence} INVITE"),
                ("Contact", self._context.contact(flow, self.identity.uri.user)),
                *self._context.standard_headers(),
                ("Content-Type", SDP),
            ]
        )
        request = self.identity.sign(Request("INVITE", self._target, headers, body))
        self._sequence += 1
        self._invite = self._context.layer.request(request, flow, self, now)

    # ------------------------------------------------------------------ being called

    def receive_invite(self, transaction: ServerTransaction, now: float) -> None:
        """An INVITE outside any dialog: say 100 and tell the program."""
        request = transaction.request
        self.invitation = request
        self._incoming = transaction
        transaction.acknowledged = self._acknowledged
        self.dialog = Dialog.from_request(request, self.local_tag, transaction.flow)
        transaction.respond(response_to(request, 100), now)
        self._context.emit(IncomingCall(self))

    def ring(self, now: float) -> None:
        """Send 180 Ringing."""
        self._require(State.INCOMING, "ring")
        assert self._incoming is not None
        self._incoming.respond(self._respond(self._incoming.request, 180), now)

    def answer(self, negotiator: Negotiator, now: float) -> None:
        """Answer the call with 200.

        Raises:
            LocalProtocolError: it was answered or has ended.
            RemoteProtocolError: their offer has nothing in common with ours; the call has been
                refused with 488.
        """
        self._require(State.INCOMING, "answer")
        assert self._incoming is not None
        self._negotiator = negotiator
        request = self._incoming.request
        agreed: Agreed | None = None
        try:
            if request.body:
                body, agreed = negotiator.receive_offer(request.body)
            else:
                body = negotiator.offer()
        except RemoteProtocolError as error:
            self.hang_up(now, error.status, "Not Acceptable Here")
            raise
        self.state = State.ANSWERED
        self._accept(self._incoming, body, now, offered=agreed is None)
        self._context.emit(Answered(self, agreed))

    def _accept(
        self, transaction: ServerTransaction, body: bytes, now: float, *, offered: bool = False
    ) -> None:
        """Send a 2xx and repeat it until its ACK comes (RFC 3261 13.3.1.4)."""
        response = self._respond(transaction.request, 200, body=body)
        transaction.respond(response, now)
        self._acceptance = _Acceptance(
            Outgoing(bytes(response), transaction.flow),
            transaction.request.cseq.number,
            deadline=now + PATIENCE,
            interval=T1,
            offered=offered,
        )
        self._context.timers.set(self, "2xx", now + T1)

    def _respond(self, request: Request, status: int, *, body: bytes = b"") -> Response:
        assert self.dialog is not None
        headers = self._context.standard_headers()
        if 101 <= status < 300:
            contact = self._context.contact(self.dialog.flow, self.identity.uri.user)
            headers = [("Contact", contact), *headers]
        return response_to(
            request,
            status,
            to_tag=self.local_tag,
            headers=headers,
            body=body,
            content_type=SDP if body else None,
        )

    def _acknowledged(self, request: Request, now: float) -> None:
        acceptance = self._acceptance
        if acceptance is None or request.cseq.number != acceptance.sequence:
            return
        self._acceptance = None
        self._context.timers.clear(self, "2xx")
        if self.state is State.ANSWERED:
            self.state = State.CONFIRMED
        if self._farewell_owed:
            self._bye(now)
            return
        if acceptance.offered:
            assert self._negotiator is not None
            try:
                agreed = self._negotiator.receive_answer(request.body)
            except RemoteProtocolError as error:
                self.hang_up(now, error.status, "Not Acceptable Here")
                return
            self._context.emit(MediaChanged(self, agreed))

    # ------------------------------------------------------------------ the farewell

    def hang_up(self, now: float, status: int | None = None, reason: str | None = None) -> None:
        """Leave the call, whatever its state. Calling it again does nothing.

        ``status`` is what an incoming call that was not answered is declined with: 480 unless
        told otherwise.
        """
        farewell = FAREWELL[self.state]
        if self._farewell_owed or farewell is Farewell.NOTHING:
            return
        if farewell is Farewell.CANCEL_LATER:
            self._farewell_owed = True
        elif farewell is Farewell.CANCEL:
            self._cancel(now)
        elif farewell is Farewell.DECLINE:
            assert self._incoming is not None
            status = status or 480
            self._incoming.respond(self._respond(self._incoming.request, status), now)
            self.state = State.ENDED
        elif farewell is Farewell.BYE_LATER:
            self._farewell_owed = True
        else:
            self._bye(now)
        if status is None:
            status = 200 if farewell in (Farewell.BYE, Farewell.BYE_LATER) else 487
        self._over("local", status, reason or REASONS.get(status, ""))

    def _cancel(self, now: float) -> None:
        assert self._invite is not None
        self._farewell_owed = False
        self.state = State.CANCELLING
        self._context.layer.request(self._invite.cancel(), self._invite.flow, self, now)
        # RFC 3261 9.1: without a final response within 64*T1 the call is considered cancelled.
        self._context.timers.set(self, "cancel", now + PATIENCE)

    def _bye(self, now: float) -> None:
        assert self.dialog is not None
        self._farewell_owed = False
        self._tries = 0
        self.state = State.CLOSING
        self._stop_accepting()
        self._send_in_dialog(self.dialog, "BYE", now)

    def _send_in_dialog(
        self,
        dialog: Dialog,
        method: str,
        now: float,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> ClientTransaction:
        request = dialog.request(method, self._context.via(dialog.flow), headers=headers, body=body)
        request = self.identity.sign(request)
        return self._context.layer.request(request, dialog.flow, self, now)

    def _stop_accepting(self) -> None:
        self._acceptance = None
        self._context.timers.clear(self, "2xx")

    def _over(self, by: str, status: int, reason: str) -> None:
        """Tell the program, once."""
        if self.ended is None:
            self.ended = CallEnded(self, by, status, reason)
            self._context.emit(self.ended)
        self._context.timers.clear(self, "glare")
        if self.state is State.ENDED and not self._farewell_owed:
            self._context.timers.clear_all(self)
            self._context.forget(self)

    def _finish(self, by: str, status: int, reason: str) -> None:
        self._farewell_owed = False
        self.state = State.ENDED
        self._over(by, status, reason)

    # ------------------------------------------------------------------ responses

    def receive_response(
        self, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        """A response to any request of this session."""
        method = transaction.request.method
        if method == "INVITE":
            if transaction is self._invite:
                self._invite_response(transaction, response, now)
            else:
                self._reinvite_response(transaction, response, now)
        elif method == "BYE" and response.status >= 200:
            if response.status in (401, 407) and self._again(transaction, response, now):
                return
            self._bye_done(transaction)

    def receive_failure(self, transaction: ClientTransaction, status: int, now: float) -> None:
        """A request of this session got no answer."""
        method = transaction.request.method
        if method == "BYE":
            self._bye_done(transaction)
        elif transaction is self._invite:
            self._unanswered(status, now)
        elif transaction is self._reinvite:
            self._reinvite = None
            # RFC 3261 14.1: no answer to a re-INVITE is as good as a dead peer.
            self.hang_up(now)

    def _bye_done(self, transaction: ClientTransaction) -> None:
        if self.dialog is not None and transaction.request.to.tag == self.dialog.remote.tag:
            self._finish("local", 200, "OK")

    def _invite_response(
        self, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        if 200 <= response.status < 300:
            self._accepted(transaction, response, now)
        elif response.status < 200:
            self._provisional(transaction, response, now)
        elif self.state is State.CANCELLING:
            self._finish("local", 487, "Request Terminated")
        elif self.state in (State.CALLING, State.RINGING):
            self._refused(transaction, response, now)

    def _provisional(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if self.state not in (State.CALLING, State.RINGING):
            return
        self.state = State.RINGING
        if self._farewell_owed:
            self._cancel(now)
            return
        if response.status == 100:
            return
        agreed: Agreed | None = None
        if response.to.tag is not None:
            fork = self._fork(transaction, response)
            if response.body and self._negotiator is not None:
                try:
                    agreed = self._negotiator.receive_answer(response.body)
                except RemoteProtocolError:
                    agreed = None  # No early media then; the final answer decides.
                fork.agreed = agreed
        if agreed is not None:
            self._context.emit(EarlyMedia(self, response.status, agreed))
        else:
            self._context.emit(Ringing(self, response.status, response.reason))

    def _fork(self, transaction: ClientTransaction, response: Response) -> Fork:
        tag = response.to.tag or ""
        fork = self._forks.get(tag)
        if fork is None:
            dialog = Dialog.from_response(transaction.request, response, transaction.flow)
            fork = self._forks[tag] = Fork(dialog)
        return fork

    def _accepted(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        fork = self._forks.get(response.to.tag or "")
        sequence = transaction.request.cseq.number
        if fork is not None and sequence in fork.acks:
            self._context.send(fork.acks[sequence])  # A repeated 2xx wants its ACK again.
            return
        if fork is None or self.dialog is None:
            # The dialog is built from the 2xx, which may differ from what an early one said.
            self._forks.pop(response.to.tag or "", None)
        agreed = fork.agreed if fork else None
        fork = self._fork(transaction, response)
        self._acknowledge(fork, transaction, now)
        if self.dialog is not None or self.state not in (State.CALLING, State.RINGING):
            # Another fork answered as well, or our CANCEL came too late: both are told goodbye.
            if self.dialog is None:
                self.dialog = fork.dialog
                self._context.timers.clear(self, "cancel")
                self._bye(now)
            else:
                self._send_in_dialog(fork.dialog, "BYE", now)
            return
        self.dialog = fork.dialog
        self.state = State.CONFIRMED
        if self._farewell_owed:
            self._bye(now)
            return
        assert self._negotiator is not None
        try:
            if response.body or agreed is None:
                agreed = self._negotiator.receive_answer(response.body)
        except RemoteProtocolError as error:
            self.hang_up(now, error.status, str(error))
            return
        self._context.emit(Answered(self, agreed))

    def _acknowledge(self, fork: Fork, transaction: ClientTransaction, now: float) -> None:
        """ACK for a 2xx: a request of its own in the dialog (RFC 3261 13.2.2.4)."""
        number = transaction.request.cseq.number
        credentials = [
            (name, value)
            for name, value in transaction.request.headers
            if name in ("Authorization", "Proxy-Authorization")
        ]
        ack = fork.dialog.request(
            "ACK", self._context.via(fork.dialog.flow), sequence=number, headers=credentials
        )
        fork.acks = {number: Outgoing(bytes(ack), fork.dialog.flow)}
        self._context.send(fork.acks[number])

    def _refused(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if self._farewell_owed:
            self._finish("local", 487, "Request Terminated")
            return
        if response.status in (401, 407):
            self._tries += 1
            if self._tries < _MOST_TRIES and self.identity.accept_challenge(
                transaction.request, response
            ):
                self.state = State.CALLING
                self._forks.clear()
                self._send_invite(now)
                return
        if response.status == 503 and len(self._targets) > 1:
            self._next_target(now)
            return
        self._finish("remote", response.status, response.reason)

    def _next_target(self, now: float) -> None:
        """Failover: a new transaction towards the next server (RFC 3263 4.3)."""
        self._targets.pop(0)
        self._forks.clear()
        self.state = State.CALLING
        self._send_invite(now)

    def _unanswered(self, status: int, now: float) -> None:
        if self._farewell_owed or self.state is State.CANCELLING:
            self._finish("local", 487, "Request Terminated")
        elif len(self._targets) > 1 and self.state is State.CALLING:
            self._next_target(now)
        else:
            reason = "Request Timeout" if status == 408 else "Service Unavailable"
            self._finish("remote", status, reason)

    def _again(self, transaction: ClientTransaction, response: Response, now: float) -> bool:
        """Repeat an in-dialog request with credentials. False when that cannot help."""
        self._tries += 1
        request = transaction.request
        if (
            self.dialog is None
            or self._tries >= _MOST_TRIES
            or not self.identity.accept_challenge(request, response)
        ):
            return False
        kept = [
            (name, value)
            for name, value in request.headers
            if name in ("Contact", "Content-Type", "Allow", "Supported", "User-Agent")
        ]
        again = self._send_in_dialog(self.dialog, request.method, now, kept, request.body)
        if request.method == "INVITE":
            self._reinvite = again
        return True

    # ------------------------------------------------------------------ changing the media

    def change_direction(self, direction: str, now: float) -> None:
        """Hold ("sendonly") or resume ("sendrecv") with a re-INVITE.

        Raises:
            LocalProtocolError: the call is not up.
        """
        self._require(State.CONFIRMED, "change")
        assert self._negotiator is not None
        self._negotiator.direction = direction
        self._tries = 0
        if self._reinvite is not None:
            self._changing = True  # One at a time (RFC 3261 14.1): the last wish follows.
            return
        self._send_reinvite(now)

    def _send_reinvite(self, now: float) -> None:
        assert self.dialog is not None
        assert self._negotiator is not None
        self._changing = False
        headers = [
            ("Contact", self._context.contact(self.dialog.flow, self.identity.uri.user)),
            *self._context.standard_headers(),
            ("Content-Type", SDP),
        ]
        self._reinvite = self._send_in_dialog(
            self.dialog, "INVITE", now, headers, self._negotiator.offer()
        )

    def _reinvite_response(
        self, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        assert self.dialog is not None
        if response.status < 200:
            return
        if response.status >= 300:
            self._reinvite_refused(transaction, response, now)
            return
        fork = self._forks.setdefault(self.dialog.remote.tag or "", Fork(self.dialog))
        sequence = transaction.request.cseq.number
        if sequence in fork.acks:
            self._context.send(fork.acks[sequence])
            return
        self._acknowledge(fork, transaction, now)
        self._reinvite = None
        if self.state is not State.CONFIRMED:
            return
        self.dialog.refresh_target(response)
        assert self._negotiator is not None
        try:
            agreed = self._negotiator.receive_answer(response.body)
        except RemoteProtocolError as error:
            self.hang_up(now, error.status, str(error))
            return
        self._context.emit(MediaChanged(self, agreed))
        if self._changing:
            self._send_reinvite(now)

    def _reinvite_refused(
        self, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        if transaction is not self._reinvite or self.state is not State.CONFIRMED:
            return
        if response.status in (401, 407) and self._again(transaction, response, now):
            return
        self._reinvite = None
        if response.status == 491:
            # RFC 3261 14.1: who made the Call-ID waits 2.1 to 4 s, the other 0 to 2 s.
            low, high = (2.1, 4.0) if self.outgoing else (0.0, 2.0)
            self._context.timers.set(self, "glare", now + self._context.rng.uniform(low, high))
        elif response.status in (408, 481):
            self.hang_up(now)  # RFC 3261 12.2.1.2: the dialog is gone at the other end.
        # Any other refusal leaves the session as it was (14.1).

    # ------------------------------------------------------------------ requests in the dialog

    def receive_request(self, transaction: ServerTransaction, now: float) -> None:
        """A request within this session's dialog, ACK and CANCEL excepted."""
        request = transaction.request
        if self.dialog is None or request.from_.tag != self.dialog.remote.tag:
            transaction.respond(response_to(request, 481, to_tag=self.local_tag), now)
            return
        try:
            self.dialog.receive_request(request)
        except RemoteProtocolError as error:
            transaction.respond(response_to(request, error.status, to_tag=self.local_tag), now)
            return
        if request.method == "BYE":
            self._receive_bye(transaction, now)
        elif request.method == "INVITE":
            self._receive_reinvite(transaction, now)
        elif request.method == "INFO":
            transaction.respond(response_to(request, 200, to_tag=self.local_tag), now)
            digit = _dtmf_relay(request)
            if digit is not None and self.state is State.CONFIRMED:
                self._context.emit(DigitReceived(self, digit))
        else:
            headers = self._context.standard_headers()
            status = 200 if request.method == "OPTIONS" else 405
            response = response_to(request, status, to_tag=self.local_tag, headers=headers)
            transaction.respond(response, now)

    def _receive_bye(self, transaction: ServerTransaction, now: float) -> None:
        transaction.respond(response_to(transaction.request, 200, to_tag=self.local_tag), now)
        if self._incoming is not None and not self._incoming.answered:
            # RFC 3261 15.1.2: requests that still wait are answered 487.
            self._incoming.respond(self._respond(self._incoming.request, 487), now)
        self._stop_accepting()
        if self.state is not State.CLOSING:
            self._finish("remote", 200, "OK")

    def _receive_reinvite(self, transaction: ServerTransaction, now: float) -> None:
        request = transaction.request
        if self._reinvite is not None:
            transaction.respond(self._respond(request, 491), now)
            return
        if self.state is not State.CONFIRMED or self._negotiator is None:
            # RFC 3261 14.2: one at a time; they may try again.
            retry = ("Retry-After", str(self._context.rng.randrange(1, 10)))
            response = response_to(request, 500, to_tag=self.local_tag, headers=[retry])
            transaction.respond(response, now)
            return
        agreed: Agreed | None = None
        try:
            if request.body:
                body, agreed = self._negotiator.receive_offer(request.body)
            else:
                body = self._negotiator.offer()
        except RemoteProtocolError as error:
            transaction.respond(self._respond(request, error.status), now)
            return
        transaction.acknowledged = self._acknowledged
        self._accept(transaction, body, now, offered=agreed is None)
        if agreed is not None:
            self._context.emit(MediaChanged(self, agreed))

    def receive_ack(self, request: Request, now: float) -> None:
        """The ACK for a 2xx of ours."""
        self._acknowledged(request, now)

    def receive_cancel(self, now: float) -> None:
        """Their CANCEL matched the INVITE; the CANCEL itself has been answered."""
        if self.state is State.INCOMING:
            assert self._incoming is not None
            self._incoming.respond(self._respond(self._incoming.request, 487), now)
            self._finish("remote", 487, "Request Terminated")

    # ------------------------------------------------------------------ timers

    def handle_timer(self, name: str, now: float) -> None:
        """Serve the session's own timers: "2xx", "cancel" and "glare"."""
        if name == "2xx":
            self._repeat_acceptance(now)
        elif name == "cancel":
            if self._invite is not None:
                self._invite.abandon()
            self._finish("local", 487, "Request Terminated")
        elif name == "glare" and self.state is State.CONFIRMED and self._reinvite is None:
            self._send_reinvite(now)

    def _repeat_acceptance(self, now: float) -> None:
        acceptance = self._acceptance
        if acceptance is None:
            return
        if now >= acceptance.deadline:
            # RFC 3261 13.3.1.4: no ACK for 64*T1, so the session is ended with BYE.
            self.state = State.CONFIRMED
            self._bye(now)
            self._over("local", 408, "No ACK")
            return
        self._context.send(acceptance.response)
        acceptance.interval = min(acceptance.interval * 2, T2)
        self._context.timers.set(self, "2xx", min(now + acceptance.interval, acceptance.deadline))

    def _require(self, state: State, what: str) -> None:
        if self.state is not state:
            raise LocalProtocolError(f"cannot {what}: the call is {self.state.name.lower()}")


def _dtmf_relay(request: Request) -> str | None:
    """The digit of an ``application/dtmf-relay`` or ``application/dtmf`` body."""
    kind = (request.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    text = request.body.decode("ascii", "replace")
    if kind == "application/dtmf-relay":
        for line in text.splitlines():
            name, _, value = line.partition("=")
            if name.strip().lower() == "signal":
                text = value
                break
        else:
            return None
    elif kind != "application/dtmf":
        return None
    digit = text.strip().upper()
    return digit if len(digit) == 1 and digit in "0123456789*#ABCD" else None
