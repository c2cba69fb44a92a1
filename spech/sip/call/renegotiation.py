"""Offers and answers after the first one: re-INVITE (RFC 3261 14) and UPDATE (RFC 3311)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from spech.agreement import Agreed, Direction
from spech.errors import RemoteProtocolError
from spech.sip.call.events import ChangeRefused, MediaChanged
from spech.sip.call.fork import Fork
from spech.sip.call.leg import Leg
from spech.sip.call.responder import Responder
from spech.sip.call.session_timer import LEAST, too_brief
from spech.sip.description.offer_answer import Negotiator, is_declined
from spech.sip.dialog.capabilities import SDP
from spech.sip.dialog.dialog import Dialog
from spech.sip.dialog.requests import DialogRequest
from spech.sip.message.message import Response, response_to
from spech.sip.transaction.transaction import ServerTransaction

#: How often in a row, and after how many seconds at most, a change is offered again where they
#: answer 500.
_MOST_PUT_OFF: Final = 5
_LONGEST_PAUSE: Final = 60


class Renegotiation:
    """Changes the media of a session that is up, from either side, one change at a time."""

    def __init__(
        self,
        session: Leg,
        responder: Responder,
        dialog: Dialog,
        negotiator: Negotiator,
        agreed: Agreed | None,
    ) -> None:
        #: The agreement in force; None until their ACK brings the first answer.
        self.agreed = agreed
        self._session = session
        self._responder = responder
        self._context = session.context
        self._dialog = dialog
        self._negotiator = negotiator
        self._pending: DialogRequest | None = None
        self._fork = Fork(dialog)
        self._wanted = False
        #: The direction in force on our side, and the one that our INVITE asks for.
        self._direction = self._asked = negotiator.direction
        #: How often in a row they put off a change.
        self._put_off = 0

    # ------------------------------------------------------------------ from our side

    def change(self, direction: Direction, now: float) -> None:
        """Offer "sendonly" (hold) or "sendrecv" (resume). The last command counts."""
        self._negotiator.direction = direction
        self._wanted = True
        self.proceed(now)

    def proceed(self, now: float) -> None:
        """Offer the wanted direction, unless another change is in progress (RFC 3261 14.1)."""
        if self._wanted and self._pending is None and not self._responder.waits_for_ack:
            self._invite(now)

    def refresh(self, now: float) -> None:
        """Keep the session alive (RFC 4028 7.4), by UPDATE where possible: it needs no offer."""
        if self._pending is not None or self._responder.waits_for_ack:
            self._session.timer.refresh_later(now)
        elif self._session.timer.update_allowed:
            self._pending = self._request("UPDATE", b"", now)
        else:
            self._invite(now)

    def stop(self) -> None:
        """The call is over."""
        if self._pending is not None:
            self._pending.give_up()

    def handle_glare(self, now: float) -> None:
        """The pause after a 491 is over."""
        self._wanted = True
        self.proceed(now)

    def _invite(self, now: float) -> None:
        self._wanted = False
        self._asked = self._negotiator.direction
        self._pending = self._request("INVITE", self._negotiator.offer(), now)

    def _request(self, method: str, body: bytes, now: float) -> DialogRequest:
        session = self._session
        headers = session.invite_headers(in_dialog=True)
        if body:
            headers.append(("Content-Type", SDP))
        done = self._invited if method == "INVITE" else self._updated
        return DialogRequest(
            self._context,
            session.identity,
            self._dialog,
            method,
            now,
            headers=headers,
            body=body,
            done=done,
        )

    def _invited(self, status: int, response: Response | None, now: float) -> None:
        if response is None or status >= 300:
            self._refused(status, response, now)
            return
        sequence = response.cseq.number
        if sequence == self._fork.acknowledged:
            self._fork.acknowledge_again(self._context)
            return
        if self._pending is None or sequence != self._pending.sequence:
            # A late 2xx of an earlier INVITE: it gets its ACK, and is otherwise ignored.
            Fork(self._dialog).acknowledge(self._context, self._session.identity, sequence, ())
            return
        credentials = self._pending.credentials
        self._pending = None
        self._put_off = 0
        self._refresh_target(response)
        self._fork.acknowledge(self._context, self._session.identity, sequence, credentials)
        if not self._session.is_up:
            return
        self._session.timer.receive_response(response, now)
        if not response.body:
            self._restore(response.status)  # No answer to our offer: the agreement stays in force.
        elif is_declined(response.body):
            # The stream is refused; the call goes on (RFC 3264 6). The next change offers it again.
            self._direction = self._asked
            if self.agreed is not None:
                self.change_media(replace(self.agreed, direction="inactive"))
        else:
            try:
                agreed = self._negotiator.receive_answer(response.body)
            except RemoteProtocolError as error:
                self._session.hang_up(now, error.status, str(error))
                return
            self._direction = self._asked
            self.change_media(agreed)
        self.proceed(now)

    def change_media(self, agreed: Agreed) -> None:
        """Another agreement is in force."""
        self.agreed = agreed
        self._context.emit(MediaChanged(self._session, agreed))

    def _restore(self, status: int) -> None:
        """Our offer changes nothing: report that, unless a later change is wanted already."""
        if not self._wanted and self._negotiator.direction != self._direction:
            self._negotiator.direction = self._direction
            self._context.emit(ChangeRefused(self._session, self._direction, status))

    def _updated(self, status: int, response: Response | None, now: float) -> None:
        if response is None or status >= 300:
            self._refused(status, response, now)
            return
        self._pending = None
        self._refresh_target(response)
        self._session.timer.receive_response(response, now)
        self.proceed(now)

    def _refresh_target(self, response: Response) -> None:
        self._dialog.refresh_target(response)
        self._context.locate(self._dialog)
        self._session.report_change()

    def _refused(self, status: int, response: Response | None, now: float) -> None:
        request, self._pending = self._pending, None
        session = self._session
        if not session.is_up or request is None:
            return
        pause = self._pause(request, status, response)
        if pause is not None:
            self._context.timers.set(session, "glare", now + pause)
        elif response is None or status in (408, 481):
            session.hang_up(now)  # The dialog is gone at the other end (12.2.1.2, 14.1).
        elif status == 422 and session.timer.lengthen(response):
            body = self._negotiator.offer() if request.method == "INVITE" else b""
            self._pending = self._request(request.method, body, now)
        elif request.method == "UPDATE" and self._is_put_off(status, response):
            session.timer.refresh_later(now)
        elif request.method == "UPDATE" and status < 600:
            # A re-INVITE may still refresh the session before its time is over (RFC 4028 7.4).
            session.timer.update_allowed = False
            self._invite(now)
        else:
            # Any other refusal leaves the session as it was (14.1), and its timer running.
            session.timer.refresh_later(now)
            self._restore(status)
            self.proceed(now)

    def _is_put_off(self, status: int, response: Response) -> bool:
        """Whether an UPDATE may succeed later: 500 with Retry-After, a few times (RFC 3311 5.2)."""
        if status != 500 or "Retry-After" not in response.headers or self._put_off == _MOST_PUT_OFF:
            return False
        self._put_off += 1
        return True

    def _pause(
        self, request: DialogRequest, status: int, response: Response | None
    ) -> float | None:
        """Seconds until a change is offered again, or None where it was refused for good."""
        if status == 491:
            # RFC 3261 14.1: who made the Call-ID waits 2.1 to 4 s, the other 0 to 2 s.
            low, high = (2.1, 4.0) if self._session.outgoing else (0.0, 2.0)
            return self._context.rng.uniform(low, high)
        if request.method != "INVITE" or status != 500 or self._put_off == _MOST_PUT_OFF:
            return None
        self._put_off += 1
        if request.overtaken or request.moved:
            return 1.0  # A later request of ours, or a copy of this one, arrived first (12.2.2).
        # Our last ACK has not arrived, so they cannot process this one yet (14.2).
        seconds = response.retry_after if response else None
        return max(1.0, seconds) if seconds is not None and seconds <= _LONGEST_PAUSE else None

    # ------------------------------------------------------------------ from their side

    def receive_invite(self, transaction: ServerTransaction, now: float) -> None:
        """Their re-INVITE."""
        request = transaction.request
        if self._pending is not None and self._pending.method == "INVITE":
            transaction.respond(self._responder.response(request, 491), now)
        elif too_brief(request):
            self._refuse_brief(transaction, now)
        else:
            self._answer(transaction, now)

    def receive_update(self, transaction: ServerTransaction, now: float) -> None:
        """Their UPDATE: a refresh, or an offer that needs no ACK (RFC 3311 5.2).

        Between our 2xx and its ACK it is refused only where that 2xx carried the offer.
        """
        session = self._session
        request = transaction.request
        ours = self._pending is not None and self._pending.method == "INVITE"
        if request.body and (ours or self._responder.offer_is_open):
            transaction.respond(self._responder.response(request, 491), now)
            return
        if too_brief(request):
            self._refuse_brief(transaction, now)
            return
        body, agreed = b"", None
        if request.body:
            offered = self._take_offer(transaction, now)
            if offered is None:
                return
            body, agreed = offered
        headers = session.timer.receive_request(request, now)
        transaction.respond(self._responder.response(request, 200, body=body, headers=headers), now)
        if agreed is not None:
            self.change_media(agreed)

    def _refuse_brief(self, transaction: ServerTransaction, now: float) -> None:
        """422: the session interval is too small (RFC 4028 9)."""
        headers = [("Min-SE", str(LEAST))]
        response = self._responder.response(transaction.request, 422, headers=headers)
        transaction.respond(response, now)

    def _answer(self, transaction: ServerTransaction, now: float) -> None:
        request = transaction.request
        if request.body:
            offered = self._take_offer(transaction, now)
            if offered is None:
                return
            body, agreed = offered
            self._responder.accept(transaction, body, now)
            self.change_media(agreed)
        else:
            self._responder.accept(transaction, self._negotiator.offer(), now, offered=True)

    def _take_offer(
        self, transaction: ServerTransaction, now: float
    ) -> tuple[bytes, Agreed] | None:
        try:
            answer = self._negotiator.receive_offer(transaction.request.body)
        except RemoteProtocolError as error:
            # 488 leaves the session as it was (RFC 3261 14.2).
            transaction.respond(self._responder.response(transaction.request, error.status), now)
            return None
        self._direction = self._negotiator.direction
        return answer


def busy(transaction: ServerTransaction, local_tag: str, seconds: int, now: float) -> None:
    """500 with Retry-After: another offer is in progress (RFC 3261 14.2, RFC 3311 5.2)."""
    headers = [("Retry-After", str(seconds))]
    response = response_to(transaction.request, 500, to_tag=local_tag, headers=headers)
    transaction.respond(response, now)
