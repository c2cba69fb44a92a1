"""Call transfer: REFER within a call, sent and received (RFC 3515, 3892, 5589).

A REFER makes an implicit subscription: the end that follows it reports the progress of the new call
by NOTIFY, in bodies of type ``message/sipfrag`` (RFC 3420).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.sip.call.events import Party
from spech.sip.call.leg import Leg
from spech.sip.call.replaces import Replaces, embedded
from spech.sip.dialog.capabilities import ALLOW_EVENTS, content_type
from spech.sip.dialog.event import Event
from spech.sip.dialog.requests import DialogRequest
from spech.sip.message.headers import NameAddr
from spech.sip.message.message import REASONS, Request, Response
from spech.sip.message.uri import Uri
from spech.sip.transaction.transaction import ServerTransaction
from spech.sip.watching.event_header import EventHeader, SubscriptionStateHeader

_FRAGMENT: Final = "message/sipfrag;version=2.0"
_STATUS_LINE: Final = re.compile(rb"SIP/2\.0 ([1-6][0-9][0-9])(?: ([^\r\n]{0,200}))?(?:\r?\n|$)")
#: Seconds that the program has to take transfers, before one that came early is declined.
_MOMENT: Final = 0.5
#: Seconds for which we report the progress of a transfer to the end that asked for it.
REFER_LIFETIME: Final = 180


@dataclass(frozen=True, slots=True)
class TransferProgress(Event):
    """The state of a transfer that we asked for has changed."""

    session: Leg
    transfer: Transfer


@dataclass(frozen=True, slots=True)
class TransferRequested(Event):
    """The far end asks us to call a third party. It was answered 202: follow it or decline it."""

    session: Leg
    referral: Referral


class Transfer:
    """A REFER of ours: the far end is asked to call ``target``.

    ``status`` and ``reason`` are the latest that is known of the far end's new call; a final status
    is the outcome. ``over`` says that nothing more will come.
    """

    def __init__(self, session: Leg, target: Uri, now: float) -> None:
        self.session = session
        self.target = target
        self.status = 100
        self.reason = REASONS[100]
        self.over = False
        #: Whether they have accepted it.
        self.accepted = False
        assert session.dialog is not None
        self._request = DialogRequest(
            session.context,
            session.identity,
            session.dialog,
            "REFER",
            now,
            headers=[
                ("Refer-To", f"<{target}>"),
                ("Referred-By", f"<{session.identity.uri.address}>"),
                *session.context.standard_headers(),
            ],
            done=self._answered,
        )

    def belongs(self, identifier: str | None) -> bool:
        """Whether a NOTIFY with this ``id`` is about us; the first one may have none (2.4.6)."""
        return not self.over and identifier in (None, str(self._request.sequence))

    def _answered(self, status: int, response: Response | None, now: float) -> None:
        self.accepted = status < 300
        if not self.accepted and not self.over:
            reason = REASONS.get(status, "") if response is None else response.phrase
            self.progress(status, reason, over=True)

    def progress(self, status: int, reason: str, *, over: bool) -> None:
        """A NOTIFY about the far end's call."""
        if over and status < 200:
            # The subscription ends without an outcome, so none will come.
            status, reason = 408, "No outcome was reported"
        self.status, self.reason = status, reason
        self.over = over or status >= 200
        self.session.context.emit(TransferProgress(self.session, self))


class Referral:
    """A REFER of theirs, accepted: we are asked to call ``target``, and report the progress.

    It outlives the call in which it came, because the end that transfers a call may hang up at
    once (RFC 5589 6.1).
    """

    def __init__(self, session: Leg, request: Request, now: float) -> None:
        self.session = session
        uri, self.replaces = refer_to(request)
        #: Whom to call.
        self.target = uri
        #: Referred-By of the REFER, or None (RFC 3892).
        self.referred_by = request.headers.get("Referred-By")
        self.over = False
        assert session.dialog is not None
        self.call_id = session.call_id
        self._context = session.context
        self._identity = session.identity
        self._dialog = session.dialog
        self._identifier = str(request.cseq.number)
        self._status = (100, REASONS[100])
        self._expires_at = now + REFER_LIFETIME
        self._context.timers.set(self, "expire", self._expires_at)

    def __str__(self) -> str:
        return "the referral"

    @property
    def headers(self) -> list[tuple[str, str]]:
        """What the INVITE that follows it carries."""
        carried = []
        if self.replaces is not None:
            carried += [("Replaces", str(self.replaces)), ("Require", "replaces")]
        if self.referred_by is not None:
            carried.append(("Referred-By", self.referred_by))
        return carried

    def belongs(self, identifier: str | None) -> bool:
        """Whether a SUBSCRIBE with this ``id`` is about us (RFC 3515 2.4.4)."""
        return identifier in (None, self._identifier) and not self.over

    def decline(self, status: int, now: float) -> None:
        """Decline it; does nothing once its outcome was reported."""
        self.progress(status, REASONS.get(status, ""), now)

    def progress(self, status: int, reason: str, now: float) -> None:
        """Report the progress of the new call; a final status is the outcome."""
        if not self.over:
            self._status = (status, reason)
            self.over = status >= 200
            self._notify(now)

    def renew(self, transaction: ServerTransaction, now: float) -> None:
        """Their SUBSCRIBE: grant at most :data:`REFER_LIFETIME`; 0 ends the subscription."""
        expires = transaction.request.expires
        granted = REFER_LIFETIME if expires is None else min(expires, REFER_LIFETIME)
        headers = [("Expires", str(granted))]
        transaction.respond(self.session.response(transaction.request, 200, headers=headers), now)
        if granted == 0:
            self.over = True
        self._expires_at = now + granted
        self._context.timers.set(self, "expire", self._expires_at)
        self._notify(now)

    def handle_timer(self, name: str, now: float) -> None:
        """Serve "expire": the outcome did not come in time."""
        if not self.over:
            self.progress(408, REASONS[408], now)

    def _notify(self, now: float) -> None:
        status, reason = self._status
        state = "terminated;reason=noresource"
        if not self.over:
            state = f"active;expires={max(1, round(self._expires_at - now))}"
        else:
            self._context.timers.clear_all(self)
        DialogRequest(
            self._context,
            self._identity,
            self._dialog,
            "NOTIFY",
            now,
            headers=[
                ("Event", f"refer;id={self._identifier}"),
                ("Subscription-State", state),
                ("Content-Type", _FRAGMENT),
            ],
            body=f"SIP/2.0 {status} {reason}\r\n".encode(),
            done=self._told,
        )

    def _told(self, status: int, response: Response | None, now: float) -> None:
        if status >= 300:  # The subscription is gone at the other end (RFC 6665 4.2.2).
            self.over = True
            self._context.timers.clear_all(self)


class Transfers:
    """The transfers of one call: the one that we asked for, and those that the far end asks for."""

    def __init__(self, session: Leg) -> None:
        self._session = session
        self._sent: Transfer | None = None
        self._received: list[Referral] = []
        #: A REFER that waits because the program takes no transfers yet.
        self._waiting: ServerTransaction | None = None

    # ------------------------------------------------------------------ from our side

    def request(self, target: Uri, now: float) -> Transfer:
        """Ask the far end to call ``target``.

        Raises:
            LocalProtocolError: the call is not up, or is being transferred already.
        """
        if not self._session.is_up:
            raise LocalProtocolError("only a call that is up can be transferred")
        if self._sent is not None and not self._sent.over:
            raise LocalProtocolError("the call is being transferred already")
        self._sent = Transfer(self._session, target, now)
        return self._sent

    def receive_notify(self, transaction: ServerTransaction, now: float) -> None:
        """A NOTIFY about a transfer of ours."""
        event = EventHeader.of(transaction.request)
        if event is None or event.package != "refer":
            self._respond(transaction, 489, now, [("Allow-Events", ALLOW_EVENTS)])
        elif self._sent is None or not self._sent.belongs(event.identifier):
            self._respond(transaction, 481, now)
        else:
            self._take_news(self._sent, transaction, now)

    def _take_news(self, transfer: Transfer, transaction: ServerTransaction, now: float) -> None:
        request = transaction.request
        state = SubscriptionStateHeader.of(request)
        line = _STATUS_LINE.match(request.body)
        if state is not None and not request.body:
            # The end, without an outcome; or an empty notification (RFC 6665 4.2.2).
            self._respond(transaction, 200, now)
            if state.word == "terminated":
                transfer.progress(transfer.status, transfer.reason, over=True)
        elif content_type(request) != "message/sipfrag":
            self._respond(transaction, 415, now, [("Accept", "message/sipfrag")])
        elif state is None or line is None:
            self._respond(transaction, 400, now)
        else:
            self._respond(transaction, 200, now)
            reason = (line[2] or b"").decode(errors="replace")
            transfer.progress(int(line[1]), reason, over=state.word == "terminated")

    def call_ended(self, by: Party, now: float) -> None:
        """The call is over, perhaps with a transfer of ours in progress."""
        self.decide(now)
        transfer = self._sent
        if transfer is not None and not transfer.over:
            # The far end hangs up because it follows the transfer; it will not report the
            # outcome any more. Where we hung up, the outcome does not matter.
            status = 200 if by == "remote" and transfer.accepted else 487
            transfer.progress(status, REASONS[status], over=True)

    # ------------------------------------------------------------------ from their side

    def receive_refer(self, transaction: ServerTransaction, now: float) -> None:
        """Their REFER: 202 and NOTIFYs where the program follows transfers, otherwise 603.

        It may arrive with the ACK, before the program takes transfers. So it waits for a moment.
        """
        session = self._session
        try:
            refer_to(transaction.request)
        except RemoteProtocolError as error:
            self._respond(transaction, error.status, now)
            return
        if session.is_up and not session.takes_transfers and self._waiting is None:
            self._waiting = transaction
            session.context.timers.set(session, "refer", now + _MOMENT)
        else:
            self._answer(transaction, now)

    def decide(self, now: float) -> None:
        """Answer the REFER that waits, if one does: the program takes transfers, or time is up."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._session.context.timers.clear(self._session, "refer")
            self._answer(waiting, now)

    def _answer(self, transaction: ServerTransaction, now: float) -> None:
        session = self._session
        if not (session.takes_transfers and session.is_up):
            self._respond(transaction, 603, now)
            return
        referral = Referral(session, transaction.request, now)
        self._received = [known for known in self._received if not known.over]
        self._received.append(referral)
        self._respond(transaction, 202, now)
        referral.progress(100, REASONS[100], now)
        session.context.emit(TransferRequested(session, referral))

    def receive_subscribe(self, transaction: ServerTransaction, now: float) -> None:
        """They renew or end the subscription that their REFER made."""
        event = EventHeader.of(transaction.request)
        if event is None or event.package != "refer":
            self._respond(transaction, 489, now, [("Allow-Events", "refer")])
            return
        for referral in self._received:
            if referral.belongs(event.identifier):
                referral.renew(transaction, now)
                return
        self._respond(transaction, 481, now)

    def _respond(
        self,
        transaction: ServerTransaction,
        status: int,
        now: float,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        response = self._session.response(transaction.request, status, headers=headers)
        transaction.respond(response, now)


def refer_to(request: Request) -> tuple[Uri, Replaces | None]:
    """The target of a REFER, and the call that the new one replaces (RFC 3515 2.4.2).

    A ``tel:`` URI is a number to call at the server of the account (RFC 3966).

    Raises:
        RemoteProtocolError: 400, when Refer-To is missing, doubled or unusable, 603 for a URI that
            we cannot call.
    """
    values = request.headers.get_all("Refer-To")
    if len(values) != 1:
        raise RemoteProtocolError(f"{len(values)} Refer-To header fields instead of one")
    uri = NameAddr.parse(values[0]).uri
    if uri.scheme == "tel":
        return uri, None
    if uri.scheme not in ("sip", "sips") or uri.parameter("method") not in (None, "INVITE"):
        raise RemoteProtocolError("Refer-To is not a URI that can be called", 603)
    return replace(uri, headers="").without("method"), embedded(uri)
