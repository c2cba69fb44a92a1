"""The entrance: people sign in with a password or a link, and get a cookie for their session."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

import msgspec
import trio
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers

from spech.errors import SpechError
from spech.web.auth import Gate, same_origin
from spech.web.connections import ClientConnection
from spech.web.logins import LoginLimiter
from spech.web.people import People
from spech.web.proxies import TrustedProxies
from spech.web.sessions import SESSION_SECONDS, PageSession, Sessions
from spech.web.switchboard import Switchboard

#: Attempts to sign in that may wait for their turn; each takes 50 ms.
_MOST_WAITING: Final = 32
_BUSY_SECONDS: Final = 2.0


class Attempt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request to sign in: a name and a password, or the token of a link."""

    name: str = ""
    password: str = ""
    link: str = ""


class PasswordChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request to change the password of whoever has signed in."""

    old: str
    new: str


class Denial(NamedTuple):
    """Why a request is refused: a status of HTTP and a line of text."""

    status: int
    text: str


class Entrance:
    """Tells whose request it is, and lets people in and out.

    Args:
        gate: under which host names the phone is served.
        people: who may sign in.
        sessions: who has.
        proxies: whose word is taken for the source of an attempt.
        cookie: the name of the cookie. Browsers send a cookie to all ports of a host, so that two
            phones on one host need different names.
    """

    def __init__(
        self,
        gate: Gate,
        people: People,
        sessions: Sessions,
        proxies: TrustedProxies,
        cookie: str,
    ) -> None:
        self._gate = gate
        self._people = people
        self._sessions = sessions
        self._proxies = proxies
        self._cookie = cookie
        self._limiter = LoginLimiter()
        self._turn = trio.Lock()

    def session(self, headers: Headers) -> PageSession | None:
        """The session of a request with these headers, None for a stranger's."""
        token = find_cookie(headers.get("Cookie", ""), self._cookie)
        return None if token is None else self._sessions.find(token)

    def denial(self, headers: Headers, *, page_only: bool) -> Denial | None:
        """Why a request is refused: it names a foreign host, or comes from a foreign page. None if
        it is not.

        Args:
            headers: of the request.
            page_only: for requests that a foreign page may not make: WebSockets, and all that
                change something.
        """
        host = headers.get("Host")
        if not self._gate.host_allowed(host):
            return Denial(
                421,
                "The phone is not served under this host name. Start Spech with --allow-host NAME.",
            )
        if page_only and not same_origin(headers.get("Origin"), host):
            return Denial(403, "This page may not use the phone.")
        return None

    def signed_in(
        self, headers: Headers, connection: ClientConnection | None
    ) -> tuple[PageSession, Switchboard] | None:
        """The session and the switchboard of a request, whose connection is then trusted. None if
        it is a stranger's."""
        session = self.session(headers)
        switchboard = None if session is None else self._people.switchboard(session.person)
        if session is None or switchboard is None:
            return None
        if connection is not None:
            connection.trust()
        return session, switchboard

    def admits(self, headers: Headers, connection: ClientConnection) -> bool:
        """Whether a WebSocket may be opened."""
        denied = self.denial(headers, page_only=True)
        return denied is None and self.signed_in(headers, connection) is not None

    def add_routes(self, app: QuartTrio) -> None:
        """Serve ``/session``, ``/sessions`` and ``/password`` of docs/protocol.md."""

        @app.get("/session")
        async def session() -> Response:
            return Response(b"", status=401 if self.session(request.headers) is None else 204)

        @app.post("/session")
        async def sign_in() -> Response:
            try:
                attempt = msgspec.json.decode(await request.get_data(), type=Attempt)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return refusal(400, "A name with a password, or a link, is needed.")
            return await self._sign_in(attempt)

        @app.delete("/session")
        async def sign_out() -> Response:
            session = self.session(request.headers)
            if session is not None:
                await self._sessions.end(session)
            return self._without_cookie()

        @app.delete("/sessions")
        async def sign_out_everywhere() -> Response:
            session = self.session(request.headers)
            if session is not None:
                await self._sessions.end_all(session.person)
            return self._without_cookie()

        @app.post("/password")
        async def change_password() -> Response:
            session = self.session(request.headers)
            if session is None:
                return refusal(401, "Nobody has signed in here.")
            try:
                passwords = msgspec.json.decode(await request.get_data(), type=PasswordChange)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return refusal(400, "The old and the new password are needed.")
            choose = partial(self._people.choose_password, session, passwords.old, passwords.new)
            try:
                outcome = await self._compare(session.person, choose)
            except SpechError as error:
                return refusal(409, str(error))
            return outcome if isinstance(outcome, Response) else Response(b"", status=204)

    async def _sign_in(self, attempt: Attempt) -> Response:
        if attempt.link:
            # Nobody guesses the token of a link, so that attempts need no limit.
            person = self._sessions.redeem(attempt.link)
            if person is None:
                return refusal(401, "The link was used, or it is too old.")
            return await self._begin_session(person)
        check = partial(self._people.check, attempt.name, attempt.password)
        outcome = await self._compare(attempt.name, check)
        return outcome if isinstance(outcome, Response) else await self._begin_session(outcome)

    async def _compare(
        self, name: str, check: Callable[[], Awaitable[str | None]]
    ) -> str | Response:
        """The id of a person whose password ``check`` finds to be right, or a refusal.

        A source has a limited number of failures. ``name`` is the one that a password is for.
        """
        peer = (request.scope.get("client") or ("unknown",))[0]
        source = self._proxies.client(peer, request.headers.to_wsgi_list()).source
        if self._turn.statistics().tasks_waiting >= _MOST_WAITING:
            return _too_many(_BUSY_SECONDS)
        # One at a time, so that a source cannot have many passwords compared before one fails.
        async with self._turn:
            wait = self._limiter.wait(source, trio.current_time())
            if wait > 0:
                return _too_many(wait)
            person = await check()
            if person is None:
                self._limiter.fail(source, name, trio.current_time())
                return refusal(401, "The name or the password is wrong.")
            self._limiter.succeed(source, name)
            return person

    async def _begin_session(self, person: str) -> Response:
        response = Response(b"", status=204)
        self._set_cookie(response, await self._sessions.begin(person), SESSION_SECONDS)
        return response

    def _without_cookie(self) -> Response:
        response = Response(b"", status=204)
        self._set_cookie(response, "", 0)
        return response

    def _set_cookie(self, response: Response, value: str, seconds: int) -> None:
        response.set_cookie(
            self._cookie,
            value,
            max_age=seconds,
            # The browser itself tells that its page came over TLS, whatever is between us.
            secure=request.headers.get("Origin", "").startswith("https:"),
            httponly=True,
            samesite="Strict",
        )


def find_cookie(header: str, name: str) -> str | None:
    """The value of a cookie in a Cookie header (RFC 6265 4.2.1), None if it is not there.

    Werkzeug's parser takes time in proportion to the square of the header.
    """
    for pair in header.split(";"):
        key, _, value = pair.strip().partition("=")
        if key == name:
            return value
    return None


def refusal(status: int, text: str) -> Response:
    """A response that says in a line of text why a request is refused."""
    return Response(text + "\n", status=status, content_type="text/plain; charset=utf-8")


def _too_many(wait: float) -> Response:
    response = refusal(429, "Too many attempts to sign in. Wait before the next one.")
    response.headers["Retry-After"] = str(math.ceil(wait))
    return response
