"""What offer and answer agree on for a call's sound: plain values.

Signalling negotiates these values and media uses them. They are below both, because neither
imports the other: addresses and ICE candidates (RFC 8445 5), SRTP keys and DTLS fingerprints,
and the agreement itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from spech.addresses import Address, numeric

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
"""The direction of media, as session descriptions name it (RFC 8866 6.7)."""

RTP: Final = 1
"""The component of RTP; the only one if RTCP shares its port."""

RTCP: Final = 2
"""The component of RTCP."""

#: The type preferences (RFC 8445 5.1.2.2).
_TYPE_PREFERENCES: Final = {"host": 126, "prflx": 110, "srflx": 100, "relay": 0}
_LOCAL_PREFERENCE: Final = 65535  # A call uses one of our addresses only.


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address at which a component may be reached.

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
    """Both sides, and whether ours is controlling (RFC 8445 6.1.1)."""

    local: IceSide
    remote: IceSide
    controlling: bool


def priority(kind: str, component: int) -> int:
    """The priority of a candidate of ours (RFC 8445 5.1.2.1)."""
    return _TYPE_PREFERENCES[kind] << 24 | _LOCAL_PREFERENCE << 8 | 256 - component


def local_candidates(
    bases: Sequence[Address], seen: Sequence[Address | None] = ()
) -> tuple[Candidate, ...]:
    """Our candidates: the addresses of our sockets, RTP first, and their server-reflexive ones."""
    found = [
        Candidate("1", component, priority("host", component), base, "host")
        for component, base in enumerate(bases, RTP)
    ]
    for component, (base, outside) in enumerate(zip(bases, seen, strict=False), RTP):
        if outside is not None and outside != base:
            rank = priority("srflx", component)
            found.append(Candidate("2", component, rank, outside, "srflx", base))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class SrtpKeys:
    """The keys of both directions, each a master key followed by its salt.

    ``suite`` is a crypto suite as session descriptions name it (RFC 4568 6.2, RFC 7714 14.2).
    """

    suite: str
    send: bytes = field(repr=False)
    receive: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DtlsPeer:
    """The peer's certificate in a DTLS handshake, and which side is the client.

    ``fingerprints`` are pairs of a hash (``sha-256``) and its digest in hexadecimal digits;
    ``client`` is whether we are the client. ``number`` counts our restarts of the handshake.
    """

    fingerprints: tuple[tuple[str, str], ...]
    client: bool
    number: int = 0


Security = SrtpKeys | DtlsPeer


@dataclass(frozen=True, slots=True)
class ReceiveFormat:
    """An audio format that the peer may send: its payload type, and the codec's registry name.

    ``fmtp`` is what the peer says about the codec.
    """

    payload_type: int
    codec: str
    fmtp: str | None = None


@dataclass(frozen=True, slots=True)
class Agreed:
    """What both ends agreed on, as seen by us.

    Attributes:
        codec: the codec that we send, a name of the registry with settings.
        payload_type_send: its payload type in what we send.
        payload_type_receive: its payload type in what we receive.
        telephone_event_send: the payload type of the telephone-events that we send, None if
            none was agreed.
        telephone_event_receive: the payload type that the peer should use for them.
        remote: where RTP goes. The host is 0.0.0.0 while ``remote_name`` is not resolved.
        remote_rtcp: where RTCP goes; the same address if RTCP shares the port of RTP.
        direction: sendrecv, sendonly, recvonly or inactive.
        ptime_ms: the length of the packets that we send, 10 to 200.
        fmtp: what the peer says about ``codec``.
        security: how the media is encrypted, None if it is not.
        extended_reports: the supported kinds of RTCP XR that the peer requests.
        ice: the ICE parameters that find the path to the peer, in place of ``remote``.
        comfort_noise_send, comfort_noise_receive: payload types, None where not agreed.
        receive_formats: every format that the peer may send at any time, without a further offer
            (RFC 3264 6.1); the first is ``codec``.
        receive_events: payload type and clock rate in Hz of every telephone-event that the peer
            may send: all that were offered, because peers choose one that the answer left out.
        telephone_event_clock: the clock rate in Hz of ``telephone_event_send``, None if it is the
            codec's.
        remote_name: the host name in the peer's description, if it gives no address
            (RFC 8866 5.7). It has to be resolved, see :meth:`located`.
    """

    codec: str
    payload_type_send: int
    payload_type_receive: int
    telephone_event_send: int | None
    telephone_event_receive: int | None
    remote: Address
    remote_rtcp: Address
    direction: Direction = "sendrecv"
    ptime_ms: int = 20
    fmtp: str | None = None
    security: Security | None = None
    extended_reports: frozenset[str] = frozenset()
    ice: IceAgreement | None = None
    comfort_noise_send: int | None = None
    comfort_noise_receive: int | None = None
    receive_formats: tuple[ReceiveFormat, ...] = ()
    receive_events: tuple[tuple[int, int], ...] = ()
    telephone_event_clock: int | None = None
    remote_name: str | None = None

    def reachable_from(self, host: str) -> bool:
        """Whether media goes to the IP version of ``host``, which our sockets share with it.

        A peer with both versions may name the other one. An unspecified address is a hold, and
        counts as reachable.
        """
        theirs, ours = numeric(self.remote[0]), numeric(host)
        if theirs is None or ours is None or theirs.is_unspecified:
            return True
        return theirs.version == ours.version

    def located(self, host: str) -> Agreed:
        """The same agreement with another address for the peer's media.

        ``host`` is what ``remote_name`` resolves to. Until then, and where the peer's address is of
        an IP version that our sockets cannot send to, it is the host that signalling comes from,
        because media often does too; symmetric RTP then finds the right port.
        """
        return replace(self, remote=(host, self.remote[1]), remote_rtcp=(host, self.remote_rtcp[1]))
