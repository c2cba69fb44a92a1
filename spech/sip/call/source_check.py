"""Requests of a call from an address that the call does not know.

Anyone who has seen a Call-ID and two tags could end or move a call from anywhere. So a request
within a dialog is accepted at once only from the hosts of its flows, its route set and its Contact,
from our registrar, from configured peers, and over loopback. That includes a peer to which a NAT
gives another port. For any other address, for example after a change of networks, OPTIONS is sent
to the peer's previous address. If the peer responds there, the request is refused with 403. If it
is silent for two seconds, it has moved, and the request is accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from spech.addresses import numeric
from spech.sip.call.leg import Leg
from spech.sip.dialog.dialog import Dialog
from spech.sip.dialog.requests import DialogRequest
from spech.sip.message.message import Response
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.timers import T1
from spech.sip.transaction.transaction import ServerTransaction

#: Seconds that the peer has to respond at its previous address.
_SILENCE: Final = 4 * T1


class SourceCheck:
    """Decides about the requests of one call. ``resume`` gets those that had to wait."""

    def __init__(self, leg: Leg, resume: Callable[[ServerTransaction, float], None]) -> None:
        self._leg = leg
        self._resume = resume
        self._followed: set[str] = set()
        self._held: ServerTransaction | None = None
        self._question: DialogRequest | None = None

    def knows(self, flow: Flow) -> bool:
        """Whether a request over ``flow`` may be about this call."""
        host = flow.remote[0]
        address = numeric(host)
        return (
            (address is not None and address.is_loopback)
            or host in self._followed
            or any(host in dialog.hosts for dialog in self._leg.dialogs)
            or self._leg.context.is_trusted_host(host)
        )

    def admit(self, dialog: Dialog, transaction: ServerTransaction, now: float) -> bool:
        """Whether to process a request now. Otherwise it has been answered, or waits."""
        if self.knows(transaction.flow):
            return True
        if not self._leg.is_up or dialog is not self._leg.dialog or self._held is not None:
            self._respond(transaction, 403, now)
            return False
        self._held = transaction
        self._leg.context.timers.set(self._leg, "moved", now + _SILENCE)
        self._question = DialogRequest(
            self._leg.context, self._leg.identity, dialog, "OPTIONS", now, done=self._answered
        )
        return False

    def handle_timer(self, now: float) -> None:
        """Serve "moved": the peer is silent at its previous address."""
        self._follow(now)

    def stop(self, now: float) -> None:
        """The call is over."""
        held = self._clear()
        if held is not None:
            self._respond(held, 481, now)

    def _answered(self, status: int, response: Response | None, now: float) -> None:
        if response is None:
            self._follow(now)
            return
        held = self._clear()
        if held is not None:
            self._leg.context.note(self._leg.call_id, f"refused a request from {held.flow}")
            self._respond(held, 403, now)

    def _follow(self, now: float) -> None:
        held = self._clear()
        if held is not None:
            self._followed.add(held.flow.remote[0])
            self._resume(held, now)

    def _clear(self) -> ServerTransaction | None:
        held, self._held = self._held, None
        if self._question is not None:
            self._question.abandon()
            self._question = None
        self._leg.context.timers.clear(self._leg, "moved")
        return held

    def _respond(self, transaction: ServerTransaction, status: int, now: float) -> None:
        if not transaction.answered:
            transaction.respond(self._leg.response(transaction.request, status), now)
