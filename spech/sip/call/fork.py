"""One answerer of an INVITE of ours, and the ACK that its 2xx gets (RFC 3261 13.2.2.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from spech.agreement import Agreed
from spech.sip.dialog.context import Context
from spech.sip.dialog.dialog import Dialog
from spech.sip.dialog.identity import Identity
from spech.sip.transaction.flow import Flow, Outgoing


@dataclass(slots=True)
class Fork:
    """One answerer of our INVITE: an object of its own for every early dialog."""

    dialog: Dialog
    agreed: Agreed | None = None
    #: The CSeq number of the INVITE that was acknowledged last.
    acknowledged: int | None = None
    #: The RSeq of the last reliable provisional response (RFC 3262 4).
    reliable: int | None = None
    #: Whether our offer has its final answer, so that another one may follow (RFC 3262 5).
    settled: bool = False
    _identity: Identity | None = None
    _credentials: Sequence[tuple[str, str]] = ()
    _ack: Outgoing | None = None
    #: How often that ACK has gone out, and the flows that ACKs have taken.
    _sent: int = 0
    _used: set[Flow] = field(default_factory=set)

    def acknowledge(
        self,
        context: Context,
        identity: Identity,
        sequence: int,
        credentials: Sequence[tuple[str, str]],
    ) -> None:
        """ACK for a 2xx: a request of its own in the dialog (RFC 3261 13.2.2.4).

        ``credentials`` are those of the INVITE (22.1), for the servers that may see them.
        """
        self.acknowledged = sequence
        self._identity = identity
        self._credentials = credentials
        self._ack = None
        self._used.clear()
        self.acknowledge_again(context)

    def acknowledge_again(self, context: Context) -> None:
        """The same for a repeated 2xx. After two repetitions the ACK takes the next flow.

        Requests follow it: the flow whose ACK stopped the repetitions is known to work.
        """
        ack = self._ack
        flow = ack.flow if ack else self.dialog.flow
        if ack is not None and self._sent >= 2:
            flow = next((one for one in self.dialog.flows if one not in self._used), flow)
            self.dialog.prefer(flow)
        if ack is None or ack.flow != flow:
            may_see = self._identity is not None and self._identity.trusts(flow)
            headers = self._credentials if may_see else ()
            request = self.dialog.request(
                "ACK", context.via(flow), sequence=self.acknowledged, headers=headers
            )
            self._ack = ack = Outgoing(bytes(request), flow)
            self._sent = 0
            self._used.add(flow)
        self._sent += 1
        context.send(ack)
