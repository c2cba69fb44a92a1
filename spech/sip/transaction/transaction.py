"""Runs one transaction table of :mod:`spech.sip.transaction.state`.

A transaction matches, retransmits and gives up; its user interprets the messages. The Via branch
identifies it (RFC 3261 17.1.3, 17.2.3). Pure: the clock comes in as ``now``, seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Protocol

from spech.allowance import Allowance, Purpose
from spech.errors import LocalProtocolError
from spech.sip.message.message import Request, Response
from spech.sip.transaction import state as tables
from spech.sip.transaction.flow import DEFAULT_PORTS, Flow, Outgoing
from spech.sip.transaction.state import Action, Input, TransactionState
from spech.sip.transaction.timers import T1, T2, T4, TRANSACTION_TIMEOUT, TimerSet

#: (branch, sent-by, method), or the headers that identify a request of an RFC 2543 peer.
TransactionKey = tuple[str, ...]


class ClientUser(Protocol):
    """The sender of a request, which is told the responses."""

    def receive_response(
        self, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        """A response arrived that is not a retransmission (2xx to INVITE may repeat)."""

    def receive_failure(self, transaction: ClientTransaction, status: int, now: float) -> None:
        """No response: 408 for a timeout, 503 for a transport error (RFC 3261 8.1.3.1)."""


class Transaction:
    """The common part of client and server transactions: state, table, timers, last message."""

    table: tables.Table
    #: What its messages are to a peer that has proved nothing: see ``allowance``.
    purpose: ClassVar[Purpose] = Purpose.FAREWELL
    #: Timers that are zero on a reliable transport, or not used there at all.
    _unreliable_only: ClassVar[frozenset[str]] = frozenset("AEG")
    _zero_when_reliable: ClassVar[frozenset[str]] = frozenset("DIJK")

    def __init__(
        self,
        request: Request,
        key: TransactionKey,
        flow: Flow,
        state: TransactionState,
        timers: TimerSet,
        send: Callable[[Outgoing], None],
        ended: Callable[[Transaction], None],
    ) -> None:
        self.request = request
        self.key = key
        self.flow = flow
        self.state = state
        #: What may be sent until the peer has proved that it receives us; None where it need not.
        self.allowance: Allowance | None = None
        self._timers = timers
        self._send = send
        self._ended = ended
        #: The last message sent, b"" before the first.
        self.last = b""
        self._interval = T1

    @property
    def pending(self) -> bool:
        """Whether a message from the other end is still expected, so that we should not close."""
        raise LocalProtocolError("a bare transaction has no table")

    @property
    def call_id(self) -> str:
        """The Call-ID of its request."""
        return self.request.call_id

    def __str__(self) -> str:
        return f"{self.request.method} ({self.state.value})"

    def handle_timer(self, name: str, now: float) -> None:
        """Serve the timer ``name`` (one letter)."""
        self._feed(Input[f"TIMER_{name}"], now)

    def transport_failed(self, now: float) -> None:
        """The flow broke. A state that does not list this input ignores it."""
        self._feed(Input.TRANSPORT_ERROR, now)

    def abandon(self) -> None:
        """Forget the transaction and send nothing more."""
        self._enter(TransactionState.TERMINATED)

    def _enter(self, state: TransactionState) -> None:
        if state is TransactionState.TERMINATED and self.state is not TransactionState.TERMINATED:
            self.state = state
            self._timers.clear_all(self)
            self._ended(self)
        self.state = state

    def _feed(self, given: Input, now: float, message: Request | Response | None = None) -> bool:
        """Take one step. False when the state does not list ``given``."""
        transition = self.table.get(self.state, {}).get(given)
        if transition is None:
            return False
        state, actions = transition
        self._enter(state)
        for action in actions:
            self._act(action, now, message)
        return True

    def _act(self, action: Action, now: float, message: Request | Response | None) -> None:
        if action is Action.SEND:
            assert message is not None
            self.last = bytes(message)
            self.send(self.last)
        elif action in tables.STARTS:
            self._start(tables.STARTS[action], now)
        elif action in tables.STOPS:
            self._timers.clear(self, tables.STOPS[action])
        elif action is Action.RETRANSMIT:
            if self.last:
                self.send(self.last)
        else:
            self._report(action, now, message)

    def _report(self, action: Action, now: float, message: Request | Response | None) -> None:
        """Do what only one side does."""
        raise LocalProtocolError("a bare transaction has no table")

    def send(self, data: bytes) -> bool:
        """Send ``data``. False where the allowance does not cover it."""
        if self.allowance is not None and not self.allowance.covers(len(data), self.purpose):
            return False
        self._send(Outgoing(data, self.flow, self))
        return True

    def _start(self, letter: str, now: float) -> None:
        if self.flow.reliable:
            if letter in self._unreliable_only:
                return
            if letter in self._zero_when_reliable:
                self._timers.set(self, letter, now)
                return
        self._timers.set(self, letter, now + self._delay(letter))

    def _delay(self, letter: str) -> float:
        if letter in "AEG":
            # A doubles without limit, E and G up to T2 (17.1.1.2, 17.1.2.2, 17.2.1); in Proceeding
            # E stays at T2.
            if letter == "E" and self.state is TransactionState.PROCEEDING:
                return T2
            delay = self._interval
            self._interval = delay * 2 if letter == "A" else min(delay * 2, T2)
            return delay
        if letter in "IK":
            return T4
        return TRANSACTION_TIMEOUT


class ClientTransaction(Transaction):
    """A request of ours, made by :meth:`spech.sip.transaction.layer.TransactionLayer.request`."""

    def __init__(
        self,
        request: Request,
        key: TransactionKey,
        flow: Flow,
        user: ClientUser,
        timers: TimerSet,
        send: Callable[[Outgoing], None],
        ended: Callable[[Transaction], None],
        fallback: tuple[Request, Flow] | None = None,
    ) -> None:
        invite = request.method == "INVITE"
        self.table = tables.INVITE_CLIENT if invite else tables.CLIENT
        start = TransactionState.CALLING if invite else TransactionState.TRYING
        super().__init__(request, key, flow, start, timers, send, ended)
        self._user = user
        self._fallback = fallback

    @property
    def can_fall_back(self) -> bool:
        """Whether it went over TCP because of its length alone, and no response has come."""
        return self._fallback is not None and self.state in (
            TransactionState.CALLING,
            TransactionState.TRYING,
        )

    def transport_failed(self, now: float) -> None:
        """The flow broke. Use UDP if only the length asked for TCP (RFC 3261 18.1.1)."""
        if self._fallback is None or not self.can_fall_back:
            super().transport_failed(now)
            return
        self.request, self.flow = self._fallback
        self._fallback = None
        self._timers.clear_all(self)
        self.start(now)

    @property
    def pending(self) -> bool:
        return self.state in (
            TransactionState.CALLING,
            TransactionState.TRYING,
            TransactionState.PROCEEDING,
        )

    def start(self, now: float) -> None:
        """Send the request for the first time."""
        for action in (
            (Action.SEND, Action.START_A, Action.START_B)
            if self.request.method == "INVITE"
            else (Action.SEND, Action.START_E, Action.START_F)
        ):
            self._act(action, now, self.request)

    def receive_response(self, response: Response, now: float) -> bool:
        """A response with our branch. False when it was ignored."""
        if response.status < 200:
            given = Input.PROVISIONAL
        elif response.status < 300:
            given = Input.SUCCESS
        else:
            given = Input.FAILURE
        return self._feed(given, now, response)

    def _report(self, action: Action, now: float, message: Request | Response | None) -> None:
        if action is Action.DELIVER:
            assert isinstance(message, Response)
            self._user.receive_response(self, message, now)
        elif action is Action.ACK:
            assert isinstance(message, Response)
            self._send(Outgoing(bytes(self._acknowledge(message)), self.flow))
        elif action is Action.TIMEOUT:
            self._user.receive_failure(self, 408, now)
        elif action is Action.TRANSPORT_FAILURE:
            self._user.receive_failure(self, 503, now)

    def _acknowledge(self, response: Response) -> Request:
        """The ACK for a failure: same branch, the response's To (RFC 3261 17.1.1.3)."""
        return derived(self.request, "ACK", to=response.headers.get("To"))

    def cancel(self) -> Request:
        """The CANCEL that matches this INVITE (RFC 3261 9.1)."""
        return derived(self.request, "CANCEL")


def derived(request: Request, method: str, to: str | None = None) -> Request:
    """ACK or CANCEL of ``request``: same URI, top Via, From, Call-ID, CSeq number and Route."""
    headers = request.headers
    pairs = [("Via", headers.get_all("Via")[0]), ("Max-Forwards", "70")]
    pairs += [("Route", value) for value in headers.get_all("Route")]
    pairs += [
        ("From", headers.get("From") or ""),
        ("To", to or headers.get("To") or ""),
        ("Call-ID", request.call_id),
        ("CSeq", f"{request.cseq.number} {method}"),
    ]
    return Request(method, request.uri, type(headers)(pairs))


class ServerTransaction(Transaction):
    """A request of theirs. ``acknowledged`` gets the ACK of a 2xx where it shares the branch."""

    purpose: ClassVar[Purpose] = Purpose.RESPONSE

    def __init__(
        self,
        request: Request,
        key: TransactionKey,
        flow: Flow,
        timers: TimerSet,
        send: Callable[[Outgoing], None],
        ended: Callable[[Transaction], None],
    ) -> None:
        invite = request.method == "INVITE"
        self.table = tables.INVITE_SERVER if invite else tables.SERVER
        start = TransactionState.PROCEEDING if invite else TransactionState.TRYING
        super().__init__(request, key, flow, start, timers, send, ended)
        self.acknowledged: Callable[[Request, float], None] | None = None
        #: The status of the last response, None before the first.
        self.status: int | None = None

    def transport_failed(self, now: float) -> None:
        """Their connection broke. The response goes over a new one to their Via (18.2.2)."""
        back = self.flow
        if self.flow.transport in ("tcp", "tls") and not self.answered:
            port = self.request.via.port or DEFAULT_PORTS[self.flow.transport]
            back = replace(self.flow, remote=(self.flow.remote[0], port))
        if back == self.flow:
            super().transport_failed(now)
        else:
            self.flow = back

    @property
    def pending(self) -> bool:
        if self.request.method == "INVITE":
            return self.state in (TransactionState.PROCEEDING, TransactionState.COMPLETED)
        return self.state in (TransactionState.TRYING, TransactionState.PROCEEDING)

    def receive_request(self, request: Request, now: float) -> bool:
        """The same request again, or an ACK. False when it was ignored."""
        given = Input.ACK if request.method == "ACK" else Input.REQUEST
        return self._feed(given, now, request)

    def respond(self, response: Response, now: float) -> None:
        """Send ``response``.

        Raises:
            LocalProtocolError: a final response has been sent already.
        """
        if response.status < 200:
            given = Input.SEND_PROVISIONAL
        elif response.status < 300:
            given = Input.SEND_SUCCESS
        else:
            given = Input.SEND_FAILURE
        if not self._feed(given, now, response):
            raise LocalProtocolError(
                f"{self.request.method} is {self.state.value}: too late for a {response.status}"
            )
        self.status = response.status

    @property
    def silent(self) -> bool:
        """Whether no response has been sent."""
        return not self.last

    @property
    def answered(self) -> bool:
        """Whether a final response has been sent."""
        return self.state not in (TransactionState.TRYING, TransactionState.PROCEEDING)

    def _report(self, action: Action, now: float, message: Request | Response | None) -> None:
        # Otherwise our response was not acknowledged, and nothing more can be done.
        if action is Action.DELIVER and self.acknowledged is not None:
            assert isinstance(message, Request)
            self.acknowledged(message, now)
