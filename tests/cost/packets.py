"""Every parser of what comes to the ports of media: RTP, RTCP, STUN, ICE and DTLS."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from functools import cache
from typing import Final

from spech.agreement import DtlsPeer, IceAgreement, IceSide, local_candidates
from spech.rtp import packet, rtcp, stun
from spech.rtp.dtls import Association, Certificate
from spech.rtp.dtmf import DigitReceiver
from spech.rtp.ice import IceAgent

from .parser import Parser

_PEER: Final = ("192.0.2.2", 4000)
_OURS: Final = IceSide("ours", "p" * 22, local_candidates([("192.0.2.1", 6000)]))
_THEIRS: Final = IceSide("they", "q" * 22, local_candidates([_PEER]))


def _digits(data: bytes) -> None:
    """Telephone-events, each as long as those of other implementations."""
    receiver = DigitReceiver()
    for start in range(0, len(data), 4):
        receiver.receive_telephone_event(start, data[start : start + 4])


# Packets: lengths in their heads are put right, so that the contents are read.


def _stun(data: bytes) -> object:
    data += b"\0" * (-len(data) % 4)
    return stun.parse(
        struct.pack("!HHI12s", 0x0001, len(data) & 0xFFFF, stun.STUN_MAGIC, b"") + data
    )


def _ice(data: bytes) -> None:
    """An attribute in a check that has the right password, whose fields are read then."""
    data = data[:65_000]
    check = stun.build(
        stun.Kind.REQUEST,
        bytes(12),
        [
            (stun.Attribute.USERNAME, b"ours:they"),
            (stun.Attribute.PRIORITY, bytes(4)),
            (stun.Attribute.ICE_CONTROLLED, bytes(8)),
            (0x8022, data),
        ],
        b"p" * 22,
    )
    agent = IceAgent(
        IceAgreement(_OURS, _THEIRS, controlling=True), {1, 2}, 0.0, rng=random.Random(1)
    )
    agent.receive_stun(check, 1, _PEER, 0.0)
    agent.receive_stun(data, 1, _PEER, 0.0)
    agent.to_send()


def _rtcp(kind: int, first: int) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        data = data[: 4 * 0xFFFF]
        data += b"\0" * (-len(data) % 4)
        return rtcp.parse(struct.pack("!BBH", first, kind, len(data) // 4) + data)

    return read


def _many_rtcp(data: bytes) -> object:
    """Packets without contents, as many as the input has bytes."""
    return rtcp.parse(b"".join(bytes((0x80, 200 + one % 8, 0, 0)) for one in data[:16_000]))


@cache
def _certificate() -> Certificate:
    return Certificate()


def _dtls(data: bytes) -> None:
    association = Association(_certificate(), DtlsPeer((("sha-256", "00"),), client=False))
    for start in range(0, len(data), 1400):
        association.receive_datagram(
            data[start : start + 1400], ("192.0.2.1", 4000), ("192.0.2.1", 4000)
        )


KINDS: Final = {
    "RTP": (
        Parser("rtp", packet.parse, ((b"", b""), (b"\x9f", b""), (b"\x90" + bytes(11), b""))),
        Parser("digits", _digits),
    ),
    "STUN": (Parser("stun", _stun), Parser("ice", _ice)),
    "RTCP": (
        *(
            Parser(f"rtcp {kind} {first:02x}", _rtcp(kind, first))
            for kind in (*range(200, 207), 208)
            for first in (0x80, 0x9F, 0xBF)
        ),
        Parser("rtcp packets", _many_rtcp),
        Parser("rtcp compound", rtcp.parse),
    ),
    "XR": (Parser("xr", _rtcp(207, 0x80)), Parser("xr padded", _rtcp(207, 0xBF))),
    "DTLS": (
        Parser("dtls", _dtls, ((b"", b""), (b"\x16\xfe\xff" + bytes(8) + b"\x04\0\x01", b""))),
    ),
}
