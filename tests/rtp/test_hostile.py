"""Arbitrary datagrams to the sockets of a call raise nothing and accumulate nothing."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest
import trio.testing

from spech.agreement import (
    Agreed,
    DtlsPeer,
    IceAgreement,
    IceSide,
    Security,
    SrtpKeys,
    local_candidates,
)
from spech.media.engine import Media
from spech.rtp import packet as rtp
from spech.rtp import rtcp, stun, xr
from spech.rtp.dtls import Certificate
from spech.rtp.ports import PortPair
from spech.rtp.srtp import Sealer

from ..inside import rtp_of, stream_of
from .conftest import FakeSocket

PEER, PEER_RTCP = ("127.0.0.2", 4000), ("127.0.0.2", 4001)
KEY = bytes(range(30))
SUITE = "AES_CM_128_HMAC_SHA1_80"


class Attacker:
    """Makes datagrams that are almost valid, and some that are not."""

    def __init__(self, rng: random.Random, ice: IceAgreement | None, sealer: Sealer | None) -> None:
        self.rng = rng
        self.ice = ice
        self.sealer = sealer
        self.sequence, self.timestamp = rng.getrandbits(15), rng.getrandbits(32)

    def datagrams(self) -> Iterator[tuple[int, bytes]]:
        """Component and bytes, some at a time."""
        rng = self.rng
        for _ in range(rng.choice((0, 1, 1, 2, 20))):
            make = rng.choice((self.sound, self.sound, self.report, self.check, self.record))
            yield rng.choice((0, 0, 0, 1)), make()

    def sound(self) -> bytes:
        rng = self.rng
        self.sequence = (self.sequence + rng.choice((1, 1, 1, 1, 2, 2999))) & 0xFFFF
        self.timestamp = (self.timestamp + rng.choice((160, 160, 160, 80000))) & 0xFFFFFFFF
        kind = rng.choice((0, 0, 0, 101, 13, rng.randrange(128)))
        if kind == 101:
            payload = struct.pack(
                "!BBH", rng.randrange(20), rng.randrange(256), rng.randrange(2000)
            )
        else:
            payload = rng.randbytes(rng.choice((160, 160, 160, 0, 1, 40, 8000)))
        packet = rtp.build(kind, rng.random() < 0.1, self.sequence, self.timestamp, 7, payload)
        if self.sealer is not None and rng.random() < 0.8:
            packet = self.sealer.seal(packet)
        return self.damaged(packet)

    def report(self) -> bytes:
        rng = self.rng
        word = rng.getrandbits
        block = rtcp.ReportBlock(
            word(32), word(8), word(20), word(32), word(32), word(32), word(32)
        )
        share = rng.random
        shares = share(), share(), share(), share(), share(), share(), share(), share()
        metrics = xr.VoipMetrics(word(32), *shares, 90.0, 4.0, 4.0, 0.1, 0.3)
        blocks = (
            xr.ReceiverReference(word(64)),
            xr.Delays((xr.Delay(word(32), word(32), word(32)),)),
            metrics,
        )
        packets: list[rtcp.RtcpPacket] = [
            rtcp.Report(7, rtcp.SenderInfo(word(64), word(32), word(32), word(32)), (block,)),
            rtcp.SourceDescription(7, "x" * rng.randrange(300)),
            xr.ExtendedReport(7, blocks),
            rtcp.Goodbye(7),
        ]
        compound = b"".join(map(rtcp.build, rng.sample(packets, rng.randrange(1, 5))))
        if self.sealer is not None and rng.random() < 0.8:
            compound = self.sealer.seal_rtcp(compound)
        return self.damaged(compound)

    def check(self) -> bytes:
        rng = self.rng
        attributes = [(0x24, rng.randbytes(rng.choice((4, 4, 9)))), (0x802A, rng.randbytes(8))]
        password = b"guessed"
        if self.ice is not None:
            local, remote = self.ice.local, self.ice.remote
            attributes.append((6, f"{local.fragment}:{remote.fragment}".encode()))
            password = local.password.encode()
        if rng.random() < 0.5:
            attributes.append((rng.choice((0x25, 0x20, 9, 0x7F)), rng.randbytes(rng.randrange(24))))
        kind = rng.choice(list(stun.Kind))
        return self.damaged(stun.build(kind, rng.randbytes(12), attributes, password))

    def record(self) -> bytes:
        """A datagram that resembles DTLS."""
        rng = self.rng
        body = bytes((rng.choice((1, 2, 11)),)) + rng.randbytes(rng.randrange(100))
        head = bytes((rng.randrange(20, 64), 0xFE, 0xFD)) + rng.randbytes(8)
        return self.damaged(head + len(body).to_bytes(2, "big") + body)

    def damaged(self, datagram: bytes) -> bytes:
        rng = self.rng
        damaged = bytearray(datagram)
        if rng.random() < 0.5:
            for _ in range(rng.randrange(1, 6)):
                damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        return bytes(damaged[: rng.randrange(len(damaged) + 1)] if rng.random() < 0.1 else damaged)


SIDES = (
    IceSide("ours", "p" * 22, local_candidates([("127.0.0.1", 6000), ("127.0.0.1", 6001)])),
    IceSide("they", "q" * 22, local_candidates([PEER, PEER_RTCP])),
)
PLAIN: tuple[Security | None, IceAgreement | None] = (None, None)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("security", "ice"),
    [
        PLAIN,
        (SrtpKeys(SUITE, bytes(30), KEY), None),
        (DtlsPeer((("sha-256", "00" * 32),), client=False), None),
        (DtlsPeer((("sha-256", "00" * 32),), client=True), None),
        (None, IceAgreement(*SIDES, controlling=True)),
        (None, IceAgreement(*SIDES, controlling=False)),
    ],
)
async def test_no_datagram_ends_a_call(
    security: Security | None,
    ice: IceAgreement | None,
    seed: int,
    autojump_clock: trio.testing.MockClock,
) -> None:
    rng = random.Random(seed)
    boxes = FakeSocket(), FakeSocket()
    pair = PortPair(*boxes, "127.0.0.1", 6000)  # type: ignore[arg-type]
    media = Media(pair, rng=random.Random(seed), certificate=Certificate)
    agreed = Agreed(
        "PCMU",
        0,
        0,
        101,
        101,
        PEER,
        PEER_RTCP,
        security=security,
        extended_reports=frozenset({"rcvr-rtt", "voip-metrics"}),
        ice=ice,
    )
    media.configure(agreed)
    sealer = Sealer(SUITE, KEY) if isinstance(security, SrtpKeys) else None
    attacker = Attacker(rng, ice, sealer)
    now = trio.current_time()
    # With ICE the peer, which never answers, counts as lost after 15 s.
    for tick in range(700):
        for component, datagram in attacker.datagrams():
            stranger = (f"127.0.0.{rng.randrange(3, 255)}", rng.randrange(1, 65536))
            source = (PEER, PEER_RTCP)[component] if rng.random() < 0.9 else stranger
            boxes[component].waiting.append((datagram, source))
        media.tick(now)
        if tick % 300 == 299:
            media.configure(agreed)
        now += 0.02
    statistics = media.monitor.statistics
    assert statistics.dropped_invalid + statistics.dropped_unauthentic > 100
    assert statistics.dropped_foreign > 10
    assert stream_of(media).faults == 0
    assert len(rtp_of(media).buffer) <= 100
    media.close()
