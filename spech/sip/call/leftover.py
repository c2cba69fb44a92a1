"""The farewell to a call of a process that was killed, from the record of the call.

:meth:`Session.farewell_record` is stored while the call lives; after a restart
:class:`LeftoverCall` sends the farewell of :data:`~spech.sip.call.states.FAREWELL` that the record
names. Pure, like all of ``sip/call``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Literal, NamedTuple

from spech.errors import RemoteProtocolError
from spech.shares import Standing
from spech.sip.call.fork import Fork
from spech.sip.dialog.context import Context
from spech.sip.dialog.dialog import Dialog
from spech.sip.dialog.identity import Identity
from spech.sip.dialog.requests import DialogRequest
from spech.sip.message.headers import NameAddr
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.parser import parse
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import DEFAULT_PORTS, Flow, FlowRecord
from spech.sip.transaction.timers import T1, TRANSACTION_TIMEOUT
from spech.sip.transaction.transaction import ClientTransaction

#: Added to the CSeq number that was written down: more requests than any call sends (one OPTIONS
#: every 15 s for months), so that no request has to be written down. RFC 3261 12.2.2 accepts any
#: number above the last.
_MARGIN: Final = 1_000_000
_LARGEST_SEQUENCE: Final = 2**31 - 1

#: Early dialogs of one INVITE that are written down; a call has more only where it forks widely.
_EARLY_DIALOGS: Final = 8
#: What CANCEL and a response repeat of an INVITE (RFC 3261 9.1, 8.2.6.2). No credentials.
_HEAD: Final = frozenset(("Via", "Max-Forwards", "Route", "From", "To", "Call-ID", "CSeq"))


class DialogRecord(NamedTuple):
    """What a BYE needs of a dialog (RFC 3261 12); ``sequence`` is a CSeq number of ours."""

    local: str
    remote: str
    target: str
    route_set: tuple[str, ...]
    sequence: int

    @classmethod
    def of(cls, dialog: Dialog) -> DialogRecord:
        """The record of ``dialog``."""
        local, remote, route_set = dialog.written
        return cls(local, remote, str(dialog.target), route_set, dialog.local_sequence)


class FarewellRecord(NamedTuple):
    """What a farewell needs, as plain values: text, numbers and tuples. It holds no secret.

    Attributes:
        farewell: CANCEL for our INVITE, DECLINE for theirs (480), BYE within a dialog.
        call_id: the Call-ID.
        local_tag: our tag.
        account: our address of record, which tells whose credentials answer a challenge.
        flows: where the farewell goes, best first.
        invite: for CANCEL and DECLINE the head of the INVITE: Request-URI, Via, From, To, Call-ID,
            CSeq and Route.
        dialogs: for BYE the dialog, for CANCEL the early dialogs, which get a BYE where the INVITE
            was answered meanwhile (RFC 3261 15).
    """

    farewell: Literal["CANCEL", "DECLINE", "BYE"]
    call_id: str
    local_tag: str
    account: str
    flows: tuple[FlowRecord, ...]
    invite: str = ""
    dialogs: tuple[DialogRecord, ...] = ()

    @classmethod
    def of_invite(
        cls,
        farewell: Literal["CANCEL", "DECLINE"],
        request: Request,
        flow: Flow,
        local_tag: str,
        account: Uri,
        early: Sequence[Dialog] = (),
    ) -> FarewellRecord:
        """For an INVITE without final response; ``request`` is ours or theirs."""
        lines = [f"INVITE {request.uri} SIP/2.0"]
        lines += [f"{name}: {value}" for name, value in request.headers if name in _HEAD]
        return cls(
            farewell,
            request.call_id,
            local_tag,
            str(account),
            (flow.record,),
            "\r\n".join(lines) + "\r\n\r\n",
            tuple(map(DialogRecord.of, early[:_EARLY_DIALOGS])),
        )

    @classmethod
    def of_dialog(cls, dialog: Dialog, account: Uri) -> FarewellRecord:
        """For a call that was answered."""
        return cls(
            "BYE",
            dialog.call_id,
            dialog.local.tag or "",
            str(account),
            tuple([flow.record for flow in dialog.flows]),
            dialogs=(DialogRecord.of(dialog),),
        )


class LeftoverCall:
    """Sends the farewell of ``record``, and handles the responses.

    Args:
        context: the user agent.
        record: the stored record.
        identity: whose credentials answer a challenge; its servers have to be known to it.
        present: the same flow from the address that we have now; a connection is made again.
        now: seconds.
        lives: whether a connection is open still: the process that has the sockets may have stayed.
        done: called once, with the final status of the farewell, or 408 or 503 where none came.

    Raises:
        RemoteProtocolError: the record cannot be read.
    """

    def __init__(
        self,
        context: Context,
        record: FarewellRecord,
        identity: Identity,
        present: Callable[[Flow], Flow],
        now: float,
        done: Callable[[int], None] = lambda status: None,
        lives: Callable[[Flow], bool] = lambda flow: False,
    ) -> None:
        self.call_id: Final = record.call_id
        self._context = context
        self._identity = identity
        self._done = done
        #: Farewells whose final status is missing.
        self._awaited = 1
        written = [Flow(*flow) for flow in record.flows]
        flows = tuple(flow if lives(flow) else present(flow) for flow in written)
        if not flows:
            raise RemoteProtocolError("the record of a farewell has no flow")
        self._dialogs = tuple(_dialog(record.call_id, one, flows) for one in record.dialogs)
        if record.farewell == "BYE":
            if not self._dialogs:
                raise RemoteProtocolError("a farewell without a dialog")
            self._bye(self._dialogs, now)
        else:
            invite = parse(record.invite.encode())
            if not isinstance(invite, Request):
                raise RemoteProtocolError("the record of a farewell is not that of an INVITE")
            if record.farewell == "CANCEL":
                self._cancel(invite, flows[0], now)
            else:
                flow = flows[0] if lives(flows[0]) else _towards_via(invite, flows[0])
                self._decline(invite, flow, record.local_tag, now)

    def __str__(self) -> str:
        return "the farewell to a call of an earlier process"

    def _bye(self, dialogs: Sequence[Dialog], now: float) -> None:
        self._awaited = len(dialogs)
        for dialog in dialogs:
            self._context.locate(dialog)
            request = DialogRequest(
                self._context,
                self._identity,
                dialog,
                "BYE",
                now,
                done=lambda status, response, at: self._finish(status),
            )
            request.hurry(now, T1)

    def _cancel(self, invite: Request, flow: Flow, now: float) -> None:
        layer = self._context.layer
        self._invite = layer.resume(invite, flow, self)
        layer.request(self._invite.cancel(), flow, self, now)
        # RFC 3261 9.1: without a final response within 64*T1 the call is considered cancelled.
        self._context.timers.set(self, "cancel", now + TRANSACTION_TIMEOUT)

    def _decline(self, invite: Request, flow: Flow, tag: str, now: float) -> None:
        transaction = self._context.layer.serve(invite, flow, Standing.KNOWN)
        if transaction is not None:
            transaction.respond(response_to(invite, 480, to_tag=tag), now)
        self._finish(480)

    def receive_response(
        self, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        """A response to the CANCEL, or to the INVITE that it cancels."""
        if transaction.request.method != "INVITE":
            if response.status == 481 and self._dialogs:
                # The INVITE has its final response: it was answered meanwhile, or has failed.
                self._context.timers.clear_all(self)
                self._invite.abandon()
                self._bye(self._dialogs, now)
            elif response.status >= 300:
                self._end_cancel(response.status)
        elif 200 <= response.status < 300:
            # It crossed the CANCEL: acknowledge it, then send BYE (RFC 3261 9.1, 15).
            fork = Fork(Dialog.from_response(transaction.request, response, transaction.flow))
            sequence = transaction.request.cseq.number
            fork.acknowledge(self._context, self._identity, sequence, ())
            self._context.timers.clear_all(self)
            self._bye((fork.dialog,), now)
        elif response.status >= 300:
            self._end_cancel(response.status)

    def receive_failure(self, transaction: ClientTransaction, status: int, now: float) -> None:
        """No response to the CANCEL."""
        self._end_cancel(status)

    def handle_timer(self, name: str, now: float) -> None:
        """Serve "cancel": no final response to the INVITE came."""
        self._end_cancel(408)

    def _end_cancel(self, status: int) -> None:
        self._context.timers.clear_all(self)
        if status in (408, 481, 503):
            self._invite.abandon()
        self._finish(status)

    def _finish(self, status: int) -> None:
        self._awaited -= 1
        if self._awaited == 0:
            self._done(status)


def _towards_via(request: Request, flow: Flow) -> Flow:
    """Where a response goes if the connection of its request has closed (RFC 3261 18.2.2)."""
    if not flow.reliable:
        return flow
    port = request.via.port or DEFAULT_PORTS[flow.transport]
    return replace(flow, remote=(flow.remote[0], port))


def _dialog(call_id: str, record: DialogRecord, flows: tuple[Flow, ...]) -> Dialog:
    dialog = Dialog(
        call_id=call_id,
        local=NameAddr.parse(record.local),
        remote=NameAddr.parse(record.remote),
        target=Uri.parse(record.target),
        route_set=tuple(NameAddr.parse(route) for route in record.route_set),
        local_sequence=min(record.sequence + _MARGIN, _LARGEST_SEQUENCE - 1),
        remote_sequence=None,
        set_up=flows,
    )
    dialog.flows = flows
    return dialog
