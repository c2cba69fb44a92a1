"""Candidate pairs of ICE (RFC 8445 section 6.1.2): their states as a table, their order."""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass

from spech.addresses import Address
from spech.agreement import Candidate, priority


class PairState(enum.Enum):
    """The states of a candidate pair (section 6.1.2.6)."""

    FROZEN = "waits for another one of its foundation"
    WAITING = "to be checked"
    IN_PROGRESS = "checked, not answered yet"
    SUCCEEDED = "works"
    FAILED = "does not work"


class PairInput(enum.Enum):
    """The inputs of a pair's state machine."""

    THAW = "another one of its foundation works"
    SENT = "a check was sent"
    TRIGGERED = "the peer has checked it"
    ANSWERED = "a check was answered"
    REFUSED = "a check was refused, or never answered"


#: Inputs that a state does not list are ignored.
PAIRS: dict[PairState, dict[PairInput, PairState]] = {
    PairState.FROZEN: {
        PairInput.THAW: PairState.WAITING,
        PairInput.SENT: PairState.IN_PROGRESS,
        PairInput.TRIGGERED: PairState.WAITING,
    },
    PairState.WAITING: {
        PairInput.SENT: PairState.IN_PROGRESS,
        PairInput.ANSWERED: PairState.SUCCEEDED,
    },
    PairState.IN_PROGRESS: {
        PairInput.TRIGGERED: PairState.WAITING,
        PairInput.ANSWERED: PairState.SUCCEEDED,
        PairInput.REFUSED: PairState.FAILED,
    },
    PairState.SUCCEEDED: {
        PairInput.REFUSED: PairState.FAILED,
    },
    PairState.FAILED: {
        PairInput.TRIGGERED: PairState.WAITING,
        PairInput.ANSWERED: PairState.SUCCEEDED,
    },
}


@dataclass(slots=True, eq=False)
class Pair:
    """An address of the peer, checked from our socket of its component.

    A ``nominating`` pair is used as soon as a check of it succeeds (section 8.1.1). ``asked`` is
    when consent is requested next, ``consented`` when it was given last.
    """

    remote: Candidate
    state: PairState = PairState.FROZEN
    nominating: bool = False
    worked_at: float = 0.0
    asked: float = 0.0
    consented: float = 0.0

    @property
    def component(self) -> int:
        return self.remote.component

    def feed(self, what: PairInput) -> None:
        """Change the state by the table."""
        self.state = PAIRS[self.state].get(what, self.state)

    def priority(self, controlling: bool) -> int:
        """The priority of the pair, seen by the side in that role (section 6.1.2.3)."""
        ours, theirs = priority("host", self.component), self.remote.priority
        first, second = (ours, theirs) if controlling else (theirs, ours)
        return min(ours, theirs) << 32 | max(ours, theirs) << 1 | (first > second)


def usable(address: Address, version: int) -> bool:
    """Whether a socket of that IP version can send there, and a host may be there."""
    host = ipaddress.ip_address(address[0])
    return (
        host.version == version
        and not host.is_multicast
        and not host.is_unspecified
        and 0 < address[1] < 65536
    )
