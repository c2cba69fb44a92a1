"""Where a call's sound can be reached, as ICE sees it (RFC 8445 section 5): plain values.

They stand below signalling and media, because both speak of them and neither knows the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

Address = tuple[str, int]

RTP: Final = 1
"""The component of the sound; where RTCP shares its port, the only one."""

RTCP: Final = 2
"""The component of the reports."""

#: Which kinds are tried first (RFC 8445 5.1.2.2).
_TYPE_PREFERENCES: Final = {"host": 126, "prflx": 110, "srflx": 100, "relay": 0}
_LOCAL_PREFERENCE: Final = 65535  # One address of ours carries a call.


@dataclass(frozen=True, slots=True)
class Candidate:
    """One address at which a component may be reached.

    ``kind`` is host, srflx (seen by a STUN server), prflx (seen by the peer) or relay; ``related``
    is the address behind a reflexive one.
    """

    foundation: str
    component: int
    priority: int
    address: Address
    kind: str
    related: Address | None = None


@dataclass(frozen=True, slots=True)
class IceSide:
    """What one side says about itself: credentials and candidates.

    A ``lite`` side makes no checks of its own (RFC 8445 2.5).
    """

    fragment: str
    password: str = field(repr=False)
    candidates: tuple[Candidate, ...]
    lite: bool = False


@dataclass(frozen=True, slots=True)
class IceAgreement:
    """Both sides, and whether it is ours that decides which pair is used (RFC 8445 6.1.1)."""

    local: IceSide
    remote: IceSide
    controlling: bool


def priority(kind: str, component: int) -> int:
    """The priority of a candidate of ours (RFC 8445 5.1.2.1)."""
    return _TYPE_PREFERENCES[kind] << 24 | _LOCAL_PREFERENCE << 8 | 256 - component


def local_candidates(
    bases: Sequence[Address], seen: Sequence[Address | None] = ()
) -> tuple[Candidate, ...]:
    """Our candidates: the addresses of our sockets, RTP first, and how a STUN server saw them."""
    found = [
        Candidate("1", component, priority("host", component), base, "host")
        for component, base in enumerate(bases, RTP)
    ]
    for component, (base, outside) in enumerate(zip(bases, seen, strict=False), RTP):
        if outside is not None and outside != base:
            rank = priority("srflx", component)
            found.append(Candidate("2", component, rank, outside, "srflx", base))
    return tuple(found)
