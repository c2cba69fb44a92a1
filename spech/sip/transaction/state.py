"""The four transaction state machines of SIP, as data.

``TABLE[state][input] = (next state, actions)``. An input that a state does not list is ignored
when it came from the network (UDP duplicates datagrams) and is a ``LocalProtocolError`` when it
came from our own side. :mod:`spech.sip.transaction.transaction` runs these tables.

Sources: RFC 3261 17.1.1 (figure 5), 17.1.2 (figure 6), 17.2.1 (figure 7), 17.2.2 (figure 8), with
the Accepted state and timers L and M of RFC 6026, which replaces the INVITE machines.
"""

from __future__ import annotations

import enum
from typing import Final


class TransactionState(enum.Enum):
    """The state of a transaction."""

    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    #: A 2xx has passed; more of them may come from forks (RFC 6026).
    ACCEPTED = "accepted"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Input(enum.Enum):
    """The inputs of a transaction."""

    # From the network.
    REQUEST = "request"  #: the same request once more
    ACK = "ACK"
    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "3xx-6xx"
    TRANSPORT_ERROR = "transport error"
    # From our own side.
    SEND_PROVISIONAL = "send 1xx"
    SEND_SUCCESS = "send 2xx"
    SEND_FAILURE = "send 3xx-6xx"
    # From the clock.
    TIMER_A = "timer A"
    TIMER_B = "timer B"
    TIMER_D = "timer D"
    TIMER_E = "timer E"
    TIMER_F = "timer F"
    TIMER_G = "timer G"
    TIMER_H = "timer H"
    TIMER_I = "timer I"
    TIMER_J = "timer J"
    TIMER_K = "timer K"
    TIMER_L = "timer L"
    TIMER_M = "timer M"


class Action(enum.Enum):
    """The actions of a transition, in the order listed."""

    SEND = "send"  #: the message that came with the input
    RETRANSMIT = "retransmit"  #: the last message sent
    ACK = "ACK"  #: acknowledge a failure response, hop by hop
    DELIVER = "deliver"  #: hand the message to the transaction's user
    TIMEOUT = "timeout"  #: tell the user that no answer came
    TRANSPORT_FAILURE = "transport failure"  #: tell the user that it could not be sent
    START_A = "start A"
    START_B = "start B"
    STOP_A = "stop A"
    STOP_B = "stop B"
    START_D = "start D"
    START_E = "start E"
    START_F = "start F"
    STOP_E = "stop E"
    STOP_F = "stop F"
    START_G = "start G"
    START_H = "start H"
    STOP_G = "stop G"
    STOP_H = "stop H"
    START_I = "start I"
    START_J = "start J"
    START_K = "start K"
    START_L = "start L"
    START_M = "start M"


#: The letters of the timers that actions start and stop.
STARTS: Final = {one: one.value[-1] for one in Action if one.value.startswith("start ")}
STOPS: Final = {one: one.value[-1] for one in Action if one.value.startswith("stop ")}

Transition = tuple[TransactionState, tuple[Action, ...]]
Table = dict[TransactionState, dict[Input, Transition]]

_UNREACHABLE: Final[Transition] = (TransactionState.TERMINATED, (Action.TRANSPORT_FAILURE,))
_TIMED_OUT: Final[Transition] = (TransactionState.TERMINATED, (Action.TIMEOUT,))
_OVER: Final[Transition] = (TransactionState.TERMINATED, ())

#: RFC 3261 17.1.1, RFC 6026 8.4. Starts with SEND, START_A, START_B.
INVITE_CLIENT: Final[Table] = {
    TransactionState.CALLING: {
        Input.TIMER_A: (TransactionState.CALLING, (Action.RETRANSMIT, Action.START_A)),
        Input.TIMER_B: _TIMED_OUT,
        Input.TRANSPORT_ERROR: _UNREACHABLE,
        Input.PROVISIONAL: (
            TransactionState.PROCEEDING,
            (Action.STOP_A, Action.STOP_B, Action.DELIVER),
        ),
        Input.SUCCESS: (
            TransactionState.ACCEPTED,
            (Action.STOP_A, Action.STOP_B, Action.START_M, Action.DELIVER),
        ),
        Input.FAILURE: (
            TransactionState.COMPLETED,
            (Action.STOP_A, Action.STOP_B, Action.ACK, Action.START_D, Action.DELIVER),
        ),
    },
    TransactionState.PROCEEDING: {
        Input.PROVISIONAL: (TransactionState.PROCEEDING, (Action.DELIVER,)),
        Input.SUCCESS: (TransactionState.ACCEPTED, (Action.START_M, Action.DELIVER)),
        Input.FAILURE: (TransactionState.COMPLETED, (Action.ACK, Action.START_D, Action.DELIVER)),
        Input.TRANSPORT_ERROR: _UNREACHABLE,
    },
    TransactionState.ACCEPTED: {
        Input.SUCCESS: (TransactionState.ACCEPTED, (Action.DELIVER,)),
        Input.TIMER_M: _OVER,
    },
    TransactionState.COMPLETED: {
        Input.FAILURE: (TransactionState.COMPLETED, (Action.ACK,)),
        Input.TIMER_D: _OVER,
    },
}

_ANSWERED: Final[Transition] = (
    TransactionState.COMPLETED,
    (Action.STOP_E, Action.STOP_F, Action.START_K, Action.DELIVER),
)

#: RFC 3261 17.1.2. Starts with SEND, START_E, START_F.
CLIENT: Final[Table] = {
    TransactionState.TRYING: {
        Input.TIMER_E: (TransactionState.TRYING, (Action.RETRANSMIT, Action.START_E)),
        Input.TIMER_F: _TIMED_OUT,
        Input.TRANSPORT_ERROR: _UNREACHABLE,
        Input.PROVISIONAL: (TransactionState.PROCEEDING, (Action.DELIVER,)),
        Input.SUCCESS: _ANSWERED,
        Input.FAILURE: _ANSWERED,
    },
    TransactionState.PROCEEDING: {
        Input.TIMER_E: (TransactionState.PROCEEDING, (Action.RETRANSMIT, Action.START_E)),
        Input.TIMER_F: _TIMED_OUT,
        Input.TRANSPORT_ERROR: _UNREACHABLE,
        Input.PROVISIONAL: (TransactionState.PROCEEDING, (Action.DELIVER,)),
        Input.SUCCESS: _ANSWERED,
        Input.FAILURE: _ANSWERED,
    },
    TransactionState.COMPLETED: {
        Input.TIMER_K: _OVER,
    },
}

#: RFC 3261 17.2.1, RFC 6026 8.5 and 8.7. Starts in PROCEEDING, handed to the user by the layer.
INVITE_SERVER: Final[Table] = {
    TransactionState.PROCEEDING: {
        Input.REQUEST: (TransactionState.PROCEEDING, (Action.RETRANSMIT,)),
        Input.SEND_PROVISIONAL: (TransactionState.PROCEEDING, (Action.SEND,)),
        Input.SEND_SUCCESS: (TransactionState.ACCEPTED, (Action.SEND, Action.START_L)),
        Input.SEND_FAILURE: (
            TransactionState.COMPLETED,
            (Action.SEND, Action.START_G, Action.START_H),
        ),
        Input.TRANSPORT_ERROR: _UNREACHABLE,
    },
    TransactionState.ACCEPTED: {
        # The 2xx is retransmitted by the session, never by the transaction.
        Input.REQUEST: (TransactionState.ACCEPTED, ()),
        Input.SEND_SUCCESS: (TransactionState.ACCEPTED, (Action.SEND,)),
        Input.ACK: (TransactionState.ACCEPTED, (Action.DELIVER,)),
        Input.TIMER_L: _OVER,
    },
    TransactionState.COMPLETED: {
        Input.REQUEST: (TransactionState.COMPLETED, (Action.RETRANSMIT,)),
        Input.TIMER_G: (TransactionState.COMPLETED, (Action.RETRANSMIT, Action.START_G)),
        Input.TIMER_H: _TIMED_OUT,
        Input.TRANSPORT_ERROR: _UNREACHABLE,
        Input.ACK: (TransactionState.CONFIRMED, (Action.STOP_G, Action.STOP_H, Action.START_I)),
    },
    TransactionState.CONFIRMED: {
        Input.TIMER_I: _OVER,
    },
}

#: RFC 3261 17.2.2. Starts in TRYING, handed to the user by the layer.
SERVER: Final[Table] = {
    TransactionState.TRYING: {
        Input.SEND_PROVISIONAL: (TransactionState.PROCEEDING, (Action.SEND,)),
        Input.SEND_SUCCESS: (TransactionState.COMPLETED, (Action.SEND, Action.START_J)),
        Input.SEND_FAILURE: (TransactionState.COMPLETED, (Action.SEND, Action.START_J)),
    },
    TransactionState.PROCEEDING: {
        Input.REQUEST: (TransactionState.PROCEEDING, (Action.RETRANSMIT,)),
        Input.SEND_PROVISIONAL: (TransactionState.PROCEEDING, (Action.SEND,)),
        Input.SEND_SUCCESS: (TransactionState.COMPLETED, (Action.SEND, Action.START_J)),
        Input.SEND_FAILURE: (TransactionState.COMPLETED, (Action.SEND, Action.START_J)),
        Input.TRANSPORT_ERROR: _UNREACHABLE,
    },
    TransactionState.COMPLETED: {
        Input.REQUEST: (TransactionState.COMPLETED, (Action.RETRANSMIT,)),
        Input.TRANSPORT_ERROR: _UNREACHABLE,
        Input.TIMER_J: _OVER,
    },
}
