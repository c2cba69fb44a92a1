"""Who we are towards a server: address of record, password, and what it asked of us so far."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from spech.errors import RemoteProtocolError
from spech.sip.dialog.caller import ANONYMOUS
from spech.sip.dialog.digest import DigestClient
from spech.sip.message.headers import AuthHeader, NameAddr
from spech.sip.message.message import Request, Response
from spech.sip.message.uri import Uri

#: The challenge and the header that answers it (RFC 3261 22.2, 22.3).
_CHALLENGES: Final = {
    401: ("WWW-Authenticate", "Authorization"),
    407: ("Proxy-Authenticate", "Proxy-Authorization"),
}

#: How often credentials are tried for one request: a server, a proxy, a stale nonce.
_MOST_TRIES: Final = 4
#: So many realms are remembered, the latest ones.
_MOST_REALMS: Final = 8


@dataclass(slots=True)
class Identity:
    """The From of our requests, the credentials that go with it, and the proxy on the way out.

    What a server challenged us with is remembered, so that later requests carry an answer at once
    (nonce reuse, RFC 7616 3.4).
    """

    address: NameAddr
    user: str
    _password: str | None = field(repr=False)
    _rng: random.Random = field(repr=False)
    #: The route that requests outside a dialog are sent with (RFC 3261 8.1.2).
    route: NameAddr | None = None
    #: The route that the registrar gave us, which takes its place (RFC 3608).
    service_route: tuple[NameAddr, ...] = field(init=False, default=())
    _client: DigestClient | None = field(init=False, repr=False, default=None)
    #: By status and realm: several servers on the way may each want an answer (RFC 3261 22.3).
    _challenges: dict[tuple[int, str], list[AuthHeader]] = field(
        init=False, repr=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        if self._password is not None:
            self._client = DigestClient(self.user, self._password, self._rng)

    def __hash__(self) -> int:
        return id(self)

    @property
    def uri(self) -> Uri:
        return self.address.uri

    @property
    def routes(self) -> tuple[NameAddr, ...]:
        """What requests outside a dialog pass through, REGISTER excepted: it keeps to the proxy."""
        return self.service_route or ((self.route,) if self.route else ())

    def sign(self, request: Request) -> Request:
        """``request`` with our route, and credentials for every server that challenged us before.

        Within a dialog the route set rules, so a request with a To tag keeps its own.
        """
        if request.to.tag is None and "Route" not in request.headers:
            first = (self.route,) if self.route else ()
            for route in first if request.method == "REGISTER" else self.routes:
                request = request.replace(headers=request.headers.add("Route", str(route)))
        if self._client is not None:
            for (status, _), challenges in self._challenges.items():
                answer = self._client.answer(
                    challenges, request.method, str(request.uri), request.body
                )
                if answer is not None:
                    headers = request.headers.add(_CHALLENGES[status][1], str(answer))
                    request = request.replace(headers=headers)
        return request

    def without_password(self) -> Identity:
        """The same address for calls to strangers: they have no business with our credentials."""
        return Identity(self.address, self.user, None, self._rng)

    def anonymous(self) -> Identity:
        """The same credentials under no name (RFC 3323 4.1)."""
        return self.under(ANONYMOUS)

    def under(self, address: NameAddr) -> Identity:
        """The same credentials under another address."""
        other = Identity(address, self.user, self._password, self._rng, self.route)
        other.service_route = self.service_route
        return other

    def accept_challenge(self, request: Request, response: Response) -> bool:
        """Learn from a 401 or 407 to ``request``. False when trying again cannot help.

        It cannot when there is no password, when no algorithm fits, or when the same credentials
        have just been refused (RFC 3261 22.1: do not try the same ones again).
        """
        if response.status not in _CHALLENGES or self._client is None:
            return False
        asking, answering = _CHALLENGES[response.status]
        sent = {one.parameters.get("realm"): one for one in _read(request, answering)}
        by_realm: dict[str, list[AuthHeader]] = {}
        for challenge in _read(response, asking):
            by_realm.setdefault(challenge.parameters.get("realm", ""), []).append(challenge)
        for realm, challenges in by_realm.items():
            if realm in sent and any(
                self._client.rejected(challenge, sent[realm]) for challenge in challenges
            ):
                self._challenges.pop((response.status, realm), None)
                return False
        learned = {
            (response.status, realm): challenges
            for realm, challenges in by_realm.items()
            if self._client.can_answer(challenges)
        }
        self._challenges |= learned
        while len(self._challenges) > _MOST_REALMS:
            del self._challenges[next(iter(self._challenges))]
        return bool(learned)


class Tries:
    """How often one request was answered with credentials; there is an end to it."""

    def __init__(self) -> None:
        self._count = 0

    def again(self, identity: Identity, request: Request, response: Response) -> bool:
        """Whether ``response`` is a challenge, and worth another try with what it taught us."""
        if response.status not in _CHALLENGES:
            return False
        self._count += 1
        return self._count < _MOST_TRIES and identity.accept_challenge(request, response)


def _read(message: Request | Response, name: str) -> list[AuthHeader]:
    """The headers of that name; one of several may be of a kind that we cannot read."""
    found = []
    for value in message.headers.get_all(name):
        with suppress(RemoteProtocolError):
            found.append(AuthHeader.parse(value))
    return found
