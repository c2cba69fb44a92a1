"""What becomes of an incoming call before a program sees it: forwarding, do not disturb."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

#: Why a call was forwarded (RFC 5806).
DiversionReason = Literal["unconditional", "user-busy", "no-answer", "do-not-disturb"]


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """How a call is turned away.

    Attributes:
        status: the SIP status of the answer; 302 where it is forwarded.
        reason: why.
        target: where it is forwarded to, "" if it is refused.
    """

    status: int
    reason: DiversionReason
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRules:
    """Rules for the incoming calls of a phone. They may be replaced at any time.

        phone.rules = CallRules(forward_unanswered="500", unanswered_after=20)

    A call that is forwarded is answered with 302, and its caller's server calls the target, if it
    follows redirections. The targets are numbers or names at the account's server, or SIP URIs.
    A call that was diverted from our address before, or five times, is not forwarded: it would go
    round in a circle (RFC 5806).

    Attributes:
        do_not_disturb: refuse calls with 480 (RFC 3261 21.4.18).
        call_waiting: ring during another call; False refuses a second one with 486.
        engaged: count as being in a call: for programs whose calls are not all on one phone.
        forward: where all calls go.
        forward_busy: where calls go that would be refused otherwise.
        forward_unanswered: where calls go that have rung for ``unanswered_after`` seconds.
        unanswered_after: seconds.
    """

    do_not_disturb: bool = False
    call_waiting: bool = True
    engaged: bool = False
    forward: str = ""
    forward_busy: str = ""
    forward_unanswered: str = ""
    unanswered_after: float = 20.0

    def decide(self, *, busy: bool) -> TurnedAway | None:
        """How a call that arrives now is turned away, None if it rings.

        Args:
            busy: whether the phone has another call.
        """
        if self.forward:
            return TurnedAway(302, "unconditional", self.forward)
        if self.do_not_disturb:
            refused = TurnedAway(480, "do-not-disturb")
        elif (busy or self.engaged) and not self.call_waiting:
            refused = TurnedAway(486, "user-busy")
        else:
            return None
        if self.forward_busy:
            return TurnedAway(302, refused.reason, self.forward_busy)
        return refused


def without_forwarding(rules: CallRules) -> CallRules:
    """The same rules, but calls that would be forwarded ring or are refused."""
    return replace(rules, forward="", forward_busy="", forward_unanswered="")
