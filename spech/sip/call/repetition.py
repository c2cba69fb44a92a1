"""A response that is repeated until the other end acknowledges it.

That is a 2xx to INVITE until its ACK (RFC 3261 13.3.1.4), and a reliable provisional response until
its PRACK (RFC 3262 3). Both go at T1, doubling; a 2xx up to T2.
"""

from __future__ import annotations

from spech.sip.dialog.context import Context
from spech.sip.message.message import Response
from spech.sip.transaction.timers import T1, T2, TRANSACTION_TIMEOUT, TimerOwner
from spech.sip.transaction.transaction import ServerTransaction


class Repetition:
    """Repeats ``response`` on a timer named ``name`` of ``owner``, who passes the timer on."""

    def __init__(
        self,
        context: Context,
        owner: TimerOwner,
        name: str,
        transaction: ServerTransaction,
        response: Response,
        now: float,
    ) -> None:
        self.transaction = transaction
        #: The CSeq number of the request that is answered.
        self.sequence = transaction.request.cseq.number
        self._context = context
        self._owner = owner
        self._name = name
        self._deadline = now + TRANSACTION_TIMEOUT
        self._interval = T1
        transaction.respond(response, now)
        self._data = transaction.last
        context.timers.set(owner, name, now + T1)

    def handle_timer(self, now: float) -> bool:
        """Repeat. False when 64*T1 have passed without an acknowledgement."""
        if now >= self._deadline:
            return False
        if not self.transaction.send(self._data):
            self._context.note(
                self.transaction.call_id,
                "not repeated: the caller may be forged, and hears nothing",
            )
        self._interval *= 2
        if self._name == "2xx":
            self._interval = min(self._interval, T2)
        at = min(now + self._interval, self._deadline)
        self._context.timers.set(self._owner, self._name, at)
        return True

    def stop(self) -> None:
        """The acknowledgement came."""
        self._context.timers.clear(self._owner, self._name)
