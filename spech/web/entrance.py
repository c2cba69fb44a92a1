"""The entrance: people sign in with a password or a link, and get a cookie for their session."""

from __future__ import annotations

import math
from typing import Final

import msgspec
import trio
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers

from spech.web.logins import LoginLimiter
from spech.web.people import People
from spech.web.proxies import TrustedProxies
from spech.web.sessions import SESSION_SECONDS, PageSession, Sessions

#: Attempts to sign in that may wait for their turn; each takes 50 ms.
_MOST_WAITING: Final = 32
_BUSY_SECONDS: Final = 2.0


class Attempt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request to sign in: a name and a password, or the token of a link."""

    name: str = ""
    password: str = ""
    link: str = ""


class Entrance:
    """Tells whose request it is, and lets people in and out.

    Args:
        people: who may sign in.
        sessions: who has.
        proxies: whose word is taken for the source of an attempt.
        cookie: the name of the cookie. Browsers send a cookie to all ports of a host, so that two
            phones on one host need different names.
    """

    def __init__(
        self, people: People, sessions: Sessions, proxies: TrustedProxies, cookie: str
    ) -> None:
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

    def add_routes(self, app: QuartTrio) -> None:
        """Serve ``/session`` and ``/sessions`` of docs/protocol.md."""

        @app.get("/session")
        async def session() -> Response:
            return Response(b"", status=401 if self.session(request.headers) is None else 204)

        @app.post("/session")
        async def sign_in() -> Response:
            peer = (request.scope.get("client") or ("unknown",))[0]
            source = self._proxies.client(peer, request.headers.to_wsgi_list()).source
            try:
                attempt = msgspec.json.decode(await request.get_data(), type=Attempt)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return refusal(400, "A name with a password, or a link, is needed.")
            return await self._sign_in(attempt, source)

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

    async def _sign_in(self, attempt: Attempt, source: str) -> Response:
        if attempt.link:
            # Nobody guesses the token of a link, so that attempts need no limit.
            person = self._sessions.redeem(attempt.link)
            if person is None:
                return refusal(401, "The link was used, or it is too old.")
            return await self._begin_session(person)
        if self._turn.statistics().tasks_waiting >= _MOST_WAITING:
            return _too_many(_BUSY_SECONDS)
        # One at a time, so that a source cannot have many passwords compared before one fails.
        async with self._turn:
            wait = self._limiter.wait(source, trio.current_time())
            if wait > 0:
                return _too_many(wait)
            person = await self._people.check(attempt.name, attempt.password)
            if person is None:
                self._limiter.fail(source, attempt.name, trio.current_time())
                return refusal(401, "The name or the password is wrong.")
            self._limiter.succeed(source, attempt.name)
        return await self._begin_session(person)

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
