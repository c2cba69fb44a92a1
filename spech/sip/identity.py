"""Who we are towards a server: address of record, password, and what it asked of us so far."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from spech.errors import RemoteProtocolError
from spech.sip.digest import DigestClient
from spech.sip.headers import AuthHeader, NameAddr
from spech.sip.message import Request, Response
from spech.sip.uri import Uri

#: The challenge and the header that answers it (RFC 3261 22.2, 22.3).
_CHALLENGES: Final = {
    401: ("WWW-Authenticate", "Authorization"),
    407: ("Proxy-Authenticate", "Proxy-Authorization"),
}


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
    _client: DigestClient | None = field(init=False, repr=False, default=None)
    _challenges: dict[int, list[AuthHeader]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self._password is not None:
            self._client = DigestClient(self.user, self._password, self._rng)

    def __hash__(self) -> int:
        return id(self)

    @property
    def uri(self) -> Uri:
        return self.address.uri

    def sign(self, request: Request) -> Request:
        """``request`` with our route, and credentials for every server that challenged us before.

        Within a dialog the route set rules, so a request with a To tag keeps its own.
        """
        if self.route is not None and request.to.tag is None and "Route" not in request.headers:
            request = request.replace(headers=request.headers.add("Route", str(self.route)))
        for status, challenges in self._challenges.items():
            request = self._authorize(request, status, challenges) or request
        return request

    def accept_challenge(self, request: Request, response: Response) -> bool:
        """Learn from a 401 or 407 to ``request``. False when trying again cannot help.

        It cannot when there is no password, when no algorithm fits, or when the same credentials
        have just been refused (RFC 3261 22.1: do not try the same ones again).
        """
        names = _CHALLENGES.get(response.status)
        if names is None or self._client is None:
            return False
        challenges = []
        for value in response.headers.get_all(names[0]):
            with suppress(RemoteProtocolError):  # One of several may be of a kind we cannot read.
                challenges.append(AuthHeader.parse(value))
        if request.headers.get(names[1]) is not None and any(
            self._client.rejected(challenge) for challenge in challenges
        ):
            self._challenges.pop(response.status, None)
            return False
        if not self._client.can_answer(challenges):
            return False
        self._challenges[response.status] = challenges
        return True

    def _authorize(
        self, request: Request, status: int, challenges: list[AuthHeader]
    ) -> Request | None:
        if self._client is None:
            return None
        answer = self._client.answer(challenges, request.method, str(request.uri), request.body)
        if answer is None:
            return None
        headers = request.headers.set(_CHALLENGES[status][1], str(answer))
        return request.replace(headers=headers)
