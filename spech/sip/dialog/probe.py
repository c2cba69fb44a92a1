"""Periodic OPTIONS to a server, to notice when it dies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from spech.sip.dialog.context import Context
from spech.sip.message.headers import Headers, NameAddr
from spech.sip.message.message import Request, Response
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.transaction import ClientTransaction

#: Seconds between two requests, and until one counts as lost. Together they are the time in which
#: a server's death is noticed. A request is sent five times in its 8 s.
_PAUSE: Final = 12.0
_PATIENCE: Final = 8.0


class Probe:
    """Asks a server for OPTIONS every 12 s, without credentials.

    Any response shows that the server lives, a refusal too. Nothing is concluded from the silence
    of a server that has never answered one; it is not asked again.

    Args:
        context: the user agent.
        address: the From of the requests.
        target: their Request-URI.
        silent: called with the time when a server that has answered before is silent.
    """

    def __init__(
        self, context: Context, address: NameAddr, target: Uri, silent: Callable[[float], None]
    ) -> None:
        self.call_id = context.ids.call_id()
        self._context = context
        self._address = address
        self._target = target
        self._silent = silent
        self._tag = context.ids.tag()
        self._sequence = context.ids.sequence()
        self._flow: Flow | None = None
        #: Whether the server of the flow answers OPTIONS; None as long as that is not known.
        self._answers: bool | None = None
        self._transaction: ClientTransaction | None = None

    def __str__(self) -> str:
        return "the probe"

    def start(self, flow: Flow, now: float) -> None:
        """Probe the server of ``flow`` from now on."""
        self.stop()
        if flow != self._flow:
            self._flow, self._answers = flow, None
        if self._answers is not False:
            seconds = _PAUSE * self._context.rng.uniform(0.8, 1.0)
            self._context.timers.set(self, "probe", now + seconds)

    def stop(self) -> None:
        """Send nothing more, and ignore what is outstanding."""
        self._context.timers.clear_all(self)
        if self._transaction is not None:
            self._transaction.abandon()
            self._transaction = None

    def handle_timer(self, name: str, now: float) -> None:
        """Serve the timers "probe" and "lost"."""
        if name == "probe":
            self._send(now)
        else:
            self._lost(now)

    def _send(self, now: float) -> None:
        assert self._flow is not None
        self._sequence += 1
        headers = [
            ("Via", self._context.via(self._flow)),
            ("Max-Forwards", "70"),
            ("From", str(self._address.with_tag(self._tag))),
            ("To", f"<{self._target}>"),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self._sequence} OPTIONS"),
            *self._context.standard_headers(),
        ]
        request = Request("OPTIONS", self._target, Headers(headers))
        self._context.timers.set(self, "lost", now + _PATIENCE)
        self._transaction = self._context.layer.request(request, self._flow, self, now)

    def receive_response(
        self, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        """The server lives."""
        if transaction is self._transaction and self._flow is not None:
            self._answers = True
            self._transaction = None
            self.start(self._flow, now)

    def receive_failure(self, transaction: ClientTransaction, status: int, now: float) -> None:
        """The request could not be sent."""
        if transaction is self._transaction:
            self._lost(now)

    def _lost(self, now: float) -> None:
        self.stop()
        if self._answers:
            self._silent(now)
        else:
            self._answers = False
