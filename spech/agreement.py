"""What offer and answer agreed on for a call's sound: plain values.

They stand below signalling and media, because both speak of them and neither knows the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from spech.candidates import Address, IceAgreement
from spech.keying import Security


@dataclass(frozen=True, slots=True)
class Agreed:
    """What both ends agreed on, as seen by us.

    ``codec`` is a name of the registry, with settings; payload types are those of each direction,
    None where no telephone-event or comfort noise was agreed; ``direction`` is sendrecv, sendonly,
    recvonly or inactive; ``ptime_ms`` is the length of the packets that we send, 10 to 200;
    ``fmtp`` is what the peer says about the codec; ``security`` is how the sound is encrypted,
    None where it is not; ``extended_reports`` are the kinds of RTCP XR that the peer asks for, of
    those that we know; ``ice`` finds the way to the peer in place of ``remote``.
    """

    codec: str
    payload_type_send: int
    payload_type_receive: int
    telephone_event_send: int | None
    telephone_event_receive: int | None
    remote: Address
    remote_rtcp: Address
    direction: str = "sendrecv"
    ptime_ms: int = 20
    fmtp: str | None = None
    security: Security | None = None
    extended_reports: frozenset[str] = frozenset()
    ice: IceAgreement | None = None
    comfort_noise_send: int | None = None
    comfort_noise_receive: int | None = None
