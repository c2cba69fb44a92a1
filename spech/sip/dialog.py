"""Dialogs: what two user agents remember of each other (RFC 3261 12)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace

from spech.errors import RemoteProtocolError
from spech.sip.flow import Flow
from spech.sip.headers import Headers, NameAddr
from spech.sip.message import Request, Response
from spech.sip.uri import Uri


@dataclass(slots=True)
class Dialog:
    """One dialog, early or confirmed, seen from our end.

    ``local`` and ``remote`` are From/To values with their tags; ``target`` is where requests are
    addressed to (the peer's Contact), ``route_set`` what they pass through.
    """

    call_id: str
    local: NameAddr
    remote: NameAddr
    target: Uri
    route_set: tuple[NameAddr, ...]
    local_sequence: int
    remote_sequence: int | None
    flow: Flow
    #: Whether requests keep to the flow: a NAT hides the Contact, or they opened a connection.
    bound_to_flow: bool = False

    @classmethod
    def from_response(cls, request: Request, response: Response, flow: Flow) -> Dialog:
        """Our request made a dialog by this response (RFC 3261 12.1.2)."""
        contact = response.contact
        dialog = cls(
            call_id=response.call_id,
            local=request.from_,
            remote=response.to,
            target=contact.uri if contact else request.uri,
            route_set=tuple(reversed(response.record_routes)),
            local_sequence=request.cseq.number,
            remote_sequence=None,
            flow=flow,
        )
        dialog._take_direct_path()
        return dialog

    @classmethod
    def from_request(cls, request: Request, local_tag: str, flow: Flow) -> Dialog:
        """Their request makes a dialog by our response (RFC 3261 12.1.1).

        Where the Via shows a NAT between us, requests go back over the flow that theirs came by:
        the Contact would not be reached.

        An RFC 2543 peer may leave Contact out; its From says then where requests go.
        """
        dialog = cls(
            call_id=request.call_id,
            local=request.to.with_tag(local_tag),
            remote=request.from_,
            target=(request.contact or request.from_).uri,
            route_set=request.record_routes,
            local_sequence=0,
            remote_sequence=request.cseq.number,
            flow=flow,
        )
        via = request.via
        # On a connection that they opened as well: it is the surest way back (RFC 5626 3.4).
        nat = via.received is not None and via.received != via.host
        dialog.bound_to_flow = nat or flow.reliable
        dialog._take_direct_path()
        return dialog

    def _take_direct_path(self) -> None:
        # RFC 3261 12.2.1.1 sends requests to the route set's head, or to the remote target. A name
        # there would need DNS, and a farewell must not: then the flow of the set-up serves. So it
        # does for a peer behind NAT, and for the other family of addresses.
        if self.bound_to_flow:
            return
        hop = self.route_set[0].uri if self.route_set else self.target
        try:
            family = ipaddress.ip_address(hop.host).version
        except ValueError:
            return
        if family != ipaddress.ip_address(self.flow.local[0]).version:
            return
        address = (hop.host, hop.port or 5060)
        transport = (hop.parameter("transport") or "udp").lower()
        # What was encrypted stays so, and a WebSocket leads to its server alone.
        clear = {self.flow.transport, transport} <= {"udp", "tcp"}
        if clear and address != self.flow.remote:
            self.flow = replace(self.flow, transport=transport, remote=address)

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
        routes = [str(route) for route in self.route_set]
        if self.route_set and self.route_set[0].uri.parameter("lr") is None:
            # A strict router: it wants itself as Request-URI and the target as the last Route.
            uri = self.route_set[0].uri
            routes = [*routes[1:], f"<{self.target}>"]
        pairs = [("Via", via), ("Max-Forwards", "70")]
        pairs += [("Route", route) for route in routes]
        pairs += [
            ("From", str(self.local)),
            ("To", str(self.remote)),
            ("Call-ID", self.call_id),
            ("CSeq", f"{sequence} {method}"),
            *headers,
        ]
        return Request(method, uri, Headers(pairs), body)

    def receive_request(self, request: Request) -> None:
        """Check the order of a request within the dialog, and note a new remote target.

        Raises:
            RemoteProtocolError: 500 when the sequence number went backwards (12.2.2).
        """
        number = request.cseq.number
        if self.remote_sequence is not None and number <= self.remote_sequence:
            raise RemoteProtocolError(f"CSeq {number} is out of order", 500)
        self.remote_sequence = number
        if request.method in ("INVITE", "UPDATE", "REFER", "SUBSCRIBE", "NOTIFY"):
            self.refresh_target(request)

    def refresh_target(self, message: Request | Response) -> None:
        """Requests of these methods may move the remote target (RFC 3261 12.2, 6665 4.1.2.1)."""
        if message.contact is not None:
            self.target = message.contact.uri
            self._take_direct_path()
