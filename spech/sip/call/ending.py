"""The state of a call, and how the call ends (RFC 3261 9, 15).

However a call ends, the far end is told in the way that fits the state. :data:`FAREWELL` is that
rule, and :meth:`EndingLeg.hang_up` the only place that applies it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property

from spech.sip.call.events import Party, SessionEnded
from spech.sip.call.invitation import Invitation
from spech.sip.call.leftover import FarewellRecord
from spech.sip.call.leg import Leg
from spech.sip.call.renegotiation import Renegotiation
from spech.sip.call.responder import Responder
from spech.sip.call.session_timer import SessionTimer
from spech.sip.call.source_check import SourceCheck
from spech.sip.call.states import FAREWELL, Farewell, SessionState
from spech.sip.call.transfer import Referral, Transfers
from spech.sip.description import sdp
from spech.sip.description.offer_answer import Negotiator
from spech.sip.dialog.caller import answered_elsewhere, reason_header, reason_of
from spech.sip.dialog.context import Context
from spech.sip.dialog.dialog import Dialog
from spech.sip.dialog.identity import Identity
from spech.sip.dialog.requests import DialogRequest
from spech.sip.message.headers import Headers
from spech.sip.message.message import REASONS, Request, Response, response_to
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.transaction import ServerTransaction


class EndingLeg(Leg):
    """A leg with its state, its parts, and the farewell that each state asks for.

    :class:`~spech.sip.call.session.Session` adds how the call begins and what happens in it.
    """

    def __init__(
        self,
        context: Context,
        identity: Identity,
        call_id: str,
        forget: Callable[[], None],
        changed: Callable[[], None],
        *,
        outgoing: bool,
    ) -> None:
        self.context = context
        self.identity = identity
        self._call_id = call_id
        #: Called when the session is over and nothing of it remains to be sent.
        self._forget = forget
        #: Called when :meth:`farewell_record` may return something else.
        self._changed = changed
        self.local_tag = context.ids.tag()
        self.outgoing = outgoing
        self._state = SessionState.CALLING if outgoing else SessionState.INCOMING
        #: The confirmed dialog, or None while there is none.
        self.dialog: Dialog | None = None
        #: The INVITE that came, for an incoming call.
        self.invited_by: Request | None = None
        #: How the call ended, once it is over.
        self.ended: SessionEnded | None = None
        #: Whether the caller ended it because another phone took it.
        self.answered_elsewhere = False
        self.timer = SessionTimer(context.timers, self)
        #: Headers of our INVITE besides the usual ones.
        self.headers: tuple[tuple[str, str], ...] = ()
        #: Whether the program follows transfers; otherwise they are declined.
        self.takes_transfers = False
        self.received = Headers()
        self.parting = Headers()
        self._invitation: Invitation | None = None
        self._negotiator: Negotiator | None = None
        self._renegotiation: Renegotiation | None = None
        self._invited: ServerTransaction | None = None
        #: What we answer to their INVITEs.
        self.responder = Responder(self, None)
        self.transfers = Transfers(self)
        self.source_check = SourceCheck(self, self.receive_request)
        #: The transfer that this call follows; the far end that asked for it is told the progress.
        self.referral: Referral | None = None
        self._farewell_owed = False
        #: What our BYE says about the cause.
        self._cause: tuple[tuple[str, str], ...] = ()
        self._leaving: DialogRequest | None = None
        #: The last record of the dialog, and what it was made from.
        self._record: FarewellRecord | None = None
        self._recorded: tuple[Dialog, Uri, tuple[Flow, ...]] | None = None

    @property
    def call_id(self) -> str:
        """The Call-ID of its dialogs."""
        return self._call_id

    @property
    def state(self) -> SessionState:
        """The state of the session."""
        return self._state

    @state.setter
    def state(self, state: SessionState) -> None:
        if state is not self._state:
            self._state = state
            self.context.note(self._call_id, f"now {state.name}: {state.value}")
            self._changed()

    @cached_property
    def offered(self) -> sdp.SessionDescription:
        """The offer in the INVITE that came.

        Raises:
            RemoteProtocolError: 400, 413 or 488, when it cannot be read.
        """
        assert self.invited_by is not None
        return sdp.read(self.invited_by.body)

    def __str__(self) -> str:
        return "the session"

    def __repr__(self) -> str:
        return f"<Session {self.call_id} {self.state.name}>"

    @property
    def pending(self) -> bool:
        """Whether a farewell is still on its way."""
        return self.state in (SessionState.CANCELLING, SessionState.CLOSING) or self._farewell_owed

    @property
    def is_up(self) -> bool:
        """Whether the call is answered and acknowledged."""
        return self.state is SessionState.CONFIRMED

    @property
    def is_over(self) -> bool:
        """Whether the call has ended; its farewell may still be on its way."""
        return self.ended is not None

    @property
    def dialogs(self) -> list[Dialog]:
        """The dialogs of this session, early ones and the confirmed one."""
        dialogs = [self.dialog] if self.dialog else []
        if self._invitation is not None:
            dialogs += self._invitation.dialogs
        return dialogs

    @abstractmethod
    def receive_request(self, transaction: ServerTransaction, now: float) -> None:
        """A request within this session's dialogs, ACK and CANCEL excepted."""

    # ------------------------------------------------------------------ from our side

    def hang_up(
        self,
        now: float,
        status: int | None = None,
        reason: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        """End the call, whatever its state. Calling it again does nothing.

        ``status`` is what an incoming call that was not answered is declined with: 480 by
        default. Of an answered one, it and ``reason`` go into the Reason header of the BYE. The
        response that declines and the BYE carry ``headers``.
        """
        farewell = FAREWELL[self.state]
        if self._farewell_owed or farewell is Farewell.NOTHING:
            return
        if status is not None:
            self._cause = reason_header(status, reason or REASONS.get(status, ""))
        self._cause += tuple(headers)
        match farewell:
            case Farewell.CANCEL_LATER | Farewell.BYE_LATER:
                self._farewell_owed = True
            case Farewell.CANCEL:
                self._cancel(now)
            case Farewell.DECLINE:
                status = status or 480
                self.responder.decline(status, now, headers)
                self.state = SessionState.ENDED
            case Farewell.FORGET:
                self.state = SessionState.ENDED
            case Farewell.BYE:
                self._bye(now)
        if status is None:
            status = 200 if farewell in (Farewell.BYE, Farewell.BYE_LATER) else 487
        self._over("local", status, reason or REASONS.get(status, ""), now)

    def farewell_record(self) -> FarewellRecord | None:
        """What :class:`LeftoverCall` needs to end the call after a restart; None once it is ended.

        It changes with the state and with what the other end sends; until then it is the same
        object, which costs little to make and to compare.
        """
        match self.state:
            case SessionState.CALLING | SessionState.RINGING | SessionState.CANCELLING:
                assert self._invitation is not None
                return self._invitation.farewell_record(self.local_tag)
            case SessionState.INCOMING if self._invited is not None:
                request, flow = self._invited.request, self._invited.flow
                return FarewellRecord.of_invite(
                    "DECLINE", request, flow, self.local_tag, self.identity.uri
                )
            case SessionState.ANSWERED | SessionState.CONFIRMED | SessionState.CLOSING if (
                self.dialog is not None
            ):
                made_from = self.dialog, self.dialog.target, self.dialog.flows
                if self._record is None or made_from != self._recorded:
                    self._record = FarewellRecord.of_dialog(self.dialog, self.identity.uri)
                    self._recorded = made_from
                return self._record
            case _:
                return None

    def report_change(self) -> None:
        """Report that the farewell record may have changed."""
        self._changed()

    def hurry(self, now: float, patience: float) -> None:
        """Send a pending BYE over every known flow unless it is confirmed in ``patience`` s."""
        if self._leaving is not None:
            self._leaving.hurry(now, patience)

    def _stop_waiting(self) -> None:
        self.context.timers.clear(self, "trying", "ring", "unanswered", "silent")

    def _cancel(self, now: float) -> None:
        assert self._invitation is not None
        self._farewell_owed = False
        self.state = SessionState.CANCELLING
        self._invitation.cancel(now)

    def _bye(self, now: float) -> None:
        assert self.dialog is not None
        self._farewell_owed = False
        self.state = SessionState.CLOSING
        self.responder.stop()
        self.timer.stop()
        self._leaving = DialogRequest(
            self.context,
            self.identity,
            self.dialog,
            "BYE",
            now,
            headers=self._cause,
            done=self._left,
        )

    def _left(self, status: int, response: Response | None, now: float) -> None:
        if status == 500 and self._leaving is not None and self._leaving.overtaken:
            self._bye(now)  # A NOTIFY about a transfer came before it (RFC 3261 12.2.2).
        else:
            self._finish("local", 200, REASONS[200], now)

    def _over(self, by: Party, status: int, reason: str, now: float) -> None:
        """Tell the program, once."""
        if self.ended is None:
            self.ended = SessionEnded(self, by, status, reason)
            self._tell_referrer(status, reason, now)
            self.context.emit(self.ended)
            self.transfers.call_ended(by, now)
            self.source_check.stop(now)
        self.context.timers.clear(self, "glare")
        if self._renegotiation is not None:
            self._renegotiation.stop()
        self._stop_waiting()
        if self.state is SessionState.ENDED:
            self.context.timers.clear_all(self)
            self._forget()

    def _finish(self, by: Party, status: int, reason: str, now: float) -> None:
        self._farewell_owed = False
        self.state = SessionState.ENDED
        self._over(by, status, reason, now)

    def _tell_referrer(self, status: int, reason: str, now: float) -> None:
        if self.referral is not None:
            self.referral.progress(status, reason, now)

    # ------------------------------------------------------------------ from theirs

    def receive_cancel(self, request: Request, now: float) -> None:
        """Their CANCEL matched the INVITE; the CANCEL itself has been answered."""
        if self.state is SessionState.INCOMING:
            self.answered_elsewhere = answered_elsewhere(request)
            self.parting = request.headers
            self.responder.decline(487, now)
            self._finish("remote", 487, reason_of(request) or REASONS[487], now)

    def _receive_bye(self, transaction: ServerTransaction, now: float) -> None:
        request = transaction.request
        transaction.respond(response_to(request, 200, to_tag=self.local_tag), now)
        reason = reason_of(request) or REASONS[200]
        if self.ended is None:
            self.parting = request.headers
        if self.dialog is None or self.dialog.remote.tag != request.from_.tag:
            self._receive_early_bye(request, reason, now)
            return
        self.responder.decline(487, now)  # What still waits (RFC 3261 15.1.2).
        self.responder.stop()
        if self.state is not SessionState.CLOSING:
            self._finish("remote", 200, reason, now)

    def _receive_early_bye(self, request: Request, reason: str, now: float) -> None:
        """BYE in an early dialog: other ends may still answer, unless it is the only one."""
        assert self._invitation is not None
        if self._invitation.drop(request.from_.tag) and self.state is SessionState.RINGING:
            self._cancel(now)  # Our INVITE still waits for its final response.
            self._over("remote", 200, reason, now)
