"""Requests within a dialog, sent again with credentials where a server asks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spech.sip.dialog.attempts import Attempts
from spech.sip.dialog.context import Context
from spech.sip.dialog.dialog import TARGET_REFRESH, Dialog
from spech.sip.dialog.identity import Identity
from spech.sip.message.message import Request, Response
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.transaction import ClientTransaction

#: Called with the outcome of a request: status, the response (None where none came), the time.
Done = Callable[[int, Response | None, float], None]


class DialogRequest(Attempts):
    """One request in ``dialog``, and its outcome.

    ``done`` is called with the final response, or 408 or 503 where none came; for an INVITE also
    with each repetition of a 2xx, because each wants an ACK.
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
        done: Done | None = None,
    ) -> None:
        super().__init__(context, identity)
        self.method = method
        self._dialog = dialog
        self._headers = tuple(headers)
        self._body = body
        self._done = done
        self._start(now)

    @property
    def moved(self) -> bool:
        """Whether an earlier server failed; it may have passed the request on all the same."""
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
        """Try no further server: the outcome does not matter any more."""
        self._failed.update(self._dialog.flows)

    def receive_response(
        self, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        """A response. The flow that brought it serves later requests at once."""
        if transaction is self._transaction and self._failed and response.status != 503:
            self._dialog.prefer(self.flow)
        super().receive_response(transaction, response, now)

    def _finished(self, status: int, response: Response | None, now: float) -> None:
        if self._done is not None:
            self._done(status, response, now)
