"""Scripted registrars, which accept or challenge REGISTER as a test wants it."""

from __future__ import annotations

import random
from collections.abc import Callable

from spech.sip.dialog.digest import DigestServer, DigestVerdict
from spech.sip.message.headers import AuthHeader
from spech.sip.message.message import Request, Response, response_to
from spech.sip.transaction.flow import Flow

Answer = Callable[[Request, Flow, float], Response | None]


class Registrar:
    """Answers REGISTER as a test wants it."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, Request]] = []
        self.digest = DigestServer("spech", random.Random(1), 60)
        self.password: str | None = None
        self.granted = 300
        self.least = 0

    def __call__(self, request: Request, flow: Flow, now: float) -> Response | None:
        if request.method != "REGISTER":
            return None
        self.seen.append((now, request))
        expires = request.expires or 0
        if 0 < expires < self.least:
            return response_to(request, 423, headers=[("Min-Expires", str(self.least))])
        if self.password is not None:
            value = request.headers.get("Authorization")
            verdict = DigestVerdict.WRONG
            if value is not None:
                given = AuthHeader.parse(value)
                verdict = self.digest.verify(given, "REGISTER", self.password, now)
            if verdict is not DigestVerdict.OK:
                challenges = self.digest.challenge(now, stale=verdict is DigestVerdict.STALE)
                headers = [("WWW-Authenticate", str(one)) for one in challenges]
                return response_to(request, 401, headers=headers)
        contact = f"{request.headers.get('Contact')};expires={min(expires, self.granted)}"
        return response_to(request, 200, headers=[("Contact", contact)])


def challenging(server: DigestServer, passwords: dict[str, str]) -> Answer:
    def screen(request: Request, flow: Flow, now: float) -> Response | None:
        value = request.headers.get("Authorization")
        if value is not None:
            given = AuthHeader.parse(value)
            password = passwords.get(given.parameters.get("username", ""), "")
            if server.verify(given, request.method, password, now) is DigestVerdict.OK:
                return None
        challenges = [("WWW-Authenticate", str(one)) for one in server.challenge(now)]
        return response_to(request, 401, headers=challenges)

    return screen
