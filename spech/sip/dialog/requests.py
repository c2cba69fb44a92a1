"""Requests within a dialog, sent again with credentials where a server asks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spech.sip.dialog.context import Context
from spech.sip.dialog.dialog import TARGET_REFRESH, Dialog
from spech.sip.dialog.identity import Identity, Tries
from spech.sip.message.message import Response
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.transaction import ClientTransaction

#: Hears the end of a request: status, the response (None where nobody answered), and the time.
Done = Callable[[int, Response | None, float], None]


class DialogRequest:
    """One request in ``dialog``, and what becomes of it.

    Where a server does not answer, cannot be reached or says 503, the same request goes to the next
    of the dialog's flows (RFC 3263 4.3). ``done`` hears the final response, or 408 or 503 where
    none came. For an INVITE it hears each repetition of a 2xx as well, because each wants an ACK.
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
        self.method = method
        self._context = context
        self._identity = identity
        self._dialog = dialog
        self._headers = tuple(headers)
        self._body = body
        self._done = done
        self._tries = Tries()
        self._failed: set[Flow] = set()
        self._flow = dialog.flow
        self._send(now)

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
        return self._transaction.request.cseq.number

    @property
    def credentials(self) -> list[tuple[str, str]]:
        """The authorization headers of the last try."""
        return self._transaction.request.credentials

    def _send(self, now: float, sequence: int | None = None) -> None:
        flow, headers = self._flow, self._headers
        if self.method in TARGET_REFRESH:
            headers = (("Contact", self._context.contact(flow, self._identity.uri)), *headers)
        via = self._context.via(flow)
        request = self._dialog.request(
            self.method, via, sequence=sequence, headers=headers, body=self._body
        )
        request = self._identity.sign(request)
        self._transaction = self._context.layer.request(request, flow, self, now)

    def give_up(self) -> None:
        """Try no further server: nobody wants the outcome any more."""
        self._failed.update(self._dialog.flows)

    def _next_server(self, now: float) -> bool:
        """Failover. False where there is no further server."""
        self._failed.add(self._flow)
        flow = next((one for one in self._dialog.flows if one not in self._failed), None)
        if flow is None:
            return False
        self._flow = flow
        # The same but for its branch, as RFC 3263 4.3 has it.
        self._send(now, self.sequence)
        return True

    def receive_response(
        self, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        """A response: try again with credentials, or be done."""
        if transaction is not self._transaction:
            return
        if response.status == 503 and self._next_server(now):
            return
        if self._failed and response.status != 503:
            self._dialog.prefer(self._flow)
        if response.status < 200:
            return
        if self._tries.again(self._identity, transaction.request, response):
            self._send(now)
        elif self._done is not None:
            self._done(response.status, response, now)

    def receive_failure(self, transaction: ClientTransaction, status: int, now: float) -> None:
        """No response."""
        if transaction is not self._transaction or self._next_server(now):
            return
        if self._done is not None:
            self._done(status, None, now)
