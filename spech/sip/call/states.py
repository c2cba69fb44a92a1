"""The states of a call, and the farewell that each of them asks for."""

from __future__ import annotations

import enum
from typing import Final


class SessionState(enum.Enum):
    """The state of a session."""

    CALLING = "we called, no response yet"
    RINGING = "we called, a provisional response came"
    REDIRECTED = "we were redirected, and have not called the new target yet"
    CANCELLING = "we cancelled, the final response is still to come"
    INCOMING = "they called, not yet answered"
    ANSWERED = "we answered, no ACK yet"
    CONFIRMED = "confirmed"
    CLOSING = "BYE sent"
    ENDED = "ended"


class Farewell(enum.Enum):
    """How a session is ended."""

    CANCEL_LATER = "wait for a provisional response, then CANCEL"  # RFC 3261 9.1
    CANCEL = "CANCEL"
    DECLINE = "a final failure response"
    BYE_LATER = "wait for the ACK or 64*T1, then BYE"  # RFC 3261 15
    BYE = "BYE"
    FORGET = "nothing: no request is pending"
    NOTHING = "nothing: it has been sent"


#: The farewell in each state. A 2xx that crosses our CANCEL, or comes from a further fork, is
#: acknowledged and then ended with BYE: see :meth:`spech.sip.call.session.Session.accepted`.
FAREWELL: Final[dict[SessionState, Farewell]] = {
    SessionState.CALLING: Farewell.CANCEL_LATER,
    SessionState.RINGING: Farewell.CANCEL,
    SessionState.REDIRECTED: Farewell.FORGET,
    SessionState.CANCELLING: Farewell.NOTHING,
    SessionState.INCOMING: Farewell.DECLINE,
    SessionState.ANSWERED: Farewell.BYE_LATER,
    SessionState.CONFIRMED: Farewell.BYE,
    SessionState.CLOSING: Farewell.NOTHING,
    SessionState.ENDED: Farewell.NOTHING,
}
