"""One request and all its attempts: answers to challenges, and further servers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from spech.allowance import Allowance
from spech.sip.dialog.context import Context
from spech.sip.dialog.credentials import CHALLENGES
from spech.sip.dialog.identity import Identity, Tries
from spech.sip.message.message import Request, Response
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.transaction import ClientTransaction


class Attempts(ABC):
    """Sends a request until it has an outcome.

    A challenge is answered with credentials (RFC 3261 22.2, 22.3). Where a server is silent, cannot
    be reached or says 503, the request goes to the next flow (RFC 3263 4.3). Each attempt is a
    transaction of its own; what older ones still receive is ignored.
    """

    def __init__(self, context: Context, identity: Identity) -> None:
        self.identity = identity
        self._context = context
        self._tries = Tries()
        self._failed: set[Flow] = set()
        self._flow: Flow | None = None
        self._transaction: ClientTransaction | None = None
        #: What may be sent, for a peer that has proved nothing.
        self._allowance: Allowance | None = None

    @abstractmethod
    def _flows(self) -> Sequence[Flow]:
        """Where the request may go, best first."""

    @abstractmethod
    def _build(self, flow: Flow, *, failover: bool) -> Request:
        """The request for an attempt over ``flow``, unsigned.

        ``failover`` says that the last server failed; otherwise the sequence number is a new one.
        """

    @abstractmethod
    def _finished(self, status: int, response: Response | None, now: float) -> None:
        """The outcome: a final response, or 408 or 503 where none came."""

    def _worthwhile(self) -> bool:
        """Whether another attempt is still wanted."""
        return True

    @property
    def flow(self) -> Flow:
        """The flow of the current attempt."""
        assert self._flow is not None
        return self._flow

    @property
    def _untried(self) -> list[Flow]:
        return [flow for flow in self._flows() if flow not in self._failed]

    def _start(self, now: float) -> None:
        """Send the request to the first flow, with nothing tried yet."""
        self._tries = Tries()
        self._failed.clear()
        self._flow = self._flows()[0]
        self._send(now)

    def _send(self, now: float, *, failover: bool = False) -> None:
        request = self.identity.sign(self._build(self.flow, failover=failover), self.flow)
        self._transaction = self._context.layer.request(
            request, self.flow, self, now, self._allowance
        )
        self._sent()

    def _sent(self) -> None:
        """Called after each attempt went out."""
        return

    def _next_server(self, now: float) -> bool:
        """Failover. False where no further server is left."""
        self._failed.add(self.flow)
        untried = self._untried
        if not untried:
            return False
        self._flow = untried[0]
        self._send(now, failover=True)
        return True

    @property
    def pending(self) -> bool:
        """Whether an attempt waits for its final response."""
        return self._transaction is not None and self._transaction.pending

    def abandon(self) -> None:
        """Ignore the outcome and send nothing more."""
        if self._transaction is not None:
            self._transaction.abandon()

    def receive_response(
        self, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        """A response to the current attempt: try again, or pass on the outcome."""
        if transaction is not self._transaction or response.status < 200:
            return
        if self._worthwhile() and self._tries.again(
            self.identity, transaction.request, response, self.flow
        ):
            self._send(now)
        elif not (self._worthwhile() and self._is_fault(response) and self._next_server(now)):
            self._finished(response.status, response, now)

    def _is_fault(self, response: Response) -> bool:
        """Whether another server may do what this one refuses: 503, or a foreign challenge."""
        if response.status in CHALLENGES and not self.identity.trusts(self.flow):
            return any(self.identity.trusts(flow) for flow in self._untried)
        return response.status == 503

    def receive_failure(self, transaction: ClientTransaction, status: int, now: float) -> None:
        """The current attempt got no response."""
        if transaction is not self._transaction:
            return
        if not (self._worthwhile() and self._next_server(now)):
            self._finished(status, None, now)
