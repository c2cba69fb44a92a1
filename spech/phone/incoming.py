"""Incoming calls, as a program answers or rejects them."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Final

import trio

from spech.errors import CallEnded, LocalProtocolError, RemoteProtocolError
from spech.phone.arguments import check_refusal
from spech.phone.call import Call
from spech.phone.calls import Calls, EventQueue
from spech.phone.fields import (
    Diversion,
    cause_header,
    diversions,
    goes_round,
    sendable,
    shown,
    user_to_user,
)
from spech.phone.rules import CallRules, DiversionReason, TurnedAway, without_forwarding
from spech.sip.call.session import Session
from spech.sip.description.media_security import Policy
from spech.sip.description.offer_answer import Negotiator
from spech.sip.dialog.caller import number_of
from spech.sip.dialog.credentials import CHALLENGES
from spech.sip.timeline import Entry

_log: Final = logging.getLogger(__name__)

#: Incoming calls queued for ``incoming_calls()``; further ones are refused with 486.
_WAITING_ROOM: Final = 32


class IncomingCall:
    """A ringing incoming call. Answer it, reject it, or wait until the caller gives up."""

    def __init__(self, calls: Calls, session: Session, queue: EventQueue) -> None:
        self._calls = calls
        self._session = session
        self._queue = queue
        self._forwarded_to = ""
        #: A program answers it.
        self._taken = False

    def __repr__(self) -> str:
        return f"<IncomingCall from {self.caller_number}>"

    @property
    def caller_number(self) -> str:
        """The user part of the caller's address, or its host; "anonymous" when it is withheld.

        An identity that our registrar, an allowed caller or this machine asserts (RFC 3325) takes
        precedence; see :attr:`asserted`.
        """
        return self._session.caller.number

    @property
    def display_name(self) -> str | None:
        """The caller's name, None without one."""
        return self._session.caller.display_name

    @property
    def asserted(self) -> bool:
        """Whether the server that we are registered with asserts the identity (RFC 3325 5)."""
        assert self._session.dialog is not None
        source = self._session.dialog.set_up[0].remote[0]
        return self._session.caller.asserted and self._calls.endpoint.agent.registered_at(source)

    @property
    def called(self) -> str:
        """The number or name that was called: the user part of the Request-URI."""
        assert self._session.invited_by is not None
        uri = self._session.invited_by.uri
        return number_of(uri) if uri.user else ""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The header fields of the INVITE, in order, with canonical names (``X-Customer``).

        Anyone can write them. Credentials and asserted identities are left out; see
        :attr:`caller_number` and :attr:`asserted` for the latter.
        """
        assert self._session.invited_by is not None
        return shown(self._session.invited_by.headers)

    @property
    def diversions(self) -> tuple[Diversion, ...]:
        """How the call was diverted to us, the latest step first (RFC 5806); not verified."""
        return diversions(self._session.received)

    @property
    def user_to_user(self) -> bytes | None:
        """The caller's user-to-user information (RFC 7433), decoded; None without any."""
        return user_to_user(self._session.received)

    @property
    def call_id(self) -> str:
        """The Call-ID."""
        return self._session.call_id

    @property
    def timeline(self) -> tuple[Entry, ...]:
        """The events so far, in order; times are those of ``trio.current_time()``."""
        return self._calls.endpoint.agent.timeline.entries(self.call_id)

    @property
    def over(self) -> bool:
        """Whether the caller gave up, or the call was rejected."""
        return self._session.ended is not None

    @property
    def forwarded_to(self) -> str:
        """Where it was forwarded to, as it was entered; "" if it was not."""
        return self._forwarded_to

    @property
    def rings(self) -> bool:
        """Whether it waits for an answer."""
        return not self.over and not self._taken

    @property
    def answered_elsewhere(self) -> bool:
        """Whether another phone answered it (RFC 3326); then it is not a missed call."""
        return self._session.answered_elsewhere

    def reject(
        self,
        status: int = 486,
        *,
        headers: Mapping[str, str] | None = None,
        cause: int | None = None,
    ) -> None:
        """Decline with a SIP status: 486 busy, 480 not available, 603 declined.

        Args:
            status: from 400 to 699. A 401 or 407 has to carry a challenge (RFC 3261 21.4.2).
                Without one in ``headers`` it becomes a 480: the refusal of another call must not
                ask the caller for a password.
            headers: header fields for the response: ``{"Retry-After": "60"}``.
            cause: the cause for the telephone network (ITU-T Q.850), in a Reason header.

        Raises:
            LocalProtocolError: ``status`` or ``cause`` is out of range, or a header field cannot
                be sent.
        """
        check_refusal(status)
        fields = (*sendable(headers), *cause_header(cause))
        if status in CHALLENGES and CHALLENGES[status][0] not in dict(fields):
            status = 480
        self._decline(status, fields)

    def redirect(self, *targets: str, reason: DiversionReason | None = None) -> None:
        """Send the caller to other addresses, the best first (302 Moved Temporarily).

        Args:
            targets: numbers or names at the account's server, or SIP URIs.
            reason: tells the targets who forwards, and why, in a Diversion header (RFC 5806).

        Raises:
            LocalProtocolError: there is none, or one is neither a number nor a SIP URI.
        """
        if not targets:
            raise LocalProtocolError("a redirection needs a target")
        uris = [self._calls.complete(target) for target in targets]
        step = 1 / len(uris)
        contacts = [f"<{uri}>;q={1 - step * place:.3g}" for place, uri in enumerate(uris)]
        headers = [("Contact", ", ".join(contacts))]
        if reason is not None and self._session.invited_by is not None:
            own = self._session.invited_by.to.uri.address
            headers.append(("Diversion", f"<{own}>;reason={reason}"))
        self._forwarded_to = targets[0]
        self._decline(302, headers)

    def _decline(self, status: int, headers: Sequence[tuple[str, str]] = ()) -> None:
        if self.over:
            return
        with self._calls.endpoint.command() as (_, now):
            self._session.hang_up(now, status, headers=headers)

    async def ended(self) -> None:
        """Wait until it is over: abandoned by the caller, rejected, or answered and ended."""
        await self._queue.over.wait()

    def answer(
        self,
        codecs: Sequence[str] | None = None,
        *,
        encryption: Policy | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AbstractAsyncContextManager[Call]:
        """Answer for the time of an ``async with`` block; leaving it hangs up.

        Args:
            codecs: names in order of preference; the phone's own by default. An offer without any
                of the phone's own codecs is refused before it rings.
            encryption: see :class:`~spech.Account`; the account's by default.
            headers: header fields for the 200, besides the usual ones.

        Raises:
            CallEnded: the caller has given up.
            LocalProtocolError: a header field cannot be sent.
            RemoteProtocolError: no codec or encryption in common; the call was refused with 488.
            PortsExhausted: no RTP port is free; the call was refused with 480.
        """
        fields = sendable(headers)
        return self._open(
            codecs,
            encryption,
            lambda negotiator, now: self._session.answer(negotiator, now, fields),
        )

    def progress(
        self, codecs: Sequence[str] | None = None, *, encryption: Policy | None = None
    ) -> AbstractAsyncContextManager[Call]:
        """Let sound flow before the answer (183 Session Progress), until :meth:`Call.answer`.

            async with incoming.progress() as call:
                await call.play("please_wait.wav").played()
                call.answer()

        Most callers are not charged meanwhile; some networks carry sound to them only. A call that
        is not answered in the block is declined with 480; :meth:`reject` gives another status.

        Args:
            codecs: as for :meth:`answer`.
            encryption: as for :meth:`answer`.

        Raises:
            CallEnded, RemoteProtocolError, PortsExhausted: as for :meth:`answer`.
            LocalProtocolError: early media is not possible, because the INVITE has no offer.
        """
        return self._open(codecs, encryption, self._session.begin_early_media)

    @asynccontextmanager
    async def _open(
        self,
        codecs: Sequence[str] | None,
        encryption: Policy | None,
        respond: Callable[[Callable[[int], Negotiator], float], None],
    ) -> AsyncIterator[Call]:
        if self.over:
            raise CallEnded("The caller gave up.")
        self._taken = True
        try:
            async with self._calls.answer(
                self._session, self._queue, self.caller_number, codecs, encryption, respond
            ) as call:
                yield call
        finally:
            self._decline(480)  # Does nothing if the call was answered.


class IncomingQueue:
    """Lets incoming calls ring if the program takes them, and refuses or forwards the others.

    Args:
        calls: the phone's calls.
        rules: what becomes of calls before a program sees them.
    """

    def __init__(self, calls: Calls, rules: CallRules) -> None:
        self._calls = calls
        self._rules = rules
        self._open = False
        self._arrivals_in, self._arrivals = trio.open_memory_channel[IncomingCall](_WAITING_ROOM)
        self._turned_away_in, self._turned_away = trio.open_memory_channel[IncomingCall](
            _WAITING_ROOM
        )
        #: Calls that ring and may be forwarded, and since when.
        self._ringing: list[tuple[IncomingCall, float]] = []
        self._changed = trio.Event()

    @property
    def rules(self) -> CallRules:
        """The rules, for calls that ring already too."""
        return self._rules

    @rules.setter
    def rules(self, rules: CallRules) -> None:
        self._rules = rules
        self._wake()

    def incoming_calls(self) -> AsyncIterator[IncomingCall]:
        """See :meth:`spech.Phone.incoming_calls`."""
        self._open = True
        return _Arrivals(self._arrivals)

    def turned_away(self) -> AsyncIterator[IncomingCall]:
        """See :meth:`spech.Phone.turned_away`."""
        return self._turned_away

    async def forward_unanswered(self) -> None:
        """Forward calls that ring for too long, until cancelled."""
        while True:
            self._ringing = [(call, since) for call, since in self._ringing if call.rings]
            rules, now, due = self._rules, trio.current_time(), math.inf
            for call, since in self._ringing if rules.forward_unanswered else ():
                if since + rules.unanswered_after > now:
                    due = min(due, since + rules.unanswered_after)
                else:
                    _forward(call, rules.forward_unanswered, "no-answer")
            with trio.move_on_at(due):
                await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def receive_invite(self, session: Session) -> None:
        """Let an incoming call ring, refuse it or forward it."""
        if session.replaces is not None:
            self._calls.replace(session.replaces, session)
            return
        now = self._calls.endpoint.now()
        status = self._refusal(session)
        if status is not None:
            session.hang_up(now, status=status)
            return
        goes_round = self._goes_round(session)
        rules = without_forwarding(self._rules) if goes_round else self._rules
        decision = rules.decide(busy=self._calls.busy)
        incoming = IncomingCall(self._calls, session, self._calls.open_queue(session))
        if decision is not None:
            self._turn_away(incoming, decision)
            return
        self._arrivals_in.send_nowait(incoming)
        session.ring(now)
        if not goes_round:
            self._ringing = [entry for entry in self._ringing if entry[0].rings]
            self._ringing.append((incoming, now))
            if self._rules.forward_unanswered:
                self._wake()

    def _goes_round(self, session: Session) -> bool:
        """Whether a call may have been forwarded here before."""
        assert session.invited_by is not None
        account = self._calls.account
        own = [session.invited_by.to.uri, *([] if account is None else [account.uri])]
        return goes_round(session.received, *own)

    def _turn_away(self, incoming: IncomingCall, decision: TurnedAway) -> None:
        if decision.target:
            _forward(incoming, decision.target, decision.reason)
        incoming.reject(480 if decision.target else decision.status)
        # Those that nobody reads about are forgotten.
        with suppress(trio.WouldBlock):
            self._turned_away_in.send_nowait(incoming)

    def _refusal(self, session: Session) -> int | None:
        """The status that refuses a call now, or None."""
        if not self._open:
            return 480
        if self._arrivals.statistics().current_buffer_used >= _WAITING_ROOM:
            return 486
        try:
            self._calls.judge(session)
        except RemoteProtocolError as error:
            return error.status
        return None


def _forward(incoming: IncomingCall, target: str, reason: DiversionReason) -> None:
    """Forward a call. One whose target cannot be called is left as it is."""
    try:
        incoming.redirect(target, reason=reason)
    except LocalProtocolError as error:
        _log.warning("the call from %s is not forwarded: %s", incoming.caller_number, error)


class _Arrivals(AsyncIterator[IncomingCall]):
    """Waiting calls, without those whose callers gave up.

    Not a generator, so that it may be left at any time.
    """

    def __init__(self, arrivals: trio.MemoryReceiveChannel[IncomingCall]) -> None:
        self._arrivals = arrivals

    async def __anext__(self) -> IncomingCall:
        while (incoming := await self._arrivals.receive()).over:
            pass
        return incoming
