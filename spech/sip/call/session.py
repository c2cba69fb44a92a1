"""The INVITE session: a call, from the first INVITE to the farewell (RFC 3261 13-15).

How it ends is in :mod:`~spech.sip.call.ending`. The parts of a session are modules of their own:
our INVITE in :mod:`~spech.sip.call.invitation`, our answers to theirs in
:mod:`~spech.sip.call.responder`, changes of the media in :mod:`~spech.sip.call.renegotiation`.

Pure: time comes in as ``now`` in seconds, bytes leave through the context.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final

from spech.addresses import Address
from spech.agreement import Agreed, Direction
from spech.allowance import Allowance
from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.sip.call.ending import EndingLeg
from spech.sip.call.events import (
    Answered,
    Confirmed,
    DigitReceived,
    EarlyMedia,
    Redirected,
    Ringing,
)
from spech.sip.call.fork import Fork
from spech.sip.call.info import DigitRequests, dtmf_digit
from spech.sip.call.invitation import Invitation
from spech.sip.call.renegotiation import Renegotiation, busy
from spech.sip.call.responder import Responder
from spech.sip.call.states import SessionState
from spech.sip.call.transfer import Transfer
from spech.sip.description.offer_answer import Negotiator
from spech.sip.dialog.caller import Caller, caller_of
from spech.sip.dialog.capabilities import ALLOW, SUPPORTED
from spech.sip.dialog.context import Context
from spech.sip.dialog.dialog import Dialog
from spech.sip.dialog.event import Event
from spech.sip.dialog.general import receive_instant_message, receive_options
from spech.sip.dialog.identity import Identity
from spech.sip.dialog.requests import DialogRequest
from spech.sip.message.message import REASONS, Request, Response, response_to
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.transaction import ServerTransaction

#: Seconds until an unanswered call is given up, and between two 180s.
_UNANSWERED: Final = 180
_RING_AGAIN: Final = 60.0
#: Seconds that the program has to respond before we send 100 (17.2.1).
_TRYING: Final = 0.2
#: Seconds after a provisional response within which another one is due. They come each minute
#: (RFC 3261 13.3.1.1); proxies wait for more than three (16.6, timer C).
_SILENT: Final = 185.0


@dataclass(frozen=True, slots=True)
class InviteReceived(Event):
    """An INVITE outside a dialog came. Nothing has been answered yet."""

    session: Session


class Session(EndingLeg):
    """One call: the program's handle.

    Its commands are :meth:`ring`, :meth:`answer`, :meth:`redirect`, :meth:`hold`, :meth:`resume`,
    :meth:`move`, :meth:`transfer` and :meth:`hang_up`. What happens comes back as events that name
    this object. ``make_negotiator`` makes the negotiator of a call from the session id of
    our ``o=`` line (63 bits, RFC 8866 5.2).
    """

    def __init__(
        self,
        context: Context,
        identity: Identity,
        call_id: str,
        forget: Callable[[Session], None],
        changed: Callable[[Session], None],
        *,
        outgoing: bool,
    ) -> None:
        super().__init__(
            context,
            identity,
            call_id,
            partial(forget, self),
            partial(changed, self),
            outgoing=outgoing,
        )
        #: The call whose place this one takes when it is answered (RFC 3891).
        self.replaces: Session | None = None
        #: Our answer to their offer, and what was agreed on, where sound flows before the answer.
        self._early: tuple[bytes, Agreed] | None = None
        #: The digits that we send in INFO requests.
        self.digits = DigitRequests(self)

    # ------------------------------------------------------------------ calling

    def invite(
        self,
        make_negotiator: Callable[[int], Negotiator],
        target: Uri,
        flows: Sequence[Flow],
        now: float,
    ) -> None:
        """Call ``target``, trying ``flows`` in turn."""
        self._negotiator = make_negotiator(self._session_id())
        self._invitation = Invitation(self, self._negotiator, target, flows)
        self._invitation.send(now)

    def _session_id(self) -> int:
        return self.context.rng.getrandbits(62)  # A number that every parser takes.

    @property
    def confidential(self) -> bool:
        """Whether our INVITE holds keys that only encrypted signalling may carry."""
        return self._negotiator is not None and self._negotiator.confidential

    def redirect(self, target: Uri, flows: Sequence[Flow], now: float) -> None:
        """Follow a redirection that was reported with ``Redirected``."""
        if self.state is SessionState.REDIRECTED and self._invitation is not None:
            self._invitation.redirect(target, flows, now)

    def invite_headers(self, *, in_dialog: bool = False) -> list[tuple[str, str]]:
        """The headers of INVITE and UPDATE that say what we can do."""
        return [
            *self.context.standard_headers(),
            ("Supported", ", ".join(one for one in SUPPORTED if not in_dialog or one != "100rel")),
            *self.timer.proposal(),
        ]

    @property
    def still_calling(self) -> bool:
        """Whether our INVITE may be tried again: it is not answered, and we have not hung up."""
        return (
            self.state in (SessionState.CALLING, SessionState.RINGING) and not self._farewell_owed
        )

    def start_over(self) -> None:
        """Our INVITE is sent again, and has had no response yet."""
        self.state = SessionState.CALLING

    def heard_from(self, now: float) -> bool:
        """A provisional response came. False when we are ending the call."""
        if self.state not in (SessionState.CALLING, SessionState.RINGING):
            return False
        self.state = SessionState.RINGING
        self.context.timers.set(self, "silent", now + _SILENT)
        if self._farewell_owed:
            self._cancel(now)
            return False
        return True

    def progressed(self, response: Response, agreed: Agreed | None, now: float) -> None:
        """A provisional response said more than 100."""
        self._tell_referrer(response.status, response.phrase, now)
        if agreed is not None:
            self.context.emit(EarlyMedia(self, response.status, response.reason, agreed))
        else:
            self.context.emit(Ringing(self, response.status, response.phrase))

    def redirected(self, targets: tuple[Uri, ...]) -> None:
        """A 3xx: the program resolves the names and calls :meth:`redirect`."""
        self.state = SessionState.REDIRECTED
        self.context.emit(Redirected(self, targets))

    def refused(self, status: int, reason: str, now: float) -> None:
        """Our INVITE was refused, or got no response."""
        if self._farewell_owed or self.state is SessionState.CANCELLING:
            self._finish("local", 487, REASONS[487], now)
        elif self.state in (SessionState.CALLING, SessionState.RINGING):
            self._finish("remote", status, reason, now)

    def accepted(self, fork: Fork, response: Response, now: float) -> None:
        """A 2xx, acknowledged already."""
        if self.dialog is not None:
            # Another fork answered as well. It gets a BYE (RFC 3261 13.2.2.4).
            DialogRequest(self.context, self.identity, fork.dialog, "BYE", now)
            return
        wanted = self.still_calling
        self.dialog = fork.dialog
        self.context.timers.clear(self, "cancel")
        self._stop_waiting()
        if not wanted:
            self._bye(now)  # It crossed our CANCEL.
            return
        self.state = SessionState.CONFIRMED
        self.timer.receive_response(response, now)
        assert self._negotiator is not None
        agreed = fork.agreed
        try:
            # After an answer in a reliable response there is no other one (RFC 3261 13.2.1).
            if agreed is None or (response.body and not fork.settled):
                agreed = self._negotiator.receive_answer(response.body)
        except RemoteProtocolError as error:
            self.hang_up(now, error.status, str(error))
            return
        self._renegotiation = Renegotiation(
            self, self.responder, fork.dialog, self._negotiator, agreed
        )
        self._tell_referrer(200, REASONS[200], now)
        self.context.emit(Answered(self, agreed))

    # ------------------------------------------------------------------ being called

    def receive_invite(self, transaction: ServerTransaction, now: float) -> None:
        """An INVITE outside any dialog: tell the program, and send 100 if it is slow to respond."""
        request = transaction.request
        self.invited_by = request
        self.received = request.headers
        self._invited = transaction
        self.responder = Responder(self, transaction)
        self.dialog = Dialog.from_request(request, self.local_tag, transaction.flow)
        self.dialog.allowance = transaction.allowance
        self.context.timers.set(self, "trying", now + _TRYING)
        patience = _UNANSWERED if request.expires is None else min(request.expires, _UNANSWERED)
        self.context.timers.set(self, "unanswered", now + patience)
        self.report_change()
        self.context.emit(InviteReceived(self))

    def ring(self, now: float) -> None:
        """Send 180 Ringing, or 183 again where sound flows already."""
        self._require(SessionState.INCOMING, "ring")
        self.context.timers.clear(self, "trying")
        if self._early is None:
            self.responder.ring(now)
        else:
            self.responder.ring(now, 183, self._early[0])
        self.context.timers.set(self, "ring", now + _RING_AGAIN)

    def begin_early_media(self, make_negotiator: Callable[[int], Negotiator], now: float) -> None:
        """Send 183 with our answer to their offer: sound flows, and the call is not answered yet.

        Raises:
            LocalProtocolError: the call was answered or has ended, or the INVITE has no offer.
            RemoteProtocolError: as for :meth:`answer`.
        """
        self._require(SessionState.INCOMING, "begin early media")
        assert self._invited is not None
        if not self._invited.request.body:
            raise LocalProtocolError("cannot begin early media: the caller made no offer")
        self._negotiator = negotiator = make_negotiator(self._session_id())
        try:
            body, agreed = negotiator.receive_offer(self.offered)
        except RemoteProtocolError as error:
            self.hang_up(now, error.status, "Not Acceptable Here")
            raise
        self._early = body, agreed
        self.ring(now)
        self.context.emit(EarlyMedia(self, 183, REASONS[183], agreed))

    def answer(
        self,
        make_negotiator: Callable[[int], Negotiator],
        now: float,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Answer the call with 200. A call whose place it takes (RFC 3891) is ended.

        The 200 carries ``headers`` beside the usual ones.

        Raises:
            LocalProtocolError: it was answered or has ended.
            RemoteProtocolError: their offer has nothing in common with ours; the call has been
                refused with 488.
        """
        self._require(SessionState.INCOMING, "answer")
        assert self._invited is not None
        assert self.dialog is not None
        request = self._invited.request
        agreed: Agreed | None = None
        if self._early is None or self._negotiator is None:
            self._negotiator = make_negotiator(self._session_id())
        negotiator = self._negotiator
        try:
            if self._early is not None:
                body, agreed = self._early
                # After an answer in a reliable response there is no other one (RFC 3261 13.2.1).
                body = b"" if self.responder.described else body
            elif request.body:
                body, agreed = negotiator.receive_offer(self.offered)
            else:
                body = negotiator.offer()
        except RemoteProtocolError as error:
            self.hang_up(now, error.status, "Not Acceptable Here")
            raise
        try:
            self.responder.accept(self._invited, body, now, offered=agreed is None, headers=headers)
        except LocalProtocolError:
            self._finish("local", 503, REASONS[503], now)  # Its transaction is gone: a broken flow.
            raise
        self.state = SessionState.ANSWERED
        self._stop_waiting()
        self.context.locate(self.dialog)
        self._renegotiation = Renegotiation(self, self.responder, self.dialog, negotiator, agreed)
        self.context.emit(Answered(self, agreed))
        if self.replaces is not None:
            self.replaces.hang_up(now)

    @property
    def allowance(self) -> Allowance | None:
        """What may be sent until the caller has proved that it receives us; None: anything."""
        return None if self.dialog is None else self.dialog.allowance

    def _prove(self) -> None:
        """The other end has used our tag, which it can know from a response of ours only."""
        if self.allowance is not None:
            self.allowance.proven = True

    @cached_property
    def caller(self) -> Caller:
        """Who calls, for an incoming call; only a trusted host may vouch for another user."""
        assert self._invited is not None
        trusted = self.context.is_trusted_host(self._invited.flow.remote[0])
        return caller_of(self._invited.request, trusted=trusted)

    def response(
        self,
        request: Request,
        status: int,
        *,
        body: bytes = b"",
        headers: Sequence[tuple[str, str]] = (),
    ) -> Response:
        """A response within the session. See :meth:`Responder.response`."""
        return self.responder.response(request, status, body=body, headers=headers)

    def receive_ack(self, request: Request, flow: Flow, now: float) -> None:
        """The ACK for a 2xx of ours. The first one shows a path that works.

        One without our tag shows nothing: it can be sent without having received the 2xx.
        """
        if request.to.tag != self.local_tag or not self.responder.receive_ack(request):
            return
        self._prove()
        first = self.state is SessionState.ANSWERED
        if first:
            assert self.dialog is not None
            if self.source_check.knows(flow):
                self.dialog.receive_first_ack(request, flow)
            self.state = SessionState.CONFIRMED
        if self._farewell_owed:
            self._bye(now)
            return
        # An ACK in mid-call that brings no answer to our offer leaves the media as it was.
        if self.responder.answer_follows and self.is_up and (first or request.body):
            assert self._negotiator is not None
            try:
                agreed = self._negotiator.receive_answer(request.body)
            except RemoteProtocolError as error:
                self.hang_up(now, error.status, "Not Acceptable Here")
                return
            if self._renegotiation is not None:
                self._renegotiation.change_media(agreed)
        if first:
            self.context.emit(Confirmed(self))
        if self._renegotiation is not None:
            self._renegotiation.proceed(now)

    # ------------------------------------------------------------------ while it is up

    def hold(self, now: float) -> None:
        """Offer "sendonly" with a re-INVITE: they hear us (or our music), we do not listen.

        Where our 2xx still waits for its ACK, the re-INVITE goes out after it.

        Raises:
            LocalProtocolError: the call is not answered.
        """
        self._change_direction("sendonly", now)

    def resume(self, now: float) -> None:
        """Offer "sendrecv" again. See :meth:`hold`."""
        self._change_direction("sendrecv", now)

    def ask_options(self, now: float, done: Callable[[bool, float], None]) -> None:
        """Send OPTIONS within the dialog, to see whether the far end is still there.

        A far end that no longer knows the dialog (481) has ended the call (RFC 3261
        12.2.1.2).

        Args:
            now: seconds.
            done: called with whether the far end has answered, and the time.

        Raises:
            LocalProtocolError: the call is not answered.
        """
        self._require(SessionState.CONFIRMED, "ask the far end")
        assert self.dialog is not None

        def report(status: int, response: Response | None, now: float) -> None:
            if response is not None and status == 481 and self.is_up:
                self._finish("remote", status, "The far end no longer knows the call", now)
            done(response is not None, now)

        DialogRequest(self.context, self.identity, self.dialog, "OPTIONS", now, done=report)

    def hear_early_media(self, now: float) -> None:
        """Early media arrives, so the far end is there without a provisional response."""
        if self.state is SessionState.RINGING:
            self.context.timers.set(self, "silent", now + _SILENT)

    def take_transfers(self, now: float) -> None:
        """Accept the transfers that the far end asks for, one that waits included."""
        self.takes_transfers = True
        self.transfers.decide(now)

    def transfer(self, target: Uri, now: float) -> Transfer:
        """Ask the far end to call ``target``. See :meth:`Transfers.request` for the errors."""
        return self.transfers.request(target, now)

    def _change_direction(self, direction: Direction, now: float) -> None:
        if self.state is not SessionState.ANSWERED:
            self._require(SessionState.CONFIRMED, "change")
        assert self._renegotiation is not None
        self._renegotiation.change(direction, now)

    def move(self, host: str, rtp: Address, now: float) -> None:
        """Tell the peer that this machine is at ``host`` now and receives RTP at ``rtp``.

        A call that is not answered yet goes on as it can; only its farewell uses the new address.
        """
        for dialog in self.dialogs:
            dialog.move(host)
            self.context.locate(dialog)
        if self._negotiator is not None:
            self._negotiator.move(*rtp)
            if self._renegotiation is not None and self.state in (
                SessionState.ANSWERED,
                SessionState.CONFIRMED,
            ):
                self._renegotiation.change(self._negotiator.direction, now)

    def receive_request(self, transaction: ServerTransaction, now: float) -> None:
        """A request within this session's dialogs, ACK and CANCEL excepted."""
        request = transaction.request
        dialog = self._dialog_of(request)
        if dialog is None:
            transaction.respond(response_to(request, 481, to_tag=self.local_tag), now)
            return
        if not self.source_check.admit(dialog, transaction, now):
            return
        self._prove()
        try:
            dialog.receive_request(request, transaction.flow)
        except RemoteProtocolError as error:
            transaction.respond(response_to(request, error.status, to_tag=self.local_tag), now)
            return
        if dialog is self.dialog and self.is_up:
            self.context.locate(dialog)
            self.report_change()
        match request.method:
            case "BYE":
                self._receive_bye(transaction, now)
            case "INVITE" if self._renegotiation and self._admit_reinvite(now):
                self._renegotiation.receive_invite(transaction, now)
            case "UPDATE" if self._renegotiation and self.state in (
                SessionState.ANSWERED,
                SessionState.CONFIRMED,
            ):
                self._renegotiation.receive_update(transaction, now)
            case "UPDATE" if self.state is SessionState.RINGING and self._invitation:
                self._invitation.receive_update(transaction, now)
            case "UPDATE" if self.state is SessionState.INCOMING and not request.body:
                # Without an offer it only changes the target (RFC 3311 5.2).
                transaction.respond(self.responder.response(request, 200), now)
            case "INVITE" | "UPDATE":
                busy(transaction, self.local_tag, self.context.rng.randrange(1, 10), now)
            case "PRACK":
                self.responder.receive_prack(transaction, now)
            case "INFO":
                transaction.respond(response_to(request, 200, to_tag=self.local_tag), now)
                digit = dtmf_digit(request)
                if digit is not None and self.is_up:
                    self.context.emit(DigitReceived(self, digit))
            case "REFER":
                self.transfers.receive_refer(transaction, now)
            case "NOTIFY":
                self.transfers.receive_notify(transaction, now)
            case "SUBSCRIBE":
                self.transfers.receive_subscribe(transaction, now)
            case "MESSAGE":
                receive_instant_message(self.context, transaction, self.local_tag, now)
            case "OPTIONS":
                receive_options(self.context, transaction, self.local_tag, now)
            case _:
                response = response_to(
                    request, 405, to_tag=self.local_tag, headers=[("Allow", ALLOW)]
                )
                transaction.respond(response, now)

    def _admit_reinvite(self, now: float) -> bool:
        """Accept a re-INVITE for processing. False where it must be refused for now.

        A re-INVITE that overtakes the ACK of our 2xx shows that the 2xx arrived, so it confirms the
        call (RFC 5407 3.1.4). It is refused where that ACK brings the answer to our offer (3.1.5),
        and where we are ending the call.
        """
        if self._farewell_owed or self.state not in (SessionState.ANSWERED, SessionState.CONFIRMED):
            return False
        if self.responder.offer_is_open:
            return False
        self.responder.stop()
        if self.state is SessionState.ANSWERED:
            self._confirm()
        return True

    def _confirm(self) -> None:
        self.state = SessionState.CONFIRMED
        self.context.emit(Confirmed(self))

    def _dialog_of(self, request: Request) -> Dialog | None:
        tag = request.from_.tag
        for dialog in self.dialogs:
            if dialog.remote.tag == tag:
                return dialog
        return None

    # ------------------------------------------------------------------ timers

    def handle_timer(self, name: str, now: float) -> None:
        """Serve the session's own timers."""
        match name:
            case "2xx" if not self.responder.repeat(name, now):
                # RFC 3261 13.3.1.4: no ACK for 64*T1, so the session is ended with BYE.
                self._bye(now)
                self._over("local", 408, "No ACK", now)
            case "1xx" if not self.responder.repeat(name, now):
                self.hang_up(now, 504, "No PRACK")  # RFC 3262 3: a 5xx.
            case "moved":
                self.source_check.handle_timer(now)
            case "cancel":
                if self._invitation is not None:
                    self._invitation.abandon()
                self._finish("local", 487, REASONS[487], now)
            case "refer":
                self.transfers.decide(now)
            case "glare" if self.is_up and self._renegotiation:
                self._renegotiation.handle_glare(now)
            case "refresh" if self.is_up and self._renegotiation:
                self._renegotiation.refresh(now)
            case "trying" if self._invited is not None and self._invited.silent:
                self._invited.respond(response_to(self._invited.request, 100), now)
            case "ring" if self.state is SessionState.INCOMING:
                self.ring(now)  # RFC 3261 13.3.1.1: each minute, or proxies give up.
            case "unanswered" if self.state is SessionState.INCOMING:
                # No answer in time, and the caller may have left; 13.3.1 for its Expires.
                expires = self.invited_by.expires if self.invited_by else None
                self.hang_up(now, 480 if expires is None else 487, "Not answered")
            case "silent" if self.state is SessionState.RINGING:
                self.hang_up(now, 408, "No further response")
            case "expire" if self.is_up:
                self.hang_up(now, 408, "Session expired")  # RFC 4028 10

    def _require(self, state: SessionState, what: str) -> None:
        if self.state is not state:
            raise LocalProtocolError(f"cannot {what}: the call is {self.state.name.lower()}")
