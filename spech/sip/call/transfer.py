"""Call transfer: REFER within a call, sent and received (RFC 3515, 3892, 5589).

A REFER makes an implicit subscription: who follows it tells by NOTIFY how far the new call is, in
bodies of type ``message/sipfrag`` (RFC 3420).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.sip import events
from spech.sip.call.replaces import Replaces, embedded
from spech.sip.dialog.capabilities import ALLOW_EVENTS, content_type
from spech.sip.dialog.requests import DialogRequest
from spech.sip.message.headers import NameAddr
from spech.sip.message.message import REASONS, Request, Response, response_to
from spech.sip.message.uri import Uri
from spech.sip.transaction.transaction import ServerTransaction
from spech.sip.watching.event_header import EventHeader, SubscriptionState

if TYPE_CHECKING:
    from spech.sip.call.session import Session

_FRAGMENT: Final = "message/sipfrag;version=2.0"
_STATUS_LINE: Final = re.compile(rb"SIP/2\.0 ([1-6][0-9][0-9])(?: ([^\r\n]{0,200}))?(?:\r?\n|$)")
#: Seconds for which whoever referred us is told what becomes of it.
LIFETIME: Final = 180


class Transfer:
    """A REFER of ours: the far end is asked to call ``target``.

    ``status`` and ``reason`` are the latest that is known of the far end's new call; a final status
    is the outcome. ``over`` says that nothing more will come.
    """

    def __init__(self, session: Session, target: Uri, now: float) -> None:
        self.session = session
        self.target = target
        self.status = 100
        self.reason = REASONS[100]
        self.over = False
        #: Whether they said that they will do it.
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
            reason = REASONS.get(status, "") if response is None else response.reason
            self.progress(status, reason, over=True)

    def progress(self, status: int, reason: str, *, over: bool) -> None:
        """News of the far end's call."""
        if over and status < 200:
            # The subscription ends without an outcome; nobody will ever tell.
            status, reason = 408, "No outcome was told"
        self.status, self.reason = status, reason
        self.over = over or status >= 200
        self.session.context.emit(events.TransferProgress(self.session, self))


class Referral:
    """A REFER of theirs, accepted: we are asked to call ``target``, and tell how that goes.

    It outlives the call in which it came, because who transfers a call may leave it at once
    (RFC 5589 6.1).
    """

    def __init__(self, session: Session, request: Request, now: float) -> None:
        self.session = session
        uri, self.replaces = refer_to(request)
        #: Whom to call.
        self.target = uri
        #: Who asks, where that is said (RFC 3892).
        self.referred_by = request.headers.get("Referred-By")
        self.over = False
        #: Whether the last news has not been sent yet.
        self.pending = False
        assert session.dialog is not None
        self.call_id = session.call_id
        self._context = session.context
        self._identity = session.identity
        self._dialog = session.dialog
        self._identifier = str(request.cseq.number)
        self._status = (100, REASONS[100])
        self._expires_at = now + LIFETIME
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

    def belongs(self, session: Session, identifier: str | None) -> bool:
        """Whether a SUBSCRIBE in ``session`` is about us (RFC 3515 2.4.4)."""
        same = session is self.session and identifier in (None, self._identifier)
        return same and not self.over

    def progress(self, status: int, reason: str) -> None:
        """News of the new call; a final status is the outcome. Told as soon as time is served."""
        if not self.over:
            self._status = (status, reason)
            self.over = status >= 200
            self.pending = True
            self._context.timers.set(self, "notify", 0.0)

    def renew(self, seconds: int, now: float) -> int:
        """Their SUBSCRIBE: the seconds granted; 0 ends the subscription."""
        granted = min(seconds, LIFETIME)
        if granted == 0:
            self.over = True
        self._expires_at = now + granted
        self._context.timers.set(self, "expire", self._expires_at)
        self._context.timers.set(self, "notify", 0.0)
        return granted

    def handle_timer(self, name: str, now: float) -> None:
        """Tell what there is to tell."""
        if name == "expire" and not self.over:
            self._status = (408, REASONS[408])
            self.over = True
        self.pending = False
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
        if status >= 300:  # They do not care any more (RFC 6665 4.2.2).
            self.over = True
            self._context.timers.clear_all(self)


class Transfers:
    """All transfers of one user agent, sent and received."""

    def __init__(self) -> None:
        self._sent: dict[Session, Transfer] = {}
        self._received: list[Referral] = []
        self._followed: dict[Session, Referral] = {}

    @property
    def pending(self) -> bool:
        """Whether news waits to be told."""
        return any(referral.pending for referral in self._received)

    # ------------------------------------------------------------------ from our side

    def request(self, session: Session, target: Uri, now: float) -> Transfer:
        """Ask the far end of ``session`` to call ``target``.

        Raises:
            LocalProtocolError: the call is not up, or is being transferred already.
        """
        earlier = self._sent.get(session)
        if not session.is_up:
            raise LocalProtocolError("only a call that is up can be transferred")
        if earlier is not None and not earlier.over:
            raise LocalProtocolError("the call is being transferred already")
        transfer = self._sent[session] = Transfer(session, target, now)
        return transfer

    def receive_notify(self, session: Session, transaction: ServerTransaction, now: float) -> None:
        """News of a transfer of ours."""
        request = transaction.request
        event = EventHeader.of(request)
        transfer = self._sent.get(session)
        if event is None or event.package != "refer":
            _respond(session, transaction, 489, now, [("Allow-Events", ALLOW_EVENTS)])
        elif transfer is None or not transfer.belongs(event.identifier):
            _respond(session, transaction, 481, now)
        else:
            self._take_news(transfer, transaction, now)

    def _take_news(self, transfer: Transfer, transaction: ServerTransaction, now: float) -> None:
        request = transaction.request
        state = SubscriptionState.of(request)
        line = _STATUS_LINE.match(request.body)
        if content_type(request) != "message/sipfrag":
            accept = [("Accept", "message/sipfrag")]
            _respond(transfer.session, transaction, 415, now, accept)
        elif state is None or line is None:
            _respond(transfer.session, transaction, 400, now)
        else:
            _respond(transfer.session, transaction, 200, now)
            reason = (line[2] or b"").decode(errors="replace")
            transfer.progress(int(line[1]), reason, over=state.word == "terminated")

    # ------------------------------------------------------------------ from their side

    def receive_refer(self, session: Session, transaction: ServerTransaction, now: float) -> None:
        """They ask us to call somebody: 202 and news where the program takes that, else 603."""
        request = transaction.request
        try:
            refer_to(request)
        except RemoteProtocolError as error:
            _respond(session, transaction, error.status, now)
            return
        if not (session.takes_transfers and session.is_up):
            _respond(session, transaction, 603, now)
            return
        referral = Referral(session, request, now)
        self._received = [known for known in self._received if not known.over]
        self._received.append(referral)
        _respond(session, transaction, 202, now)
        referral.progress(100, REASONS[100])
        session.context.emit(events.TransferRequested(session, referral))

    def receive_subscribe(
        self, session: Session, transaction: ServerTransaction, now: float
    ) -> None:
        """They renew or end the subscription that their REFER made."""
        event = EventHeader.of(transaction.request)
        if event is None or event.package != "refer":
            _respond(session, transaction, 489, now, [("Allow-Events", "refer")])
            return
        for referral in self._received:
            if referral.belongs(session, event.identifier):
                expires = transaction.request.expires
                granted = referral.renew(LIFETIME if expires is None else expires, now)
                _respond(session, transaction, 200, now, [("Expires", str(granted))])
                return
        _respond(session, transaction, 481, now)

    def follow(self, referral: Referral, session: Session) -> None:
        """``session`` is the call that ``referral`` asked for: who asked hears how it goes."""
        self._followed[session] = referral

    def observe(self, event: events.Event) -> None:
        """Something happened to a call: it may be one that somebody waits for."""
        match event:
            case events.Ringing(session, status, reason):
                self._tell(session, status, reason)
            case events.EarlyMedia(session, status, _):
                self._tell(session, status, REASONS.get(status, ""))
            case events.Answered(session, _):
                self._tell(session, 200, REASONS[200])
                self._followed.pop(session, None)
            case events.CallEnded(session, by, status, reason):
                self._tell(session, status, reason)
                self._followed.pop(session, None)
                transfer = self._sent.pop(session, None)
                if transfer is not None and not transfer.over:
                    # They left with the transfer under way, which is what they were asked for; what
                    # comes of it they will not tell us any more. Where we left, nobody asks.
                    status = 200 if by == "remote" and transfer.accepted else 487
                    transfer.progress(status, REASONS[status], over=True)

    def _tell(self, session: Session, status: int, reason: str) -> None:
        referral = self._followed.get(session)
        if referral is not None:
            referral.progress(status, reason)


def refer_to(request: Request) -> tuple[Uri, Replaces | None]:
    """Whom a REFER names, and whose place the new call shall take (RFC 3515 2.4.2).

    Raises:
        RemoteProtocolError: 400, when Refer-To is missing, doubled or unusable, 603 for a URI that
            we cannot call.
    """
    values = request.headers.get_all("Refer-To")
    if len(values) != 1:
        raise RemoteProtocolError(f"{len(values)} headers Refer-To instead of one")
    uri = NameAddr.parse(values[0]).uri
    if uri.scheme not in ("sip", "sips") or uri.parameter("method") not in (None, "INVITE"):
        raise RemoteProtocolError("Refer-To is nothing that can be called", 603)
    return replace(uri, headers="").without("method"), embedded(uri)


def _respond(
    session: Session,
    transaction: ServerTransaction,
    status: int,
    now: float,
    headers: list[tuple[str, str]] | None = None,
) -> None:
    request = transaction.request
    if session.dialog is not None:
        response = session.responder.response(request, status, headers=headers or ())
    else:
        response = response_to(request, status, to_tag=session.local_tag, headers=headers or ())
    transaction.respond(response, now)
