"""Session timers: a call that is not refreshed in time is ended (RFC 4028)."""

from __future__ import annotations

from typing import Final

from spech.sip.message.grammar import maybe_number
from spech.sip.message.message import Request, Response
from spech.sip.transaction.timers import TimerOwner, TimerSet

#: The session interval that we propose, in seconds.
PROPOSED: Final = 1800
#: The shortest interval that we accept; RFC 4028 4 allows no less.
LEAST: Final = 90
_MOST: Final = 86_400
#: Seconds until a refresh that failed is tried again.
_AGAIN: Final = 10.0


class SessionTimer:
    """The timer of one session. Its owner serves "refresh" and "expire"."""

    def __init__(self, timers: TimerSet, owner: TimerOwner) -> None:
        #: Seconds between refreshes, or None while no timer was agreed on.
        self.interval: int | None = None
        #: Whether we are the refresher.
        self.ours = False
        #: Whether the peer accepts UPDATE, which refreshes without an offer.
        self.update_allowed = False
        #: Whether the peer accepts INFO.
        self.info_allowed = False
        self._proposed = PROPOSED
        self._least = LEAST
        self._timers = timers
        self._owner = owner

    # ------------------------------------------------------------------ as the UAC

    def proposal(self) -> list[tuple[str, str]]:
        """Headers for an INVITE or UPDATE of ours (7.1)."""
        interval = self.interval or self._proposed
        refresher = "" if self.interval is None else f";refresher={'uac' if self.ours else 'uas'}"
        headers = [("Session-Expires", f"{interval}{refresher}")]
        if self._least > LEAST:
            headers.append(("Min-SE", str(self._least)))
        return headers

    def lengthen(self, response: Response) -> bool:
        """422 Session Interval Too Small: propose what it asks for (7.4). False if we cannot."""
        least = _seconds(response.headers.get("Min-SE"))
        if least is None or not self._proposed < least <= _MOST:
            return False
        self._proposed = self._least = least
        if self.interval is not None:
            self.interval = least
        return True

    def receive_response(self, response: Response, now: float) -> None:
        """Take the agreed interval from a 2xx to our request (7.2)."""
        self._note_peer(response)
        interval = _seconds(response.headers.get("Session-Expires"))
        self.interval = interval
        self.ours = _refresher(response.headers.get("Session-Expires")) != "uas"
        self._restart(now)

    # ------------------------------------------------------------------ as the UAS

    def receive_request(self, request: Request, now: float) -> list[tuple[str, str]]:
        """Settle the timer by their INVITE or UPDATE; headers for our 2xx (9)."""
        self._note_peer(request)
        value = request.headers.get("Session-Expires")
        asked = _seconds(value)
        if asked is None:
            self.interval = None
            self._restart(now)
            return []
        self.interval = max(asked, LEAST)
        able = "timer" in request.headers.values("Supported")
        self.ours = not able or _refresher(value) == "uas"
        self._restart(now)
        headers = [
            ("Session-Expires", f"{self.interval};refresher={'uas' if self.ours else 'uac'}")
        ]
        if not self.ours:
            headers.append(("Require", "timer"))
        return headers

    def refresh_later(self, now: float) -> None:
        """A refresh failed; try again soon, as long as we are the refresher."""
        if self.interval is not None and self.ours:
            self._timers.set(self._owner, "refresh", now + _AGAIN)

    def stop(self) -> None:
        """The session is over."""
        self._timers.clear(self._owner, "refresh", "expire")

    def _note_peer(self, message: Request | Response) -> None:
        allow = message.headers.values("Allow")
        if allow:
            self.update_allowed = "UPDATE" in allow
            self.info_allowed = "INFO" in allow

    def _restart(self, now: float) -> None:
        self.stop()
        if self.interval is None:
            return
        # RFC 4028 10: the refresher acts at half time, the other one gives up shortly before the
        # end, so that its BYE still finds a living proxy.
        if self.ours:
            self._timers.set(self._owner, "refresh", now + self.interval / 2)
        margin = min(32, self.interval / 3)
        self._timers.set(self._owner, "expire", now + self.interval - margin)


def too_brief(request: Request) -> bool:
    """Whether a request asks for less than we accept; 422 answers it (RFC 4028 9)."""
    interval = _seconds(request.headers.get("Session-Expires"))
    if interval is None or interval >= LEAST:
        return False
    return "timer" in request.headers.values("Supported")


def _seconds(value: str | None) -> int | None:
    """Seconds; more than a day counts as a day."""
    text = (value or "").partition(";")[0].strip()
    number = maybe_number(text, 2**31 - 1)
    return None if number is None else min(number, _MOST)


def _refresher(value: str | None) -> str | None:
    for parameter in (value or "").split(";")[1:]:
        name, _, role = parameter.partition("=")
        if name.strip().lower() == "refresher":
            return role.strip().lower()
    return None
