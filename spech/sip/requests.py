"""Requests within a dialog, sent again with credentials where a server asks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from spech.sip.dialog import Dialog
from spech.sip.identity import Identity, Tries
from spech.sip.message import Response
from spech.sip.transaction import ClientTransaction

if TYPE_CHECKING:
    from spech.sip.session import Context

#: Hears the end of a request: status, the response (None where nobody answered), and the time.
Done = Callable[[int, Response | None, float], None]


class DialogRequest:
    """One request in ``dialog``, and what becomes of it.

    ``done`` hears the final response, or 408 or 503 where none came. For an INVITE it hears each
    repetition of a 2xx as well, because each wants an ACK.
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
        self._send(now)

    @property
    def sequence(self) -> int:
        """The CSeq number of the last try."""
        return self._transaction.request.cseq.number

    @property
    def credentials(self) -> list[tuple[str, str]]:
        """The authorization headers it carried; an ACK repeats them (RFC 3261 22.1)."""
        return [
            (name, value)
            for name, value in self._transaction.request.headers
            if name in ("Authorization", "Proxy-Authorization")
        ]

    def _send(self, now: float) -> None:
        flow = self._dialog.flow
        request = self._dialog.request(
            self.method, self._context.via(flow), headers=self._headers, body=self._body
        )
        request = self._identity.sign(request)
        self._transaction = self._context.layer.request(request, flow, self, now)

    def receive_response(
        self, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        """A response: try again with credentials, or be done."""
        if response.status < 200 or transaction is not self._transaction:
            return
        if self._tries.again(self._identity, transaction.request, response):
            self._send(now)
        elif self._done is not None:
            self._done(response.status, response, now)

    def receive_failure(self, transaction: ClientTransaction, status: int, now: float) -> None:
        """No response."""
        if self._done is not None and transaction is self._transaction:
            self._done(status, None, now)
