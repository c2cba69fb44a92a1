"""Accounts and their contacts (RFC 3261 10.3 and 22). Pure."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from spech.errors import RemoteProtocolError
from spech.incidents import Incidents
from spech.shares import Standing
from spech.sip.dialog.digest import DigestServer, DigestVerdict
from spech.sip.message.headers import AuthHeader, NameAddr
from spech.sip.message.ids import Identifiers
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.uri import Uri
from spech.sip.transaction.arrival import answer_tag
from spech.sip.transaction.flow import Flow

_log: Final = logging.getLogger(__name__)

#: Lifetime of a registration in seconds: shortest, default and longest.
MIN_EXPIRES: Final = 10
DEFAULT_EXPIRES: Final = 300
MAX_EXPIRES: Final = 3600
#: Bytes of a message that can be relayed: no more may leave over UDP (RFC 3428 8).
_LONGEST_MESSAGE: Final = 900
#: Contacts of one user.
_MOST_BINDINGS: Final = 10
_NONCE_LIFETIME: Final = 300.0


@dataclass(frozen=True, slots=True)
class Binding:
    """A contact of a user, valid until ``expires_at``."""

    contact: Uri
    expires_at: float
    call_id: str
    sequence: int


class Registrar:
    """Serves REGISTER, and allows only authenticated users to call and to send messages.

    Args:
        accounts: password by user name.
        rng: generates nonces and their key.
        realm: the realm of the challenges.
        md5_only: do not offer SHA-256, because some old clients then fail.
    """

    def __init__(
        self,
        accounts: Mapping[str, str],
        rng: random.Random,
        realm: str = "spech",
        *,
        md5_only: bool = False,
    ) -> None:
        self._accounts = dict(accounts)
        self._ids = Identifiers(rng)
        algorithms = ("MD5",) if md5_only else ("SHA-256", "MD5")
        self._digest = DigestServer(realm, rng, _NONCE_LIFETIME, algorithms)
        self._bindings: dict[str, list[Binding]] = {}
        #: Requests with a wrong user or password.
        self.failures = Incidents(_log, milestones=True)

    def knows(self, user: str) -> bool:
        """Whether ``user`` has an account, registered or not."""
        return user in self._accounts

    def contacts(self, user: str, now: float) -> list[Uri]:
        """The contacts of ``user``, the newest first."""
        return [binding.contact for binding in self._current(user, now)]

    def screen(self, request: Request, flow: Flow, now: float) -> Response | Standing | None:
        """The response to a REGISTER, or to an INVITE or a MESSAGE that is refused.

        An INVITE of a user gets ``Standing.KNOWN``, and what is not screened None.
        """
        if request.method not in ("REGISTER", "INVITE", "MESSAGE"):
            return None
        if flow.remote == flow.local:
            # The exchange itself, when it follows a transfer to its own number. A message comes
            # from it only if a contact leads back here, and would be relayed forever.
            return self._respond(request, 482) if request.method == "MESSAGE" else None
        try:
            user = request.to.uri.user if request.method == "REGISTER" else request.from_.uri.user
            refusal = self._authenticate(request, flow.remote[0], user, now)
            if refusal is not None:
                return refusal
            if request.method == "INVITE":
                return Standing.KNOWN
            if request.method == "MESSAGE":
                return self._refuse_message(request, now)
            return self._register(request, user or "", now)
        except RemoteProtocolError as error:
            return self._respond(request, error.status)

    def _refuse_message(self, request: Request, now: float) -> Response | None:
        """None if the recipient of a message has a contact (RFC 3261 21.4.5, 21.4.18, 21.5.7)."""
        if len(request.body) > _LONGEST_MESSAGE:
            return self._respond(request, 513)
        user = request.uri.user or ""
        if self.contacts(user, now):
            return None
        return self._respond(request, 480 if self.knows(user) else 404)

    # ------------------------------------------------------------------ authentication

    def _authenticate(
        self, request: Request, host: str, user: str | None, now: float
    ) -> Response | None:
        """None if the request carries ``user``'s credentials, otherwise the response."""
        for value in request.headers.get_all("Authorization"):
            given = AuthHeader.parse(value)
            if given.parameters.get("realm") != self._digest.realm:
                continue
            if not _is_for(given, request):
                return self._respond(request, 400)  # RFC 7616 3.4.6.
            name = given.parameters.get("username", "")
            password = self._accounts.get(name)
            verdict = DigestVerdict.WRONG
            if password is not None and name == user:
                verdict = self._digest.verify(given, request.method, password, now, host)
            if verdict is DigestVerdict.OK:
                return None
            if verdict is DigestVerdict.WRONG:
                self.failures.note(host, "%s from %s: wrong user or password", request.method, host)
                return self._respond(request, 403)
            return self._challenge(request, host, now, stale=True)
        return self._challenge(request, host, now, stale=False)

    def _challenge(self, request: Request, host: str, now: float, *, stale: bool) -> Response:
        challenges = self._digest.challenge(now, stale, host)
        return self._respond(request, 401, *(("WWW-Authenticate", str(one)) for one in challenges))

    def _respond(self, request: Request, status: int, *headers: tuple[str, str]) -> Response:
        tag = answer_tag(self._ids, request)  # Every response has a tag (RFC 3261 8.2.6.2).
        return response_to(request, status, to_tag=tag, headers=headers)

    # ------------------------------------------------------------------ bindings

    def _register(self, request: Request, user: str, now: float) -> Response:
        """Apply all of the request's changes, or none (RFC 3261 10.3, steps 6 to 8)."""
        bindings = self._current(user, now)
        if request.contact_is_star:
            if request.expires != 0:
                return self._respond(request, 400)
            bindings = []
        for value in [] if request.contact_is_star else request.headers.values("Contact"):
            contact = NameAddr.parse(value)
            expires = _expires(contact, request)
            if 0 < expires < MIN_EXPIRES:
                return self._respond(request, 423, ("Min-Expires", str(MIN_EXPIRES)))
            same = [one for one in bindings if one.contact.equivalent(contact.uri)]
            if any(_is_newer(one, request) for one in same):
                return self._respond(request, 500)
            bindings = [one for one in bindings if one not in same]
            if expires:
                until = now + min(expires, MAX_EXPIRES)
                fresh = Binding(contact.uri, until, request.call_id, request.cseq.number)
                bindings = [fresh, *bindings][:_MOST_BINDINGS]
        self._bindings[user] = bindings
        listed = (
            ("Contact", f"<{one.contact}>;expires={round(one.expires_at - now)}")
            for one in bindings
        )
        return self._respond(request, 200, *listed)

    def _current(self, user: str, now: float) -> list[Binding]:
        return [one for one in self._bindings.get(user, []) if one.expires_at > now]


def _is_for(given: AuthHeader, request: Request) -> bool:
    """Whether the credentials are for the request's URI."""
    try:
        uri = Uri.parse(given.parameters.get("uri", ""))
    except RemoteProtocolError:
        return False
    return uri.equivalent(request.uri)


def _expires(contact: NameAddr, request: Request) -> int:
    """The requested lifetime in seconds: the contact's own, or the request's."""
    own = contact.parameter("expires")
    if own is not None and own.isascii() and own.isdigit():
        return int(own[:10])
    return DEFAULT_EXPIRES if request.expires is None else request.expires


def _is_newer(binding: Binding, request: Request) -> bool:
    """Whether ``request`` is a delayed older REGISTER of the same client (RFC 3261 10.3 step 7)."""
    return binding.call_id == request.call_id and binding.sequence >= request.cseq.number
