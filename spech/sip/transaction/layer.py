"""Matches messages to transactions (RFC 3261 17.1.3 and 17.2.3), and creates transactions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from spech.addresses import Address
from spech.allowance import Allowance
from spech.shares import Shares, Standing, source_of
from spech.sip.message.ids import MAGIC_COOKIE
from spech.sip.message.message import Request, Response, SipMessage
from spech.sip.message.parser import parse
from spech.sip.transaction.flow import Flow, Outgoing
from spech.sip.transaction.state import TransactionState
from spech.sip.transaction.timers import TimerSet
from spech.sip.transaction.transaction import (
    ClientTransaction,
    ClientUser,
    ServerTransaction,
    Transaction,
    TransactionKey,
)

#: Bytes of the longest request that goes by UDP where the path's MTU is unknown (RFC 3261 18.1.1).
LARGEST_DATAGRAM: Final = 1300
_REMEMBERED: Final = 1000
#: The method and branch of a request of ours that an ICMP error quotes, perhaps cut short.
_QUOTED: Final = re.compile(rb"([A-Z]+) [^\r\n]+\r\nVia: [^\r\n]+?;branch=([^;,\r\n]+)[;,\r]")
#: What a server transaction takes in memory besides the text of its request, in bytes.
_OVERHEAD: Final = 8192


class TransactionLayer:
    """All transactions of one user agent.

    ``limit`` bounds the memory of the server transactions alive at once, in bytes: a request as
    phones send it takes about 9,000. Sources share it; see :class:`~spech.shares.Shares`.
    """

    def __init__(
        self, timers: TimerSet, send: Callable[[Outgoing], None], *, limit: int = 100_000_000
    ) -> None:
        self._timers = timers
        self._send = send
        self._shares = Shares(limit)
        self._clients: dict[TransactionKey, ClientTransaction] = {}
        self._servers: dict[TransactionKey, ServerTransaction] = {}
        #: The first copy of each INVITE outside dialogs that is in progress.
        self._first: dict[tuple[str, str | None, int], ServerTransaction] = {}
        #: Peers without TCP, learned from requests that were too long for UDP.
        self._without_tcp: set[Address] = set()

    def request(
        self,
        request: Request,
        flow: Flow,
        user: ClientUser,
        now: float,
        allowance: Allowance | None = None,
    ) -> ClientTransaction:
        """Send ``request`` over ``flow``; ``user`` is told the outcome.

        ``allowance`` bounds what is sent to a peer that has proved nothing.
        """
        key = (request.via.branch or "", request.method)
        fallback = None
        if (
            flow.transport == "udp"
            and flow.remote not in self._without_tcp
            and len(bytes(request)) > LARGEST_DATAGRAM
        ):
            fallback = (request, flow)
            request, flow = _over_tcp(request, flow)
        transaction = ClientTransaction(
            request, key, flow, user, self._timers, self._send, self._client_ended, fallback
        )
        transaction.allowance = allowance
        self._clients[key] = transaction
        transaction.start(now)
        return transaction

    def resume(self, request: Request, flow: Flow, user: ClientUser) -> ClientTransaction:
        """Take the responses to an INVITE that an earlier process sent; nothing is sent."""
        key = (request.via.branch or "", request.method)
        transaction = ClientTransaction(
            request, key, flow, user, self._timers, self._send, self._client_ended
        )
        transaction.state = TransactionState.PROCEEDING
        self._clients[key] = transaction
        return transaction

    def receive_response(self, response: Response, now: float) -> bool:
        """Pass a response to its transaction. False when there is none, or it ignored it."""
        key = (response.via.branch or "", response.cseq.method)
        transaction = self._clients.get(key)
        return transaction is not None and transaction.receive_response(response, now)

    def match(self, request: Request, method: str | None = None) -> ServerTransaction | None:
        """The server transaction of ``request``, or of the INVITE of an ACK or CANCEL."""
        if method is None:
            method = "INVITE" if request.method == "ACK" else request.method
        return self._servers.get(server_key(request, method))

    def serve(self, request: Request, flow: Flow, standing: Standing) -> ServerTransaction | None:
        """A transaction for a request that matched none; None when there is no room."""
        source, size = source_of(flow.remote[0]), _size(request)
        if not self._shares.take(source, size, standing):
            return None
        key = server_key(request, request.method)
        transaction = ServerTransaction(
            request, key, flow, self._timers, self._send, self._server_ended
        )
        self._servers[key] = transaction
        if request.method == "INVITE" and request.to.tag is None:
            self._first.setdefault(request.origin, transaction)
        return transaction

    def merged(self, transaction: ServerTransaction) -> bool:
        """Whether another copy of the INVITE came first, and its transaction still lives."""
        return self._first.get(transaction.request.origin) is not transaction

    def transport_failed(self, flow: Flow, now: float) -> None:
        """Tell every transaction on ``flow`` that the flow broke."""
        everyone: list[Transaction] = [*self._clients.values(), *self._servers.values()]
        for transaction in everyone:
            if transaction.flow == flow:
                if isinstance(transaction, ClientTransaction) and transaction.can_fall_back:
                    if len(self._without_tcp) >= _REMEMBERED:
                        self._without_tcp.clear()
                    self._without_tcp.add(flow.remote)
                transaction.transport_failed(now)

    def receive_refusal(self, quoted: bytes, remote: Address, now: float) -> bool:
        """ICMP says that nothing listens at ``remote``. False where that ends no transaction.

        The error has to quote the random branch of a request that went there and has had no
        response, so that it cannot be forged by someone who does not see the request. Requests
        within a dialog go on, because a farewell is worth repeating to a server that restarts.
        """
        match = _QUOTED.match(quoted)
        if match is None:
            return False
        method, branch = (part.decode("latin-1") for part in match.groups())
        transaction = self._clients.get((branch, method))
        if (
            transaction is None
            or transaction.flow.transport != "udp"
            or transaction.flow.remote != remote
            or transaction.state not in (TransactionState.CALLING, TransactionState.TRYING)
            or method == "CANCEL"
            or transaction.request.to.tag is not None
        ):
            return False
        transaction.transport_failed(now)
        return True

    def sender(self, data: bytes) -> Transaction | None:
        """The transaction that has sent a message of ours, None where none has, or it is over."""
        message = parse(data)
        if isinstance(message, Response):
            return self._servers.get(server_key(message, message.cseq.method))
        # An ACK has the branch of its INVITE, and no transaction.
        return self._clients.get((message.via.branch or "", message.method))

    @property
    def pending(self) -> int:
        """The number of transactions that still wait for the other end.

        An OPTIONS of ours does not count: it changes nothing, and nobody needs its answer at the
        end.
        """
        asked = [one for one in self._clients.values() if one.request.method != "OPTIONS"]
        everyone: list[Transaction] = [*asked, *self._servers.values()]
        return sum(transaction.pending for transaction in everyone)

    @property
    def memory(self) -> int:
        """The estimated memory of the server transactions, in bytes."""
        return self._shares.lent

    def __len__(self) -> int:
        return len(self._clients) + len(self._servers)

    def _client_ended(self, transaction: Transaction) -> None:
        self._clients.pop(transaction.key, None)

    def _server_ended(self, transaction: Transaction) -> None:
        if self._servers.pop(transaction.key, None) is not None:
            if transaction.request.method == "INVITE":
                one = transaction.request.origin
                if self._first.get(one) is transaction:
                    del self._first[one]
            source = source_of(transaction.flow.remote[0])
            self._shares.give_back(source, _size(transaction.request))


def _size(request: Request) -> int:
    return _OVERHEAD + len(request.body) + sum([len(n) + len(v) for n, v in request.headers])


def _over_tcp(request: Request, flow: Flow) -> tuple[Request, Flow]:
    """The request and flow for TCP, which the Via names (RFC 3261 18.1.1)."""
    via = replace(request.via, transport="TCP")
    return request.with_via(via), replace(flow, transport="tcp")


def server_key(request: SipMessage, method: str) -> TransactionKey:
    """The key of a server transaction (RFC 3261 17.2.3), by its request or a response."""
    via = request.via
    branch = via.branch or ""
    # The cookie alone identifies nothing (RFC 4475 3.2.1).
    if branch.startswith(MAGIC_COOKIE) and branch != MAGIC_COOKIE:
        return (branch, via.host.lower(), str(via.port or 5060), method)
    # An RFC 2543 peer. Its ACK carries our To tag, so To is left out of the key.
    return (
        request.call_id,
        str(request.cseq.number),
        request.from_.tag or "",
        str(via),
        method,
    )
