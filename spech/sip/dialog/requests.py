"""Requests within a dialog, sent again with credentials where a server asks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from spech.sip.dialog.attempts import Attempts
from spech.sip.dialog.context import Context
from spech.sip.dialog.dialog import TARGET_REFRESH, Dialog
from spech.sip.dialog.identity import Identity
from spech.sip.message.message import Request, Response
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.timers import T1
from spech.sip.transaction.transaction import ClientTransaction

#: Called with the outcome of a request: status, the response (None where none came), the time.
RequestDone = Callable[[int, Response | None, float], None]
#: Requests that go to all flows at once after so many seconds without a response. They may arrive
#: twice without harm.
_SPREAD: Final = frozenset({"BYE", "PRACK"})
_SILENCE: Final = 4 * T1
#: Responses to a copy that are not an outcome at the far end.
_NO_OUTCOME: Final = frozenset({401, 403, 407, 408, 503})


class DialogRequest(Attempts):
    """One request in ``dialog``, and its outcome.

    ``done`` is called with the final response, or 408 or 503 where none came; for an INVITE also
    with each repetition of a 2xx, because each needs an ACK.

    A BYE or PRACK that stays without a response goes to all flows of the dialog at once, as copies
    with the same CSeq number; the first response to any of them counts. A Contact that cannot be
    reached would otherwise cost 32 s, and a phone that closes does not wait that long.
    """

    def __init__(
        self,
        context: Context,
        identity: Identity,
        dialog: Dialog,
        method: str,
        now: float,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        done: RequestDone | None = None,
    ) -> None:
        super().__init__(context, identity)
        self.method = method
        self._dialog = dialog
        self._allowance = dialog.allowance
        self._headers = tuple(headers)
        self._body = body
        self._done = done
        self._copies: dict[ClientTransaction, Flow] = {}
        self._start(now)
        if method in _SPREAD:
            self.hurry(now, _SILENCE)

    def __str__(self) -> str:
        return f"the {self.method}"

    @property
    def call_id(self) -> str:
        """The Call-ID of its dialog."""
        return self._dialog.call_id

    @property
    def moved(self) -> bool:
        """Whether an earlier server failed; it may have forwarded the request nevertheless."""
        return bool(self._failed)

    @property
    def overtaken(self) -> bool:
        """Whether the dialog has sent a later request: then this one may be refused with 500."""
        return self.sequence < self._dialog.local_sequence

    @property
    def sequence(self) -> int:
        """The CSeq number of the last try."""
        assert self._transaction is not None
        return self._transaction.request.cseq.number

    @property
    def credentials(self) -> list[tuple[str, str]]:
        """The authorization headers of the last try."""
        assert self._transaction is not None
        return self._transaction.request.credentials

    def _flows(self) -> tuple[Flow, ...]:
        return self._dialog.flows

    def _build(self, flow: Flow, *, failover: bool) -> Request:
        headers = self._headers
        if self.method in TARGET_REFRESH:
            headers = (("Contact", self._context.contact(flow, self.identity.uri)), *headers)
        # A further server gets the same request but for its branch (RFC 3263 4.3).
        return self._dialog.request(
            self.method,
            self._context.via(flow),
            sequence=self.sequence if failover else None,
            headers=headers,
            body=self._body,
        )

    def give_up(self) -> None:
        """Try no further server: the outcome no longer matters."""
        self._failed.update(self._dialog.flows)

    def hurry(self, now: float, patience: float) -> None:
        """Use all flows at once if ``patience`` seconds from now no response has come."""
        if len(self._untried) > 1:
            self._context.timers.set(self, "spread", now + patience)

    def handle_timer(self, name: str, now: float) -> None:
        """Serve "spread": send a copy to each flow that was not tried."""
        for flow in self._untried:
            if flow != self.flow:
                self._failed.add(flow)
                self._send_copy(flow, now, self.sequence)

    def _send_copy(self, flow: Flow, now: float, sequence: int | None) -> None:
        request = self._dialog.request(
            self.method,
            self._context.via(flow),
            sequence=sequence,
            headers=self._headers,
            body=self._body,
        )
        request = self.identity.sign(request, flow)
        copy = self._context.layer.request(request, flow, self, now, self._allowance)
        self._copies[copy] = flow

    def receive_response(
        self, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        """A response. The flow that brought it serves later requests at once."""
        flow = self._copies.get(transaction)
        if flow is not None:
            self._receive_for_copy(flow, transaction, response, now)
            return
        if response.status != 503:
            self._context.timers.clear(self, "spread")
        if transaction is self._transaction and self._failed and response.status != 503:
            self._dialog.prefer(self.flow)
        super().receive_response(transaction, response, now)

    def receive_failure(self, transaction: ClientTransaction, status: int, now: float) -> None:
        """No response."""
        if transaction not in self._copies:
            super().receive_failure(transaction, status, now)
            return
        del self._copies[transaction]
        if not self._copies and self._transaction is not None and not self._transaction.pending:
            self._finished(status, None, now)

    def _receive_for_copy(
        self, flow: Flow, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        if response.status < 200:
            return
        if self._tries.again(self.identity, transaction.request, response, flow):
            del self._copies[transaction]
            self._send_copy(flow, now, None)
        elif response.status in _NO_OUTCOME:
            self.receive_failure(transaction, response.status, now)
        else:
            self._dialog.prefer(flow)
            del self._copies[transaction]
            self.abandon()
            self._finished(response.status, response, now)

    def abandon(self) -> None:
        """Ignore the outcome and send nothing more."""
        super().abandon()
        self._context.timers.clear_all(self)
        for copy in list(self._copies):
            copy.abandon()
        self._copies.clear()

    def _finished(self, status: int, response: Response | None, now: float) -> None:
        if self._copies and (response is None or status in _NO_OUTCOME):
            return  # A copy may still bring the outcome.
        self._context.timers.clear_all(self)
        for copy in list(self._copies):
            copy.abandon()
        self._copies.clear()
        if self._done is not None:
            self._done(status, response, now)
