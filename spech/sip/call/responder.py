"""Our responses to their INVITEs, repeated until they are acknowledged.

A 2xx is acknowledged by an ACK (RFC 3261 13.3.1.4), a reliable provisional response by a PRACK
(RFC 3262 3).
"""

from __future__ import annotations

from collections.abc import Sequence

from spech.sip.call.leg import Leg
from spech.sip.call.repetition import Repetition
from spech.sip.dialog.capabilities import SDP, SUPPORTED
from spech.sip.message.message import Request, Response, response_to
from spech.sip.transaction.transaction import ServerTransaction


class Responder:
    """Answers the INVITEs of one session: the first one, where they called, and later ones."""

    def __init__(self, session: Leg, first: ServerTransaction | None) -> None:
        self._session = session
        self._context = session.context
        self._first = first
        self._accepting: Repetition | None = None
        self._offered = False
        self._reliable: Repetition | None = None
        #: The provisional response that waits for the PRACK of the last one.
        self._next: tuple[int, bytes] | None = None
        #: Whether a reliable provisional response has carried our description.
        self.described = False
        #: The RSeq of our last reliable provisional response. The first is random, and each later
        #: one is one more: the caller ignores any other (RFC 3262 3, 4).
        self._reliable_number: int | None = None

    @property
    def waits_for_ack(self) -> bool:
        """Whether a 2xx is out and not yet acknowledged."""
        return self._accepting is not None

    def response(
        self,
        request: Request,
        status: int,
        *,
        body: bytes = b"",
        headers: Sequence[tuple[str, str]] = (),
    ) -> Response:
        """A response within the session, with our Contact where it makes or keeps a dialog."""
        session = self._session
        more = [*headers, *self._context.standard_headers()]
        if status == 488:  # RFC 3261 20.43: 305, incompatible media format.
            more.append(("Warning", '305 spech "No media description in common"'))
        if 101 <= status < 300 and session.dialog is not None:
            contact = self._context.contact(session.dialog.flow, session.identity.uri)
            more = [("Contact", contact), *more]
        if 200 <= status < 300:  # RFC 3261 13.3.1.4
            more.append(("Supported", ", ".join(SUPPORTED)))
        return response_to(
            request,
            status,
            to_tag=session.local_tag,
            headers=more,
            body=body,
            content_type=SDP if body else None,
        )

    def ring(self, now: float, status: int = 180, body: bytes = b"") -> None:
        """Send a provisional response, reliably where the caller requires that (RFC 3262 3).

        A reliable response to an INVITE without an offer has to carry ours, and we have no ports
        yet: then nothing is sent before the answer. A reliable response waits for the PRACK of the
        one before, and only one of them carries a description.
        """
        assert self._first is not None
        request = self._first.request
        if "100rel" not in request.headers.values("Require"):
            self._first.respond(self.response(request, status, body=body), now)
        elif self._reliable is not None:
            self._next = (status, body) if body else self._next
        elif request.body:
            body = b"" if self.described else body
            self.described = bool(body) or self.described
            if self._reliable_number is None:
                self._reliable_number = self._context.rng.randrange(1, 1 << 16)
            else:
                self._reliable_number += 1
            headers = [("Require", "100rel"), ("RSeq", str(self._reliable_number))]
            response = self.response(request, status, body=body, headers=headers)
            self._reliable = Repetition(
                self._context, self._session, "1xx", self._first, response, now
            )

    def decline(self, status: int, now: float, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Send a final response other than 2xx to the first INVITE, if it has had none."""
        if self._first is not None and not self._first.answered:
            response = self.response(self._first.request, status, headers=headers)
            self._first.respond(response, now)

    def accept(
        self,
        transaction: ServerTransaction,
        body: bytes,
        now: float,
        *,
        offered: bool = False,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Send a 2xx to an INVITE and repeat it until its ACK comes.

        ``offered`` says that ``body`` is our offer, whose answer comes with the ACK. ``headers``
        go with it beside the usual ones.
        """
        transaction.acknowledged = lambda ack, now: self._session.receive_ack(
            ack, transaction.flow, now
        )
        headers = [*headers, *self._session.timer.receive_request(transaction.request, now)]
        response = self.response(transaction.request, 200, body=body, headers=headers)
        if self._reliable is not None:
            self._reliable.stop()  # A PRACK for it may still be on its way (RFC 3262 3).
        self._accepting = Repetition(
            self._context, self._session, "2xx", transaction, response, now
        )
        self._offered = offered

    def receive_ack(self, request: Request) -> bool:
        """Whether this is the ACK of our last 2xx; its repetitions end then."""
        if self._accepting is None or request.cseq.number != self._accepting.sequence:
            return False
        self._accepting.stop()
        self._accepting = None
        return True

    @property
    def answer_follows(self) -> bool:
        """Whether the last 2xx carried our offer, so that its ACK has the answer."""
        return self._offered

    @property
    def offer_is_open(self) -> bool:
        """Whether an offer of ours is out, whose answer their ACK will bring."""
        return self._accepting is not None and self._offered

    def receive_prack(self, transaction: ServerTransaction, now: float) -> None:
        """PRACK names the response that it acknowledges (RFC 3262 7.2)."""
        request = transaction.request
        reliable = self._reliable
        status = 481
        if reliable is not None:
            rack = [str(self._reliable_number), str(reliable.sequence), "INVITE"]
            if (request.headers.get("RAck") or "").split() == rack:
                reliable.stop()
                self._reliable = None
                status = 200
        tag = self._session.local_tag
        transaction.respond(response_to(request, status, to_tag=tag), now)
        if self._reliable is None and self._next is not None:
            following, self._next = self._next, None
            self.ring(now, *following)

    def repeat(self, name: str, now: float) -> bool:
        """Serve the timer "2xx" or "1xx". False when the time for an acknowledgement is over."""
        repetition = self._accepting if name == "2xx" else self._reliable
        return repetition is None or repetition.handle_timer(now)

    def stop(self) -> None:
        """End all repetitions."""
        for repetition in (self._accepting, self._reliable):
            if repetition is not None:
                repetition.stop()
        self._accepting = self._reliable = self._next = None
