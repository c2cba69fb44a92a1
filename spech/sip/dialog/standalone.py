"""Requests outside any dialog: MESSAGE, the first SUBSCRIBE (RFC 3261 8.1)."""

from __future__ import annotations

from collections.abc import Sequence

from spech.sip.dialog.attempts import Attempts
from spech.sip.dialog.context import Context
from spech.sip.dialog.identity import Identity
from spech.sip.dialog.requests import RequestDone
from spech.sip.message.headers import Headers
from spech.sip.message.message import Request, Response
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow


class StandaloneRequest(Attempts):
    """One request; ``done`` is called with its outcome."""

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
        done: RequestDone,
    ) -> None:
        super().__init__(context, identity)
        self.call_id = context.ids.call_id()
        self.tag = context.ids.tag()
        #: The CSeq number of the last try.
        self.sequence = context.ids.sequence()
        self._method = method
        self._target = target
        self._servers = list(flows)
        self._headers = tuple(headers)
        self._contact = contact
        self._body = body
        self._done = done
        identity.trust_towards(target, flows)
        self._start(now)

    def _flows(self) -> list[Flow]:
        return self._servers

    def _build(self, flow: Flow, *, failover: bool) -> Request:
        self.sequence += 1
        pairs = [
            ("Via", self._context.via(flow)),
            ("Max-Forwards", "70"),
            ("From", str(self.identity.address.with_tag(self.tag))),
            ("To", f"<{self._target}>"),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.sequence} {self._method}"),
        ]
        if self._contact:
            pairs.append(("Contact", self._context.contact(flow, self.identity.uri)))
        headers = Headers([*pairs, *self._headers, *self._context.standard_headers()])
        return Request(self._method, self._target, headers, self._body)

    def _finished(self, status: int, response: Response | None, now: float) -> None:
        self._done(status, response, now)
