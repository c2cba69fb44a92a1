"""Every parser of input from strangers, by kind, with the places in its input to repeat text in."""

from __future__ import annotations

from itertools import chain
from typing import Final

from . import agent, bots, local, packets, signalling
from .parser import PAIRS, SPECIAL, Parser, repeated

__all__ = ["KINDS", "PAIRS", "PARSERS", "SPECIAL", "USERS", "Parser", "repeated"]

KINDS: Final[dict[str, tuple[Parser, ...]]] = {
    **signalling.KINDS,
    **packets.KINDS,
    **local.KINDS,
    **bots.KINDS,
    "agent": agent.AGENTS,
}
#: Those that make use of other parsers: the negotiation of a stream, and a whole user agent.
USERS: Final = KINDS["negotiations"] + KINDS["agent"]
PARSERS: Final = tuple(one for one in chain(*KINDS.values()) if one not in USERS)
