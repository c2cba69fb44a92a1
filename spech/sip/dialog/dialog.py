"""Dialogs: the state that two user agents keep of each other (RFC 3261 12)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from spech.addresses import numeric
from spech.allowance import Allowance
from spech.errors import RemoteProtocolError
from spech.sip.dialog.event import Event
from spech.sip.message.headers import Headers, NameAddr
from spech.sip.message.message import Request, Response
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow

#: Requests that may move the remote target (RFC 3261 12.2, 3311, 3515, 6665); they carry a Contact.
TARGET_REFRESH: Final = frozenset({"INVITE", "UPDATE", "REFER", "SUBSCRIBE", "NOTIFY"})
#: How many flows one request is sent to in turn. Each silent one costs half a minute.
_MOST_FLOWS: Final = 8
_CLEAR: Final = frozenset({"udp", "tcp"})
#: Networks whose addresses are not unique (RFC 1122, 1918, 3927, 4193, 4291, 6598).
_LOCAL: Final = [
    ipaddress.ip_network(one)
    for one in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::/128",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
]
_WEB: Final = frozenset({"ws", "wss"})


@dataclass(slots=True)
class Dialog:
    """One dialog, early or confirmed, seen from our end.

    ``local`` and ``remote`` are From/To values with their tags; ``target`` is where requests are
    addressed to (the peer's Contact), ``route_set`` what they pass through. ``set_up`` is the flow
    that the dialog was made on, and behind it those to further servers of the same domain.
    """

    call_id: str
    local: NameAddr
    remote: NameAddr
    target: Uri
    route_set: tuple[NameAddr, ...]
    local_sequence: int
    remote_sequence: int | None
    set_up: tuple[Flow, ...]
    #: Whether requests keep to that flow: a NAT hides the Contact, or they opened a connection.
    bound_to_flow: bool = False
    #: What may be sent until the peer has proved that it receives us; None where it need not.
    allowance: Allowance | None = None
    #: Where requests go: to the first, and to the next ones where that fails (RFC 3263 4.3). Known
    #: beforehand, so that a farewell never waits for DNS.
    flows: tuple[Flow, ...] = field(init=False, default=())
    #: The flow that is known to work: it served where another one had failed, or brought their ACK.
    _proven: Flow | None = field(init=False, default=None)
    _written: tuple[str, str, tuple[str, ...]] | None = field(init=False, default=None)

    @classmethod
    def from_response(
        cls, request: Request, response: Response, flow: Flow, further: Sequence[Flow] = ()
    ) -> Dialog:
        """Our request made a dialog by this response (RFC 3261 12.1.2).

        ``further`` leads to the other servers that the request could have gone to.
        """
        contact = response.contact
        dialog = cls(
            call_id=response.call_id,
            local=request.from_,
            remote=response.to,
            target=contact.uri.without_headers if contact else request.uri,
            route_set=tuple(reversed(response.record_routes)),
            local_sequence=request.cseq.number,
            remote_sequence=None,
            set_up=(flow, *further),
        )
        dialog._choose_flows()
        return dialog

    @classmethod
    def from_request(cls, request: Request, local_tag: str, flow: Flow) -> Dialog:
        """Their request makes a dialog by our response (RFC 3261 12.1.1).

        Where the Via shows a NAT between us, requests go back over the flow that theirs came by:
        the Contact would not be reached.

        An RFC 2543 peer may leave Contact out; then requests go to its From.
        """
        dialog = cls(
            call_id=request.call_id,
            local=request.to.with_tag(local_tag),
            remote=request.from_,
            target=(request.contact or request.from_).uri.without_headers,
            route_set=request.record_routes,
            local_sequence=0,
            remote_sequence=request.cseq.number,
            set_up=(flow,),
        )
        # Also on a connection that they opened: it is the most reliable path (RFC 5626 3.4).
        dialog.bound_to_flow = _behind_nat(request) or flow.reliable
        dialog._choose_flows()
        return dialog

    # ------------------------------------------------------------------ where requests go

    @property
    def flow(self) -> Flow:
        """Where the next request goes."""
        return self.flows[0]

    @property
    def hosts(self) -> set[str]:
        """The numeric addresses that requests of the other end may come from."""
        named = (self.target.host, *(route.uri.host for route in self.route_set))
        numbers = {str(address) for host in named if (address := numeric(host)) is not None}
        return numbers | {flow.remote[0] for flow in (*self.flows, *self.set_up)}

    @property
    def written(self) -> tuple[str, str, tuple[str, ...]]:
        """``local``, ``remote`` and ``route_set`` as text. They do not change (RFC 3261 12.2)."""
        if self._written is None:
            routes = tuple(str(route) for route in self.route_set)
            self._written = str(self.local), str(self.remote), routes
        return self._written

    @property
    def next_hop(self) -> Uri:
        """The head of the route set, or the remote target (RFC 3261 12.2.1.1)."""
        return self.route_set[0].uri if self.route_set else self.target

    @property
    def unlocated(self) -> bool:
        """Whether DNS has to say where the next hop is; see :meth:`locate`.

        Until it does, the flow of the set-up serves. A WebSocket leads to its server alone.
        """
        return self.set_up[0].transport not in _WEB and not _version(self.next_hop.host)

    def locate(self, hop: Uri, flows: Sequence[Flow]) -> None:
        """Use the flows that DNS gave for ``hop``, unless the next hop has changed meanwhile."""
        if hop == self.next_hop:
            self._choose_flows(flows)

    def prefer(self, flow: Flow) -> None:
        """``flow`` served where the first one failed: later requests take it at once."""
        self._proven = flow
        self.flows = tuple(dict.fromkeys((flow, *self.flows)))

    def receive_first_ack(self, request: Request, flow: Flow) -> None:
        """The ACK that confirms the dialog came over ``flow``: later requests take it at once.

        Whoever carries an ACK within the dialog carries a BYE too, whatever the Contact names. The
        ACK of a later INVITE is not counted: that INVITE may have moved the target elsewhere.
        """
        if self.bound_to_flow:
            self._follow(request, flow)
        place = (flow.transport, flow.remote)
        known = next((one for one in self.flows if (one.transport, one.remote) == place), None)
        if known is not None:
            self.prefer(known)

    def move(self, host: str) -> None:
        """Use another address of ours, of the same family."""
        self.set_up = tuple(replace(one, local=(host, one.local[1])) for one in self.set_up)
        self._proven = None
        self._choose_flows()

    def _follow(self, request: Request, flow: Flow) -> None:
        """Follow the peer to its latest flow if the dialog is bound to a flow: NATs rebind."""
        if flow == self.set_up[0] or not (self.bound_to_flow or _behind_nat(request)):
            return
        self.bound_to_flow = True
        self.set_up = (flow, *self.set_up[1:])
        self._proven = None
        self._choose_flows()

    def _choose_flows(self, located: Sequence[Flow] = ()) -> None:
        first, *further = self.set_up
        # A dialog that was set up encrypted stays encrypted.
        onward = [
            flow
            for flow in located or self._direct()
            if first.transport in _CLEAR or flow.transport == first.transport
        ]
        address = (first.transport, first.remote)
        others = [flow for flow in onward if (flow.transport, flow.remote) != address]
        hidden = _is_hidden(self.next_hop.host, first.remote[0])
        if self.bound_to_flow or hidden or len(others) < len(onward):
            flows = (first, *others, *further)
        else:
            flows = (*others, first, *further)
        if self._proven is not None and self._proven in flows:
            flows = (self._proven, *flows)
        self.flows = tuple(dict.fromkeys(flows))[:_MOST_FLOWS]

    def _direct(self) -> list[Flow]:
        """The next hop where it is numeric, and can be reached from the set-up's address."""
        hop, first = self.next_hop, self.set_up[0]
        address = (hop.host, hop.port or 5060)
        # UDP where none is named (RFC 3263 4.1), but a connection to that address is kept.
        unnamed = first.transport if address == first.remote else "udp"
        transport = (hop.parameter("transport") or unnamed).lower()
        version = _version(hop.host)
        if hop.scheme != "sip" or transport not in _CLEAR:
            return []
        if not version or version != _version(first.local[0]):
            return []
        return [replace(first, transport=transport, remote=address, host="")]

    def request(
        self,
        method: str,
        via: str,
        *,
        sequence: int | None = None,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Request:
        """A request within the dialog (RFC 3261 12.2.1.1). An ACK passes its INVITE's number."""
        if sequence is None:
            self.local_sequence += 1
            sequence = self.local_sequence
        uri = self.target
        local, remote, routes = self.written
        if self.route_set and self.route_set[0].uri.parameter("lr") is None:
            # A strict router: it wants itself as Request-URI and the target as the last Route.
            uri = self.route_set[0].uri
            routes = (*routes[1:], f"<{self.target}>")
        pairs = [("Via", via), ("Max-Forwards", "70")]
        pairs += [("Route", route) for route in routes]
        pairs += [
            ("From", local),
            ("To", remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{sequence} {method}"),
            *headers,
        ]
        return Request(method, uri, Headers(pairs), body)

    def receive_request(self, request: Request, flow: Flow) -> None:
        """Check the order of a request within the dialog, and note where its sender is now.

        Raises:
            RemoteProtocolError: 500 when the sequence number went backwards (12.2.2).
        """
        number = request.cseq.number
        # An equal one is the same request by way of another server (RFC 3263 4.3).
        if self.remote_sequence is not None and number < self.remote_sequence:
            raise RemoteProtocolError(f"CSeq {number} is out of order", 500)
        self.remote_sequence = number
        if request.method in TARGET_REFRESH:
            self.refresh_target(request)
            self._follow(request, flow)

    def refresh_target(self, message: Request | Response) -> None:
        """Requests of these methods may move the remote target (RFC 3261 12.2, 6665 4.1.2.1)."""
        if message.contact is not None:
            before, self.target = self.next_hop, message.contact.uri.without_headers
            if self.next_hop != before:
                self._proven = None
                self._choose_flows()


@dataclass(frozen=True, slots=True)
class HostNamed(Event):
    """Requests in ``dialog`` go to a host by name: resolve it, then call ``dialog.locate``."""

    dialog: Dialog


def _behind_nat(request: Request) -> bool:
    """Whether it came from another address than its Via names; a host name is not compared."""
    named, received = numeric(request.via.host), request.via.received
    return named is not None and received is not None and named != numeric(received)


def _is_hidden(host: str, peer: str) -> bool:
    """Whether ``host`` is an address that cannot be reached outside the network of ``peer``.

    A loopback or a private address does, unless the peer we talk to has one of the same kind.
    """
    address, seen = numeric(host), numeric(peer)
    if address is None or seen is None:
        return False
    network = next((one for one in _LOCAL if address in one), None)
    return network is not None and seen not in network


def _version(host: str) -> int:
    """4 or 6, and 0 for a name."""
    address = numeric(host)
    return 0 if address is None else address.version
