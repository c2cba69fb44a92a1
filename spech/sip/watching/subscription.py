"""A subscription of ours, kept alive (RFC 6665 4.1). Pure."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from spech.addresses import numeric
from spech.errors import RemoteProtocolError
from spech.sip.dialog.backoff import BackOff
from spech.sip.dialog.context import Context
from spech.sip.dialog.dialog import Dialog
from spech.sip.dialog.event import Event
from spech.sip.dialog.identity import Identity
from spech.sip.dialog.requests import DialogRequest
from spech.sip.dialog.standalone import StandaloneRequest
from spech.sip.message.grammar import maybe_number
from spech.sip.message.message import REASONS, Response, response_to
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.timers import TRANSACTION_TIMEOUT
from spech.sip.transaction.transaction import ServerTransaction
from spech.sip.watching import content
from spech.sip.watching.content import Content
from spech.sip.watching.dialog_info import DialogInfo
from spech.sip.watching.event_header import EventHeader, SubscriptionStateHeader

#: Refusals that trying again does not change (RFC 6665 4.1.2.2 lists most of them).
_FINAL: Final = frozenset(
    {400, 401, 403, 404, 405, 407, 410, 414, 416, 420, 481, 482, 483, 484, 485, 489, 501, 603, 604}
)
#: Reasons of a notifier after which a new subscription is useless (4.1.3).
_HOPELESS: Final = frozenset({"rejected", "noresource", "invariant"})
#: Reasons after which a new subscription is requested at once.
_AT_ONCE: Final = frozenset({"deactivated", "timeout"})
#: A subscription that lived for this many seconds may be asked for again at once; one that ended
#: earlier waits for the back-off.
_GOOD_SECONDS: Final = 120.0
#: Seconds until it is asked for again then, and from one refresh to the next at the least.
_SOON: Final = 1.0
_LEAST_REFRESH: Final = 5.0
#: Seconds after which a SUBSCRIBE uses the known flows, if the host was not resolved.
_LOOK_UP_SECONDS: Final = 10.0
#: Seconds that DNS has to say where a refresh goes; after that, the known flows serve.
_LOCATE_SECONDS: Final = 2.0
_LONGEST: Final = 86_400


class SubscriptionState(enum.Enum):
    """The state of a subscription."""

    SUBSCRIBING = "subscribing"
    PENDING = "pending"
    ACTIVE = "active"
    WAITING = "waiting"  # It ended or failed, and will be tried again.
    LEAVING = "leaving"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class SubscriptionChanged(Event):
    """A subscription was granted, lost or ended: look at it."""

    subscription: EventSubscription


@dataclass(frozen=True, slots=True)
class Notified(Event):
    """The state that a subscription is about, whole."""

    subscription: EventSubscription
    content: Content


@dataclass(frozen=True, slots=True)
class ResubscribeDue(Event):
    """The target has a host name: resolve it, then call :meth:`EventSubscription.receive_flows`.

    If that does not happen within 10 s, the known flows are used.
    """

    subscription: EventSubscription


class EventSubscription:
    """One subscription. It renews itself, and is requested again when lost, if that may help.

    ``status`` and ``reason`` are those of the last final response to SUBSCRIBE, or of the notifier
    that ended it; ``content`` is the last state that was reported.
    """

    def __init__(
        self,
        context: Context,
        book: dict[tuple[str, str], EventSubscription],
        identity: Identity,
        target: Uri,
        package: str,
        expires: int,
    ) -> None:
        self.target = target
        self.package = package
        self.expires = expires
        self.state = SubscriptionState.SUBSCRIBING
        self.status: int | None = None
        self.reason = ""
        self.content: Content | None = None
        self.call_id = ""
        #: When it ends unless it is renewed, on the caller's clock.
        self.expires_at: float | None = None
        self._context = context
        self._book = book
        self._identity = identity
        self._flows: list[Flow] = []
        #: Whether ResubscribeDue waits to be answered.
        self._looking_up = False
        #: When the notifier accepted it; None while it has not.
        self._since: float | None = None
        #: Whether it ended early before, and was asked for again without a back-off.
        self._ended_early = False
        self._tag = ""
        self._dialog: Dialog | None = None
        self._first: StandaloneRequest | None = None
        self._back_off = BackOff(context.rng)

    def __str__(self) -> str:
        return "the subscription"

    def __repr__(self) -> str:
        return f"<EventSubscription {self.package} {self.target} {self.state.value}>"

    # ------------------------------------------------------------------ from our side

    def subscribe(self, flows: Sequence[Flow], now: float) -> None:
        """Ask for it, trying ``flows`` in turn."""
        self._drop()
        self._flows = list(flows)
        self.state = SubscriptionState.SUBSCRIBING
        self._first = StandaloneRequest(
            self._context,
            self._identity,
            "SUBSCRIBE",
            self.target,
            flows,
            now,
            headers=self._headers(self.expires),
            contact=True,
            done=self._answered,
        )
        self.call_id, self._tag = self._first.call_id, self._first.tag
        self._book[self.call_id, self._tag] = self

    def receive_flows(self, flows: Sequence[Flow], now: float) -> None:
        """The answer to :class:`ResubscribeDue`; ignored when it comes too late."""
        if self._looking_up:
            self.subscribe(flows, now)

    def unsubscribe(self, now: float) -> None:
        """End it (4.1.2.3). Idempotent."""
        if self.state in (SubscriptionState.LEAVING, SubscriptionState.ENDED):
            return
        if self._dialog is None:
            # Without a NOTIFY there is no dialog yet; the first one will get 481, which ends it.
            if self._first is not None:
                self._first.abandon()
            self._end(SubscriptionState.ENDED)
            return
        self._context.timers.clear_all(self)
        self._set(SubscriptionState.LEAVING)
        self._renew(0, now)
        self._context.timers.set(self, "expire", now + TRANSACTION_TIMEOUT)

    def handle_timer(self, name: str, now: float) -> None:
        """Serve "refresh", "located", "expire", "first" and "retry"."""
        if self.state is SubscriptionState.LEAVING:
            self._end(SubscriptionState.ENDED)
        elif name == "refresh":
            self._refresh(now)
        elif name == "located":
            self._renew(self.expires, now)
        elif name == "first":
            self._lost(408, "No NOTIFY came", now)  # Timer N (4.1.2.4).
        elif name == "expire":
            self._ended(now)
        else:
            self._again(now)

    def _refresh(self, now: float) -> None:
        """Renew it, at the addresses that the notifier's name has now (RFC 3263 4)."""
        assert self._dialog is not None
        if self._dialog.unlocated:
            self._context.locate(self._dialog)
            self._context.timers.set(self, "located", now + _LOCATE_SECONDS)
        else:
            self._renew(self.expires, now)

    def _again(self, now: float) -> None:
        """Ask for a new one, at the addresses that the target's name has now (RFC 3263 4)."""
        routes = self._identity.routes
        hop = routes[0].uri if routes else self.target
        named = numeric(hop.parameter("maddr") or hop.host) is None
        if named and not self._looking_up:
            self._end(SubscriptionState.WAITING)
            self._looking_up = True
            self._context.timers.set(self, "retry", now + _LOOK_UP_SECONDS)
            self._context.emit(ResubscribeDue(self))
        else:
            self.subscribe(self._flows, now)

    def _headers(self, expires: int) -> list[tuple[str, str]]:
        return [
            ("Event", self.package),
            ("Expires", str(expires)),
            ("Accept", content.ACCEPT[self.package]),
        ]

    def _renew(self, expires: int, now: float) -> None:
        assert self._dialog is not None
        DialogRequest(
            self._context,
            self._identity,
            self._dialog,
            "SUBSCRIBE",
            now,
            headers=self._headers(expires),
            done=self._answered,
        )

    def _answered(self, status: int, response: Response | None, now: float) -> None:
        if self.state in (
            SubscriptionState.LEAVING,
            SubscriptionState.ENDED,
            SubscriptionState.WAITING,
        ):
            return
        reason = REASONS.get(status, "") if response is None else response.phrase
        if response is not None and status < 300:
            self.status, self.reason = status, reason
            granted = self.expires if response.expires is None else response.expires
            if granted == 0:
                # The state comes once, in a NOTIFY that follows (RFC 6665 4.4.1); until that is
                # asked for again, it is taken.
                self.reason = "The subscription was granted for no time"
                self._context.timers.clear_all(self)
                self._set(SubscriptionState.WAITING)
                self._context.timers.set(self, "retry", now + self._pause(status, now))
                return
            self._granted(granted, now)
            if self._dialog is None:
                self._context.timers.set(self, "first", now + TRANSACTION_TIMEOUT)
        elif status == 423 and response is not None and self._lengthen(response):
            if self._dialog is None:
                self.subscribe(self._flows, now)
            else:
                self._renew(self.expires, now)
        elif self._dialog is not None and status == 481:
            self._ended(now)  # The notifier no longer knows it.
        elif self._dialog is not None and response is None:
            # No response ends the dialog (RFC 3261 12.2.1.2): the notifier may have moved.
            self._lost(status, reason, now)
        elif self._dialog is not None and status not in _FINAL:
            # It lives until it expires; there may be time for another try (4.1.2.2).
            self._context.timers.set(self, "refresh", now + self._pause(status, now))
        else:
            self._lost(status, reason, now, final=status in _FINAL)

    def _granted(self, seconds: int, now: float) -> None:
        seconds = min(max(seconds, 1), _LONGEST)
        self.expires_at = now + seconds
        fraction = self._context.rng.uniform(0.7, 0.85)
        refresh = max(seconds * fraction, _LEAST_REFRESH)
        # A very short one is judged by the answer to its refresh.
        lives = seconds if seconds > _LEAST_REFRESH else refresh + TRANSACTION_TIMEOUT
        self._context.timers.set(self, "expire", now + lives)
        self._context.timers.set(self, "refresh", now + refresh)
        if self._dialog is None:
            self._context.timers.clear(self, "refresh")

    def _lengthen(self, response: Response) -> bool:
        """423 Interval Too Brief: use the interval that the notifier asks for."""
        least = maybe_number((response.headers.get("Min-Expires") or "").strip(), _LONGEST)
        if least is None or least <= self.expires:
            return False
        self.expires = least
        return True

    # ------------------------------------------------------------------ from their side

    def receive_notify(self, transaction: ServerTransaction, now: float) -> None:
        """A NOTIFY reports the state (4.1.3)."""
        request = transaction.request
        event = EventHeader.of(request)
        state = SubscriptionStateHeader.of(request)
        try:
            if event is None or event.package != self.package:
                raise RemoteProtocolError("the NOTIFY is about another event", 481)
            if state is None:
                raise RemoteProtocolError("no Subscription-State", 400)
            self._enter_dialog(transaction)
            told = self._read(transaction)
        except RemoteProtocolError as error:
            headers = [("Accept", content.ACCEPT[self.package])] if error.status == 415 else []
            transaction.respond(response_to(request, error.status, headers=headers), now)
            return
        transaction.respond(response_to(request, 200), now)
        if told is not None:
            self._tell(told, now)
        if self.state is SubscriptionState.WAITING:
            return  # It was granted for no time, and will be asked for again.
        self._context.timers.clear(self, "first")
        if state.word == "terminated":
            self._terminated(state, now)
        elif self.state is not SubscriptionState.LEAVING:
            seconds = self.expires if state.expires is None else state.expires
            left = self.expires if self.expires_at is None else self.expires_at - now
            self._since = now if self._since is None else self._since
            self._granted(int(min(seconds, max(left, 1))), now)
            self._set(
                SubscriptionState.PENDING if state.word == "pending" else SubscriptionState.ACTIVE
            )

    def _enter_dialog(self, transaction: ServerTransaction) -> None:
        """The first NOTIFY makes the dialog; one by another fork is refused (4.4.1, 5.4.9)."""
        request = transaction.request
        if self._dialog is None:
            assert self._first is not None
            self._dialog = Dialog.from_request(request, self._tag, transaction.flow)
            self._dialog.local_sequence = self._first.sequence
        elif self._dialog.remote.tag != request.from_.tag:
            raise RemoteProtocolError("the NOTIFY is from another notifier", 481)
        else:
            self._dialog.receive_request(request, transaction.flow)
        self._context.locate(self._dialog)

    def _read(self, transaction: ServerTransaction) -> Content | None:
        request = transaction.request
        if not request.body:
            return None
        return content.read(self.package, request)

    def _tell(self, told: Content, now: float) -> None:
        if isinstance(told, DialogInfo):
            earlier = self.content if isinstance(self.content, DialogInfo) else None
            if earlier is not None and told.version <= earlier.version and not told.full:
                return  # An old one (RFC 4235 3.2).
            whole = told.after(earlier)
            if whole is None:
                # Something was missed: renewing brings the whole state (RFC 4235 3.7).
                if self.state is not SubscriptionState.LEAVING:
                    self._renew(self.expires, now)
                return
            told = whole
        self.content = told
        self._context.emit(Notified(self, told))

    def _terminated(self, state: SubscriptionStateHeader, now: float) -> None:
        if self.state is SubscriptionState.LEAVING:
            self._end(SubscriptionState.ENDED)
            return
        reason = state.reason or ""
        self.status, self.reason = None, reason
        self._lived_long(now)
        if reason in _HOPELESS:
            self._end(SubscriptionState.ENDED)
        elif reason in _AT_ONCE and state.retry_after is None:
            self._ended(now)
        else:
            self._wait(self._back_off.after_refusal(state.retry_after), now)

    # ------------------------------------------------------------------ the end, and the next try

    def _lived_long(self, now: float) -> bool:
        """Whether it lived long enough to be a good one; that ends the row of failures."""
        if self._since is None or now - self._since < _GOOD_SECONDS:
            return False
        self._back_off.reset()
        self._ended_early = False
        return True

    def _ended(self, now: float) -> None:
        """The notifier no longer knows it, and did not refuse it.

        It is asked for again soon. A notifier that ends each subscription early is asked less and
        less often.
        """
        if self._lived_long(now) or not self._ended_early:
            self._ended_early = True
            self._wait(_SOON, now)
        else:
            self._wait(self._back_off.after_refusal(), now)

    def _lost(self, status: int, reason: str, now: float, *, final: bool = False) -> None:
        self.status, self.reason = status, reason
        if final:
            self._end(SubscriptionState.ENDED)
        else:
            self._wait(self._pause(status, now), now)

    def _pause(self, status: int, now: float) -> float:
        self._lived_long(now)
        if status == 408:
            return self._back_off.after_silence()
        return self._back_off.after_refusal()

    def _wait(self, seconds: float, now: float) -> None:
        self._since = None
        self._end(SubscriptionState.WAITING)
        self._context.timers.set(self, "retry", now + seconds)

    def _end(self, state: SubscriptionState) -> None:
        self._drop()
        self._set(state)

    def _drop(self) -> None:
        self._context.timers.clear_all(self)
        self._book.pop((self.call_id, self._tag), None)
        self._dialog = self._first = None
        self._looking_up = False
        self.expires_at = None

    def _set(self, state: SubscriptionState) -> None:
        if state is not self.state:
            self.state = state
            self._context.emit(SubscriptionChanged(self))
