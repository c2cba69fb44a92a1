"""Our identity: address of record, credentials, and the outbound proxy."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Final

from spech.sip.dialog.caller import ANONYMOUS
from spech.sip.dialog.credentials import CHALLENGES, Credentials
from spech.sip.message.headers import NameAddr
from spech.sip.message.message import Request, Response
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import DEFAULT_PORTS, Flow

#: The refusal of a request that ends its tries. Before it, credentials are sent three times at the
#: most: for a server, a proxy, a stale nonce, or the nonces of a cluster's servers.
_MOST_TRIES: Final = 4


class Identity:
    """The From of our requests, the credentials that go with it, and the proxy on the way out.

    ``route`` is the one that requests outside a dialog are sent with (RFC 3261 8.1.2);
    ``service_route`` is given by the registrar and takes its place (RFC 3608).
    """

    def __init__(
        self,
        address: NameAddr,
        user: str,
        password: str | None,
        rng: random.Random,
        route: NameAddr | None = None,
    ) -> None:
        self.address = address
        self.route = route
        self.service_route: tuple[NameAddr, ...] = ()
        self._rng = rng
        self._credentials = Credentials(user, password, rng)

    def __repr__(self) -> str:
        return f"<Identity {self.address}>"

    @property
    def uri(self) -> Uri:
        """The address of record."""
        return self.address.uri

    @property
    def routes(self) -> tuple[NameAddr, ...]:
        """What requests outside a dialog pass through, REGISTER excepted: it keeps to the proxy."""
        return self.service_route or ((self.route,) if self.route else ())

    def trust(self, flows: Iterable[Flow]) -> None:
        """Note that ``flows`` lead to our registrar or proxy, which may ask for credentials."""
        self._credentials.trust(flows)

    def trust_towards(self, target: Uri, flows: Iterable[Flow]) -> None:
        """Trust ``flows``, found for a request to ``target``, where they lead to a server of ours.

        They do where the request takes our route, or where ``target`` is in the domain of our
        address of record. A port of its own or an ``maddr`` (RFC 3261 19.1.1) leads elsewhere.
        """
        ours = self.uri
        if self.routes or (
            target.host.lower() == ours.host.lower()
            and target.port in (None, ours.port, None if ours.port else _implied_port(ours))
            and target.parameter("maddr") is None
        ):
            self.trust(flows)

    def trusts(self, flow: Flow) -> bool:
        """Whether ``flow`` leads to our registrar or proxy."""
        return self._credentials.trusts(flow)

    def sign(self, request: Request, flow: Flow) -> Request:
        """``request`` with our route, and with credentials where ``flow`` leads to our servers.

        Within a dialog the route set applies, so a request with a To tag keeps its own.
        """
        if request.to.tag is None and "Route" not in request.headers:
            first = (self.route,) if self.route else ()
            for route in first if request.method == "REGISTER" else self.routes:
                request = request.replace(headers=request.headers.add("Route", str(route)))
        return self._credentials.sign(request, flow)

    def accept_challenge(self, request: Request, response: Response, flow: Flow) -> bool:
        """Learn from a 401 or 407. See :meth:`Credentials.accept_challenge`."""
        return self._credentials.accept_challenge(request, response, flow)

    def forget_challenges(self) -> None:
        """Send the next request without credentials."""
        self._credentials.forget_challenges()

    def anonymous(self) -> Identity:
        """The same credentials, anonymous (RFC 3323 4.1)."""
        return self.under(ANONYMOUS)

    def under(self, address: NameAddr) -> Identity:
        """The same credentials under another address."""
        other = Identity(address, "", None, self._rng, self.route)
        other.service_route = self.service_route
        other._credentials = self._credentials
        return other


class Tries:
    """Counts how often one request was answered with credentials, up to a limit."""

    def __init__(self) -> None:
        self._count = 0

    def again(self, identity: Identity, request: Request, response: Response, flow: Flow) -> bool:
        """Whether ``response`` concerns the credentials, and another try may help."""
        if response.status == 403:
            return self._try_bare(identity, request)
        if response.status not in CHALLENGES:
            return False
        self._count += 1
        if self._count >= _MOST_TRIES:
            identity.forget_challenges()
            return False
        return identity.accept_challenge(request, response, flow)

    def _try_bare(self, identity: Identity, request: Request) -> bool:
        """403 to a nonce that was accepted before: for some servers it means that it expired."""
        if self._count or not request.credentials:
            return False
        self._count += 1
        identity.forget_challenges()
        return True


def _implied_port(uri: Uri) -> int:
    return DEFAULT_PORTS["tls" if uri.scheme == "sips" else "udp"]
