"""Requests outside any dialog: MESSAGE, the first SUBSCRIBE (RFC 3261 8.1)."""

from __future__ import annotations

from collections.abc import Sequence

from spech.sip.dialog.context import Context
from spech.sip.dialog.identity import Identity, Tries
from spech.sip.dialog.requests import Done
from spech.sip.message.headers import Headers
from spech.sip.message.message import Request, Response
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.transaction import ClientTransaction


class StandaloneRequest:
    """One request with all its tries: credentials, further servers.

    ``done`` hears the final response, or 408 or 503 where none came.
    """

    def __init__(
        self,
        context: Context,
        identity: Identity,
        method: str,
        target: Uri,
        flows: Sequence[Flow],
        now: float,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        contact: bool = False,
        done: Done,
    ) -> None:
        self.call_id = context.ids.call_id()
        self.tag = context.ids.tag()
        #: The CSeq number of the last try.
        self.sequence = context.ids.sequence()
        self._context = context
        self._identity = identity
        self._method = method
        self._target = target
        self._flows = list(flows)
        self._headers = tuple(headers)
        self._contact = contact
        self._body = body
        self._done = done
        self._tries = Tries()
        self._send(now)

    def _send(self, now: float) -> None:
        flow = self._flows[0]
        self.sequence += 1
        pairs = [
            ("Via", self._context.via(flow)),
            ("Max-Forwards", "70"),
            ("From", str(self._identity.address.with_tag(self.tag))),
            ("To", f"<{self._target}>"),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.sequence} {self._method}"),
        ]
        if self._contact:
            pairs.append(("Contact", self._context.contact(flow, self._identity.uri)))
        headers = Headers([*pairs, *self._headers, *self._context.standard_headers()])
        request = self._identity.sign(Request(self._method, self._target, headers, self._body))
        self._transaction = self._context.layer.request(request, flow, self, now)

    def abandon(self) -> None:
        """Wait for nothing any more."""
        self._transaction.abandon()

    def receive_response(
        self, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        """A response: try again with credentials or elsewhere, or be done."""
        if response.status < 200 or transaction is not self._transaction:
            return
        if self._tries.again(self._identity, transaction.request, response):
            self._send(now)
        elif response.status != 503 or not self._next_server(now):
            self._done(response.status, response, now)

    def receive_failure(self, transaction: ClientTransaction, status: int, now: float) -> None:
        """No response."""
        if transaction is self._transaction and not self._next_server(now):
            self._done(status, None, now)

    def _next_server(self, now: float) -> bool:
        """Failover (RFC 3263 4.3). False where there is no further server."""
        if len(self._flows) < 2:
            return False
        self._flows.pop(0)
        self._send(now)
        return True
