"""Feeds the media path with coverage-guided mutations. Not a test: run it manually.

    pip install '.[dev]'
    python tests/fuzz/rtp.py --seeds FOLDER
    python tests/fuzz/rtp.py -max_total_time=600 FOLDER

The first command writes valid packets of each kind into ``FOLDER``, where mutation begins. The
second one collects the inputs there that reach new code, so that another run continues from them.
The options are those of libFuzzer. An input that makes it fail is written to a file, and is run
again with ``python tests/fuzz/rtp.py FILE``.

The first byte of an input chooses the subject: a parser of RTP, RTCP, XR or STUN, an end of a DTLS
handshake, an ICE agent, or a whole stream that is plain, has ICE, or is encrypted. The rest is its
datagrams; between two of them stands ``00 0A 00``.
"""

from __future__ import annotations

import contextlib
import logging
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["spech.rtp"]):
    from spech.agreement import DtlsPeer, IceAgreement, IceSide, SrtpKeys, local_candidates
    from spech.errors import RemoteProtocolError
    from spech.rtp import packet as rtp
    from spech.rtp import rtcp, stun, xr
    from spech.rtp.dtls import Association, Certificate
    from spech.rtp.ice import IceAgent
    from spech.rtp.ports import PortPair
    from spech.rtp.session import RtpSession
    from spech.rtp.srtp import Sealer
    from spech.rtp.stream import Stream

_PEER = ("192.0.2.2", 4000)
_STRANGER = ("203.0.113.5", 6000)
_SEPARATOR = b"\0\n\0"
_SUITE = "AES_CM_128_HMAC_SHA1_80"
_KEYS = SrtpKeys(_SUITE, bytes(30), bytes(range(30)))
_CERTIFICATE = Certificate()
_FINGERPRINT = (("sha-256", "00" * 32),)
_OURS = IceSide("ours", "p" * 22, local_candidates([("192.0.2.1", 6000), ("192.0.2.1", 6001)]))
_THEIRS = IceSide("they", "q" * 22, local_candidates([_PEER, (_PEER[0], _PEER[1] + 1)]))
_CHECK = [
    (stun.Attribute.USERNAME, b"ours:they"),
    (stun.Attribute.PRIORITY, bytes(4)),
    (stun.Attribute.ICE_CONTROLLED, bytes(8)),
]


class Box:
    """A socket whose datagrams come from an input."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.count = 0

    def recvmsg(self, size: int, _: int) -> tuple[Any, ...]:
        if not self.waiting:
            raise BlockingIOError
        data = self.waiting.pop(0)[:size]
        self.count += 1
        return data, [], 0, _PEER if self.count % 4 else _STRANGER

    def sendto(self, data: bytes, destination: tuple[str, int]) -> None:
        assert data
        assert destination[1] >= 0


def parse_rtp(data: bytes) -> None:
    packet = rtp.parse(data)
    again = rtp.build(*packet)
    assert rtp.parse(again) == packet


def parse_rtcp(data: bytes) -> None:
    for packet in rtcp.parse(data):
        if not isinstance(packet, xr.ExtendedReport):
            rtcp.parse(rtcp.build(packet))


def parse_xr(data: bytes) -> None:
    size = len(data) // 4 * 4
    rtcp.parse(b"\x80\xcf" + (size // 4).to_bytes(2, "big") + data[:size])


def parse_stun(data: bytes) -> None:
    message = stun.parse(data)
    assert message.mapped_address is None or 0 <= message.mapped_address[1] < 65536
    assert message.error is None or 300 <= message.error[0] < 700
    message.is_authentic(b"p" * 22)
    assert all(kind < 0x8000 for kind in message.unknown)


def handshake(client: bool) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        association = Association(_CERTIFICATE, DtlsPeer(_FINGERPRINT, client=client))
        for count, datagram in enumerate(_datagrams(data)):
            association.tick(count * 0.02, _PEER)
            association.receive_datagram(datagram, _PEER if count % 4 else _STRANGER, _PEER)
        assert association.keys is None, "keys without the certificate"
        assert len(association._handshakes) <= 4

    return run


def ice(data: bytes) -> None:
    agreement = IceAgreement(_OURS, _THEIRS, controlling=True)
    agent = IceAgent(agreement, {1, 2}, 0.0, rng=random.Random(1))
    for count, datagram in enumerate(_datagrams(data)):
        agent.handle_timer(count * 0.02)
        with contextlib.suppress(RemoteProtocolError):
            agent.receive_stun(datagram, 1 + count % 2, _PEER, count * 0.02)
        agent.to_send()


def stream(security: object, agreement: IceAgreement | None) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        session = RtpSession(rng=random.Random(1), epoch=0.0)
        session.configure(
            clock_rate=8000, audio_send=0, audio_receive=0, event_send=101, event_receive=101
        )
        media, control = Box(), Box()
        pair = PortPair(media, control, "192.0.2.1", 6000)  # type: ignore[arg-type]
        subject = Stream(pair, session, lambda: _CERTIFICATE)
        agent = None
        if agreement is not None:
            agent = IceAgent(agreement, {1, 2}, 0.0, rng=random.Random(1))
        subject.negotiate(_PEER, (_PEER[0], _PEER[1] + 1), agent)
        subject.secure(security)  # type: ignore[arg-type]
        for count, datagram in enumerate(_datagrams(data)):
            now = 1.0 + count * 0.02
            (control if count % 5 == 4 else media).waiting.append(datagram)
            subject.drain(now)
            subject.drain_rtcp(now)
            taken = session.buffer.take(now)
            if taken is not None:
                session.buffer.played(160)
            subject.send_rtcp(session.report(now))
        assert subject.faults == 0, "our code failed at a packet"
        assert len(session.buffer) <= 100
        assert session.lost >= 0

    return run


SUBJECTS: tuple[Callable[[bytes], None], ...] = (
    parse_rtp,
    parse_rtcp,
    parse_xr,
    parse_stun,
    handshake(client=False),
    handshake(client=True),
    ice,
    stream(None, None),
    stream(None, IceAgreement(_OURS, _THEIRS, controlling=False)),
    stream(_KEYS, None),
    stream(DtlsPeer(_FINGERPRINT, client=False), None),
)


def _datagrams(data: bytes) -> list[bytes]:
    return [one for one in data.split(_SEPARATOR)[:200] if one]


def one_input(data: bytes) -> None:
    if data:
        with contextlib.suppress(RemoteProtocolError):
            SUBJECTS[data[0] % len(SUBJECTS)](data[1:])


def seeds() -> Iterator[bytes]:
    """Valid input for each subject."""
    sounds = [rtp.build(0, n == 0, n, 160 * n, 7, bytes(160)) for n in range(12)]
    event = rtp.build(101, True, 12, 1920, 7, b"\x05\x8a\x03\x20")
    block = rtcp.ReportBlock(7, 1, 2, 3, 4, 5, 6)
    metrics = xr.VoipMetrics(7, 0.1, 0.1, 0.1, 0.1, 1, 1, 0.1, 0.1, 90.0, 4.0, 4.0, 0.1, 0.3)
    delays = xr.Delays((xr.Delay(1, 2, 3),))
    extended = xr.ExtendedReport(7, (xr.ReceiverReference(5), delays, metrics))
    report = rtcp.Report(7, rtcp.SenderInfo(1, 2, 3, 4), (block,))
    packets = (report, rtcp.SourceDescription(7, "x"), extended, rtcp.Goodbye(7))
    compound = b"".join(rtcp.build(packet) for packet in packets)
    check = stun.build(stun.Kind.REQUEST, bytes(12), _CHECK, b"p" * 22)
    mapped = stun.build(stun.Kind.SUCCESS, bytes(12), [stun.mapped(_PEER, bytes(12))], b"q" * 22)
    caller = Association(Certificate(), DtlsPeer(_FINGERPRINT, client=True))
    hello = caller.tick(0.0, _PEER)[0][0]
    callee = Association(Certificate(), DtlsPeer(_FINGERPRINT, client=False))
    callee.receive_datagram(hello, _PEER, _PEER)
    answers = [datagram for datagram, _ in callee.tick(0.0, _PEER)]
    sealer = Sealer(_SUITE, _KEYS.receive)
    sealed = [sealer.seal(sound) for sound in sounds]
    for subject, datagrams in enumerate(
        (
            sounds[:1],
            [compound],
            [xr.build(extended)],
            [check],
            [hello, hello],
            answers,
            [check, mapped],
            [*sounds, event, compound],
            [check, *sounds, compound],
            [*sealed, sealer.seal_rtcp(compound)],
            [hello, *sounds],
        )
    ):
        yield bytes((subject,)) + _SEPARATOR.join(datagrams)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--seeds"]:
        folder = Path(sys.argv[2])
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds()):
            (folder / f"seed-{number:02}").write_bytes(seed)
    else:
        logging.disable()
        atheris.Setup(sys.argv, one_input)
        atheris.Fuzz()
