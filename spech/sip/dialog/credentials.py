"""Our password, and which servers get answers that are made with it.

Anyone who sees an answer to a challenge can guess the password offline. So only our servers are
answered: the registrar, and the proxy that requests outside dialogs go to. A challenge is judged by
the flow that its request was sent over, never by the host that a URI names.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, Literal

from spech.addresses import Address
from spech.errors import RemoteProtocolError
from spech.sip.dialog.digest import DigestClient
from spech.sip.message.headers import AuthHeader
from spech.sip.message.message import Request, Response
from spech.sip.transaction.flow import Flow

#: The header of the challenge and of its answer (RFC 3261 22.2, 22.3).
CHALLENGES: Final = {
    401: ("WWW-Authenticate", "Authorization"),
    407: ("Proxy-Authenticate", "Proxy-Authorization"),
}
#: Realms that are remembered, the latest ones.
_MOST_REALMS: Final = 8
#: Addresses of our servers that are remembered, the latest ones: DNS may name others each time.
_MOST_SERVERS: Final = 64


class Credentials:
    """User and password, the servers that may ask for them, and what these asked so far.

    A challenge that was answered is remembered, so that later requests carry an answer at once
    (nonce reuse, RFC 7616 3.4).
    """

    def __init__(self, user: str, password: str | None, rng: random.Random) -> None:
        self._client = None if password is None else DigestClient(user, password, rng)
        self._servers: dict[Address, None] = {}
        #: By status and realm: several servers may each ask for an answer (RFC 3261 22.3).
        self._challenges: dict[tuple[int, str], list[AuthHeader]] = {}
        #: The realms that servers of ours named, and as what: registrar, proxy (407), or neither.
        self._realms: dict[str, frozenset[Literal["registrar", "proxy"]]] = {}

    def __repr__(self) -> str:
        return f"<Credentials for {len(self._servers)} servers>"

    def trust(self, flows: Iterable[Flow]) -> None:
        """Note that ``flows`` lead to our registrar or proxy."""
        for flow in flows:
            self._servers.pop(flow.remote, None)
            self._servers[flow.remote] = None
        while len(self._servers) > _MOST_SERVERS:
            del self._servers[next(iter(self._servers))]

    def trusts(self, flow: Flow) -> bool:
        """Whether ``flow`` leads to our registrar or proxy; host and port decide."""
        return flow.remote in self._servers

    def sign(self, request: Request, flow: Flow) -> Request:
        """``request`` with answers for the servers that challenged us before."""
        if self._client is None or not self.trusts(flow):
            return request
        for (status, realm), challenges in self._challenges.items():
            if request.method != "REGISTER" and self._is_passed_on(status, realm):
                continue
            answer = self._client.answer(challenges, request.method, str(request.uri), request.body)
            if answer is not None:
                headers = request.headers.add(CHALLENGES[status][1], str(answer))
                request = request.replace(headers=headers)
        return request

    def forget_challenges(self) -> None:
        """Send the next request without an answer."""
        self._challenges.clear()

    def accept_challenge(self, request: Request, response: Response, flow: Flow) -> bool:
        """Learn from a 401 or 407 to ``request``. False when trying again cannot help.

        It cannot when there is no password, when no algorithm fits, when the same credentials have
        just been refused (RFC 3261 22.1), or when the challenge is not from our servers. A refusal
        that comes with another nonce may be one of the nonce, not of the password; whoever calls
        this limits how often it is answered.
        """
        if self._client is None or response.status not in CHALLENGES or not self.trusts(flow):
            return False
        asking, answering = CHALLENGES[response.status]
        sent = {one.parameters.get("realm"): one for one in _read(request, answering)}
        by_realm: dict[str, list[AuthHeader]] = {}
        for challenge in _read(response, asking):
            realm = challenge.parameters.get("realm", "")
            if self._may_ask(realm, request, response.status, flow):
                by_realm.setdefault(realm, []).append(challenge)
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
        for _, realm in learned:
            roles = self._realms.pop(realm, frozenset())
            if request.method == "REGISTER":
                roles |= {"registrar"}
            if response.status == 407:
                roles |= {"proxy"}
            self._realms[realm] = roles
        while len(self._realms) > _MOST_REALMS:
            del self._realms[next(iter(self._realms))]
        return bool(learned)

    def _may_ask(self, realm: str, request: Request, status: int, flow: Flow) -> bool:
        """Whether the challenge is our server's own: a proxy passes on the far end's, too.

        Within a dialog only realms that are known count, and our server where the request ends
        there. Outside, a far end could answer 401 as well; so once a registrar has named its
        realms, a new one counts only in a 407.
        """
        if request.method == "REGISTER":
            return True
        if realm in self._realms:
            return not self._is_passed_on(status, realm)
        if request.to.tag is not None:
            return "Route" not in request.headers and request.uri.host == flow.remote[0]
        return status == 407 or not any("registrar" in roles for roles in self._realms.values())

    def _is_passed_on(self, status: int, realm: str) -> bool:
        """Whether a far end would read our answer, or has asked for it, in the realm of a proxy.

        A proxy asks with 407 (RFC 3261 22.3) and checks the answer itself. A 401 in its realm is
        not its own, except to REGISTER, and it passes the answer on.
        """
        return status == 401 and "proxy" in self._realms.get(realm, ())


def _read(message: Request | Response, name: str) -> list[AuthHeader]:
    """The headers of that name; those of an unknown form are ignored."""
    found = []
    for value in message.headers.get_all(name):
        with suppress(RemoteProtocolError):
            found.append(AuthHeader.parse(value))
    return found
