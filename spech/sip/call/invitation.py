"""Our INVITE: where it goes, who answers, how it is cancelled (RFC 3261 13.2, 9.1; RFC 3262)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spech.agreement import Agreed
from spech.errors import RemoteProtocolError
from spech.sip.call.events import MediaChanged
from spech.sip.call.fork import Fork
from spech.sip.call.leftover import FarewellRecord
from spech.sip.call.leg import Leg
from spech.sip.description.offer_answer import Negotiator
from spech.sip.dialog.attempts import Attempts
from spech.sip.dialog.capabilities import SDP
from spech.sip.dialog.dialog import Dialog
from spech.sip.dialog.requests import DialogRequest
from spech.sip.message.grammar import maybe_number
from spech.sip.message.headers import Headers, NameAddr
from spech.sip.message.message import REASONS, Request, Response, response_to
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.timers import TRANSACTION_TIMEOUT
from spech.sip.transaction.transaction import ClientTransaction, ServerTransaction

#: How many redirections are followed (RFC 3261 8.1.3.4 leaves the number to us).
_MOST_REDIRECTIONS: Final = 5
#: Contacts of one redirection that are looked up: each may cost several queries and seconds.
_MOST_TARGETS: Final = 8
#: How many ends may answer one INVITE (RFC 5393 gives a request a breadth of 60).
_FORKS: Final = 60


class Invitation(Attempts):
    """One INVITE of ours with all its attempts: credentials, further servers, redirections.

    It reports to its session, which decides.
    """

    def __init__(
        self, session: Leg, negotiator: Negotiator, target: Uri, flows: Sequence[Flow]
    ) -> None:
        super().__init__(session.context, session.identity)
        self._session = session
        self._negotiator = negotiator
        self._target = target
        #: Whom we wanted to call; a redirection does not change it (RFC 3261 8.1.3.4).
        self._to = target
        self._servers = list(flows)
        self._body = negotiator.offer()
        #: A call to a ``sips:`` URI is not redirected to a ``sip:`` URI (RFC 3261 26.2.2).
        self._schemes = ("sips",) if target.scheme == "sips" else ("sip", "sips")
        self._sequence = self._context.ids.sequence()
        self._redirections = 0
        self._forks: dict[str, Fork] = {}
        #: What :meth:`farewell_record` has returned, None when it may be another one.
        self._record: FarewellRecord | None = None

    @property
    def dialogs(self) -> tuple[Dialog, ...]:
        """The dialogs that its responses have made so far."""
        return tuple(fork.dialog for fork in self._forks.values())

    def agreed(self, tag: str | None) -> Agreed | None:
        """What the early dialog with that remote tag has agreed on."""
        fork = self._forks.get(tag or "")
        return fork.agreed if fork else None

    def send(self, now: float) -> None:
        """Send it to the first server."""
        self.identity.trust_towards(self._target, self._servers)
        self._start(now)

    def _flows(self) -> list[Flow]:
        return self._servers

    def _build(self, flow: Flow, *, failover: bool) -> Request:
        session = self._session
        session.start_over()
        self._forks.clear()
        self._sequence += 1
        headers = Headers(
            [
                ("Via", self._context.via(flow)),
                ("Max-Forwards", "70"),
                ("From", str(self.identity.address.with_tag(session.local_tag))),
                ("To", f"<{self._to}>"),
                ("Call-ID", session.call_id),
                ("CSeq", f"{self._sequence} INVITE"),
                ("Contact", self._context.contact(flow, self.identity.uri)),
                *session.invite_headers(),
                *session.headers,
                ("Content-Type", SDP),
            ]
        )
        return Request("INVITE", self._target, headers, self._body)

    def _sent(self) -> None:
        self._changed()

    def _changed(self) -> None:
        self._record = None
        self._session.report_change()

    def redirect(self, target: Uri, flows: Sequence[Flow], now: float) -> None:
        """Call a target of a 3xx."""
        self._target = target
        self._servers = list(flows)
        self.send(now)

    def farewell_record(self, local_tag: str) -> FarewellRecord:
        """What is needed to cancel the INVITE after a restart. The same object until it changes."""
        assert self._transaction is not None
        if self._record is None:
            self._record = FarewellRecord.of_invite(
                "CANCEL",
                self._transaction.request,
                self._transaction.flow,
                local_tag,
                self.identity.uri,
                self.dialogs,
            )
        return self._record

    def cancel(self, now: float) -> None:
        """CANCEL. Only after a provisional response (RFC 3261 9.1)."""
        assert self._transaction is not None
        transaction = self._transaction
        self._context.layer.request(transaction.cancel(), transaction.flow, self, now)
        # RFC 3261 9.1: without a final response within 64*T1 the call is considered cancelled.
        self._context.timers.set(self._session, "cancel", now + TRANSACTION_TIMEOUT)

    def _worthwhile(self) -> bool:
        return self._session.still_calling

    # ------------------------------------------------------------------ responses

    def receive_response(
        self, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        """A response to the INVITE. The response to a CANCEL is ignored: the INVITE's counts."""
        if transaction.request.method != "INVITE":
            return
        if self._session.still_calling:
            self._session.received = response.headers
        if 200 <= response.status < 300:
            self._accepted(transaction, response, now)
        elif response.status < 200 and transaction is self._transaction:
            self._progressed(transaction, response, now)
        else:
            super().receive_response(transaction, response, now)

    def _fork(self, transaction: ClientTransaction, response: Response) -> Fork:
        tag = response.to.tag or ""
        fork = self._forks.get(tag)
        if fork is None:
            if len(self._forks) >= _FORKS:
                raise RemoteProtocolError("too many forks of one call")
            request, flow = transaction.request, transaction.flow
            further = self._untried[1:] if transaction is self._transaction else ()
            dialog = Dialog.from_response(request, response, flow, further)
            fork = self._forks[tag] = Fork(dialog)
        return fork

    def _progressed(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if not self._session.heard_from(now) or response.status == 100:
            return
        agreed: Agreed | None = None
        # Without a To tag as well: an RFC 2543 peer has the null tag (RFC 3261 12.1.2).
        known = self._forks.get(response.to.tag or "")
        fork = known or self._fork(transaction, response)
        if known is None:
            self._changed()
        if not self._acknowledge_provisional(fork, transaction, response, now):
            return
        if response.body and not fork.settled:
            try:
                agreed = self._negotiator.receive_answer(response.body)
            except RemoteProtocolError:
                agreed = None  # No early media then; the final answer decides.
            fork.agreed = agreed or fork.agreed
            reliable = "100rel" in response.headers.values("Require")
            fork.settled |= reliable and agreed is not None
        self._session.progressed(response, agreed, now)

    def _acknowledge_provisional(
        self, fork: Fork, transaction: ClientTransaction, response: Response, now: float
    ) -> bool:
        """Send PRACK if required (RFC 3262 4). False for a repetition, or one out of order."""
        number = maybe_number((response.headers.get("RSeq") or "").strip(), 2**32 - 1)
        if "100rel" not in response.headers.values("Require") or number is None:
            return True
        if fork.reliable is not None and number != fork.reliable + 1:
            return False
        fork.reliable = number
        rack = f"{number} {transaction.request.cseq.number} INVITE"
        session = self._session
        self._context.locate(fork.dialog)
        DialogRequest(
            self._context, session.identity, fork.dialog, "PRACK", now, headers=[("RAck", rack)]
        )
        return True

    def drop(self, tag: str | None) -> bool:
        """The early dialog with that remote tag is over. True when none is left."""
        self._forks.pop(tag or "", None)
        return not self._forks

    def receive_update(self, transaction: ServerTransaction, now: float) -> None:
        """UPDATE in an early dialog: a new target, or early media elsewhere (RFC 3311 5.2)."""
        session = self._session
        request = transaction.request
        fork = self._forks[request.from_.tag or ""]
        status, body = 200, b""
        if request.body and not fork.settled:
            status = 491  # Our own offer still waits for its answer.
        elif request.body:
            try:
                body, fork.agreed = self._negotiator.receive_offer(request.body)
            except RemoteProtocolError as error:
                status = error.status
        contact = self._context.contact(fork.dialog.flow, session.identity.uri)
        response = response_to(
            request,
            status,
            to_tag=session.local_tag,
            headers=[("Contact", contact), *self._context.standard_headers()],
            body=body,
            content_type=SDP if body else None,
        )
        transaction.respond(response, now)
        if body and fork.agreed is not None:
            self._context.emit(MediaChanged(session, fork.agreed))

    def _accepted(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        sequence = transaction.request.cseq.number
        known = self._forks.get(response.to.tag or "") or self._forks.pop("", None)
        if known is not None and sequence == known.acknowledged:
            known.acknowledge_again(self._context)
            return
        # The dialog is built again from the 2xx, whose route set counts (RFC 3261 13.2.2.4); what
        # has been sent in the early one keeps its place in the numbering.
        self._forks.pop(response.to.tag or "", None)
        fork = self._fork(transaction, response)
        if known is not None:
            fork.agreed, fork.settled = known.agreed, known.settled
            fork.dialog.local_sequence = known.dialog.local_sequence
            fork.dialog.remote_sequence = known.dialog.remote_sequence
        fork.acknowledge(self._context, self.identity, sequence, transaction.request.credentials)
        self._context.locate(fork.dialog)
        self._session.accepted(fork, response, now)

    def _finished(self, status: int, response: Response | None, now: float) -> None:
        session = self._session
        if response is None:
            session.refused(status, REASONS[status], now)
            return
        session.parting = response.headers
        if session.still_calling:
            if status == 422 and session.timer.lengthen(response):
                self._send(now)
                return
            if status in (301, 302, 305) and self._redirected(response):
                return
        session.refused(status, response.phrase, now)

    def _redirected(self, response: Response) -> bool:
        targets = tuple(
            contact.uri.without_headers
            for contact in sorted(response.contacts, key=_preference, reverse=True)
            if contact.uri.scheme in self._schemes and contact.uri != self._target
        )
        targets = targets[:_MOST_TARGETS]
        self._redirections += 1
        if not targets or self._redirections > _MOST_REDIRECTIONS:
            return False
        self._session.redirected(targets)
        return True


def _preference(contact: NameAddr) -> float:
    """The q of a Contact, 1 where it has none (RFC 3261 20.10)."""
    try:
        return float(contact.parameter("q") or 1)
    except ValueError:
        return 1.0
