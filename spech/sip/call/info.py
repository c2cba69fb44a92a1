"""Digits in INFO requests, both ways, as many gateways send and accept them (RFC 2976, 6086)."""

from __future__ import annotations

from collections import deque
from typing import Final

from spech.errors import LocalProtocolError
from spech.sip.call.events import DigitSent
from spech.sip.call.leg import Leg
from spech.sip.dialog.requests import DialogRequest
from spech.sip.message.message import Request, Response

_RELAY: Final = "application/dtmf-relay"
_PLAIN: Final = "application/dtmf"
#: Gateways write the event number (RFC 4733 3.2) in place of the character.
_EVENTS: Final = {"10": "*", "11": "#", "12": "A", "13": "B", "14": "C", "15": "D"}
#: Bytes of a body that are read.
_LONGEST: Final = 1024


def dtmf_digit(request: Request) -> str | None:
    """The digit of an ``application/dtmf-relay`` or ``application/dtmf`` body, or None."""
    kind = (request.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    text = request.body[:_LONGEST].decode("ascii", "replace")
    if kind == _RELAY:
        fields = dict(line.partition("=")[::2] for line in text.splitlines())
        text = next(
            (value for name, value in fields.items() if name.strip().lower() == "signal"), ""
        )
    elif kind != _PLAIN:
        return None
    digit = text.strip().upper()
    digit = _EVENTS.get(digit, digit)
    return digit if len(digit) == 1 and digit in "0123456789*#ABCD" else None


class DigitRequests:
    """The digits that one session sends, one request at a time.

    Two at once could overtake each other, and the one with the lower CSeq would be refused (RFC
    3261 12.2.2). A peer that accepts only one type of body gets that one.
    """

    def __init__(self, session: Leg) -> None:
        self._session = session
        self._waiting: deque[tuple[str, int]] = deque()
        self._under_way = False
        self._kind = _RELAY

    @property
    def pending(self) -> bool:
        """Whether a digit waits, or has not been confirmed."""
        return self._under_way or bool(self._waiting)

    def send(self, digit: str, duration_ms: int, now: float) -> None:
        """Send ``digit`` after those that wait; ``DigitSent`` reports the outcome.

        Raises:
            LocalProtocolError: the call is not up.
        """
        if self._session.dialog is None or self._session.is_over:
            raise LocalProtocolError("digits go in INFO only while the call is up")
        self._waiting.append((digit, duration_ms))
        self._proceed(now)

    def _proceed(self, now: float) -> None:
        session = self._session
        if session.is_over:
            self._waiting.clear()
        if self._under_way or not self._waiting:
            return
        digit, duration_ms = self._waiting[0]
        body = f"Signal={digit}\r\nDuration={duration_ms}\r\n" if self._kind == _RELAY else digit
        assert session.dialog is not None
        self._under_way = True
        DialogRequest(
            session.context,
            session.identity,
            session.dialog,
            "INFO",
            now,
            headers=[*session.context.standard_headers(), ("Content-Type", self._kind)],
            body=body.encode(),
            done=self._done,
        )

    def _done(self, status: int, response: Response | None, now: float) -> None:
        self._under_way = False
        accepted = response.headers.values("Accept") if response is not None else ()
        if status == 415 and self._kind == _RELAY and _PLAIN in map(str.lower, accepted):
            self._kind = _PLAIN
            self._proceed(now)
            return
        digit, _ = self._waiting.popleft()
        self._session.context.emit(DigitSent(self._session, digit, status))
        if status == 481:
            self._session.hang_up(now)  # The dialog is gone at the other end (RFC 3261 12.2.1.2).
        self._proceed(now)
