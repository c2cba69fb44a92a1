"""A minimal record-routing proxy on the wire (RFC 3261 16)."""

from __future__ import annotations

import hashlib

from spech.addresses import Address
from spech.sip.message.headers import Headers, NameAddr
from spech.sip.message.message import Request, Response, SipMessage
from spech.sip.message.parser import parse
from spech.sip.transaction.flow import Flow, Outgoing
from spech.testing.wire import FakeWire, Peer


class Proxy(Peer):
    """Stateless, record-routing; ``strict`` as in RFC 2543.

    ``onward`` is where it sends an INVITE outside a dialog that names no further Route; without
    it the Request-URI says. ``astray`` collects requests that came without passing its Route.
    """

    def __init__(
        self, wire: FakeWire, host: str, *, strict: bool = False, onward: Peer | None = None
    ) -> None:
        super().__init__(wire, (host, 5060), None)
        wire._peers[self.address] = self
        self._uri = f"<sip:{host}:5060>" if strict else f"<sip:{host}:5060;lr>"
        self._strict = strict
        self._onward = onward
        self.astray: list[Request] = []

    def receive_datagram(self, data: bytes, source: Address, now: float) -> None:
        message = parse(data)
        if isinstance(message, Response):
            self._pass_back(message)
        else:
            self._pass_on(message)

    def _carry(self, message: SipMessage, host: str, port: int | None) -> None:
        flow = Flow("udp", self.address, (host, port or 5060))
        self._wire.carry(Outgoing(bytes(message), flow))

    def _pass_back(self, response: Response) -> None:
        _, *rest = response.headers.values("Via")
        headers = _renewed(response.headers, "Via", rest)
        response = response.replace(headers=headers)
        self._carry(response, response.via.host, response.via.port)

    def _pass_on(self, request: Request) -> None:
        uri = request.uri
        routes = list(request.routes)
        mine = bool(routes) and routes[0].uri.host == self.address[0]
        if uri.host == self.address[0] and routes:
            # From a strict router, or to one: it finds itself in the Request-URI, and the URI that
            # was there in the last Route (16.4); a strict one goes on to the first (RFC 2543).
            uri, mine = routes.pop(0 if self._strict else -1).uri, True
        elif mine:
            routes.pop(0)
        if request.to.tag is not None and not mine:
            self.astray.append(request)
        hop = routes[0].uri if routes and not self._strict else uri
        if hop is not uri and hop.parameter("lr") is None:
            # The next one is strict (16.6, step 6).
            routes = [*routes[1:], NameAddr(uri)]
            uri = hop
        host, port = hop.host, hop.port
        if request.to.tag is None and not routes and self._onward is not None:
            host, port = self._onward.address
        # A stateless proxy makes the same branch for the same request (16.11).
        branch = hashlib.md5(f"{request.via.branch}{self.address}".encode()).hexdigest()
        via = f"SIP/2.0/UDP {self.address[0]}:5060;branch=z9hG4bK{branch}"
        headers = _renewed(request.headers, "Route", [str(route) for route in routes])
        headers = headers.prepend("Via", via)
        if request.to.tag is None and request.method == "INVITE":
            headers = headers.prepend("Record-Route", self._uri)
        self._carry(request.replace(uri=uri, headers=headers), host, port)


def _renewed(headers: Headers, name: str, values: list[str]) -> Headers:
    headers = headers.remove(name)
    for value in reversed(values):
        headers = headers.prepend(name, value)
    return headers
