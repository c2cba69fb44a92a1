"""Two encrypted streams on a simulated network, and whose packets they accept."""

from __future__ import annotations

import random

import pytest

from spech.agreement import DtlsPeer, SrtpKeys
from spech.allowance import Allowance
from spech.rtp import packet as rtp
from spech.rtp.dtls import HANDSHAKE_TIMEOUT, Certificate
from spech.rtp.ports import PortPair
from spech.rtp.session import RtpSession
from spech.rtp.srtp import PROFILES, Opener, Sealer
from spech.rtp.stream import Stream

from ..inside import begin_at, sequence_of
from .conftest import Address, FakeSocket

LEFT, RIGHT = ("192.0.2.1", 4000), ("192.0.2.2", 5000)
STRANGER = ("203.0.113.5", 6000)
LENGTHS = {"AEAD_AES_256_GCM": 44, "AEAD_AES_128_GCM": 28}
SUITE = "AES_CM_128_HMAC_SHA1_80"


class Side:
    """A stream with one payload type, at ``here``, that talks with ``there``."""

    def __init__(
        self,
        here: Address,
        there: Address,
        seed: int,
        sequence: int = 0,
        certificate: Certificate | None = None,
    ) -> None:
        self.here, self.there = here, there
        self.session = RtpSession(rng=random.Random(seed), epoch=0.0)
        begin_at(self.session, sequence)
        self.session.configure(
            clock_rate=8000, audio_send=0, audio_receive=0, event_send=None, event_receive=None
        )
        self.media, self.control = FakeSocket(), FakeSocket()
        pair = PortPair(self.media, self.control, *here)  # type: ignore[arg-type]
        shown = None if certificate is None else lambda: certificate
        self.stream = Stream(pair, self.session, shown)
        self.stream.negotiate(there, (there[0], there[1] + 1))
        self.now = 100.0

    def say(self, payload: bytes = bytes(160)) -> bytes:
        """Send a packet, and return what left the socket."""
        self.session.advance(160)
        self.stream.send(self.session.send(payload, self.session.timestamp))
        return self.media.sent[-1]

    def hear(self, datagram: bytes, source: Address | None = None) -> int:
        """Receive a datagram; return how many packets were accepted so far."""
        self.media.waiting.append((datagram, source or self.there))
        self.now += 0.02
        self.stream.drain(self.now)
        return self.session.counts.received

    @property
    def dropped(self) -> tuple[int, int, int]:
        """The counts of unauthentic, replayed and foreign packets."""
        protection = self.stream.protection
        return protection.unauthentic, protection.replayed, self.stream.foreign


def keys(seed: int, suite: str = SUITE) -> tuple[SrtpKeys, SrtpKeys]:
    """The counts of both sides."""
    rng = random.Random(seed)
    one, other = (rng.randbytes(LENGTHS.get(suite, 30)) for _ in range(2))
    return SrtpKeys(suite, one, other), SrtpKeys(suite, other, one)


def pair(suite: str = SUITE, sequence: int = 0) -> tuple[Side, Side]:
    left, right = Side(LEFT, RIGHT, 1, sequence), Side(RIGHT, LEFT, 2)
    for side, agreed in zip((left, right), keys(1, suite), strict=True):
        side.stream.secure(agreed)
    return left, right


@pytest.mark.parametrize("suite", PROFILES)
@pytest.mark.parametrize("size", [0, 1, 33, 160, 1600, 1920, 8000, 19200])
def test_sound_is_encrypted_and_decrypted(suite: str, size: int) -> None:
    left, right = pair(suite)
    said = random.Random(3).randbytes(size)
    wire = left.say(said)
    assert size < 33 or said[:16] not in wire
    assert right.hear(wire) == 1
    assert right.dropped == (0, 0, 0)
    assert rtp.parse(Opener(suite, keys(1, suite)[1].receive).open(wire)).payload == said


@pytest.mark.parametrize("suite", PROFILES)
def test_reports_are_encrypted_and_decrypted(suite: str) -> None:
    left, right = pair(suite)
    right.hear(left.say())
    left.stream.send_rtcp(left.session.report(100.0))
    (wire,) = left.control.sent
    assert b"@spech" not in wire
    right.stream.send_rtcp(right.session.report(100.0))
    left.control.waiting = [(right.control.sent[0], (RIGHT[0], RIGHT[1] + 1))] * 2
    left.stream.drain_rtcp(100.0)
    assert left.session.reports.remote_report is not None
    assert left.session.reports.remote_report.ssrc == left.session.ssrc
    assert left.dropped == (0, 1, 0)


def test_unencrypted_packets_are_not_accepted() -> None:
    left, right = pair()
    left.stream.secure(None)
    assert right.hear(left.say()) == 0
    left.stream.send_rtcp(left.session.report(100.0))
    right.control.waiting.append((left.control.sent[0], LEFT))
    right.stream.drain_rtcp(100.0)
    assert right.dropped == (2, 0, 0)


def test_packets_under_another_key_are_not_accepted() -> None:
    left, right = pair()
    right.stream.secure(keys(2)[1])
    assert [right.hear(left.say()) for _ in range(5)][-1] == 0
    assert right.dropped == (5, 0, 0)


def test_modified_and_damaged_packets_are_not_accepted(caplog: pytest.LogCaptureFixture) -> None:
    left, right = pair()
    rng = random.Random(4)
    for _ in range(300):
        wire = bytearray(left.say())
        wire[rng.randrange(len(wire))] ^= 1 << rng.randrange(8)
        right.hear(bytes(wire))
        right.hear(bytes(wire[: rng.randrange(len(wire))]))
        right.hear(rng.randbytes(rng.randrange(300)))
    assert right.session.counts.received == 0
    assert right.dropped[0] + right.stream.invalid + right.stream.foreign == 900
    assert right.hear(left.say()) == 1
    assert len(caplog.records) <= 3


def test_a_replayed_packet_is_not_accepted() -> None:
    left, right = pair()
    first, second = left.say(), left.say()
    assert right.hear(second) == 1
    assert right.hear(first) == 2
    assert [right.hear(wire) for wire in (first, second, first)] == [2, 2, 2]
    assert right.dropped == (0, 3, 0)
    assert right.session.counts.duplicates == 0


def test_a_packet_below_the_replay_window_is_not_accepted() -> None:
    left, right = pair()
    old = left.say()
    for _ in range(200):
        right.hear(left.say())
    assert right.hear(old) == 200
    assert right.dropped == (0, 1, 0)


def test_a_third_address_is_never_accepted_and_never_sent_to() -> None:
    """Neither with its own packets nor with genuine ones that it delays and forwards."""
    left, right = pair()
    for _ in range(5):
        right.hear(left.say())
    stranger = Side(STRANGER, RIGHT, 9)
    for _ in range(10):
        right.hear(stranger.say(), STRANGER)
    assert right.dropped == (10, 0, 0)
    for _ in range(10):
        right.hear(left.say(), STRANGER)
    assert right.dropped == (10, 0, 10)
    assert right.session.counts.received == 5
    assert right.stream._source.destination == LEFT


def test_unauthentic_packets_do_not_move_the_remote_address() -> None:
    """Before the peer sends anything, a stranger sends a perfect stream."""
    left, right = pair()
    stranger = Side(STRANGER, RIGHT, 9)
    for _ in range(50):
        right.hear(stranger.say(), STRANGER)
        right.hear(stranger.say(), (LEFT[0], 7777))
    assert right.stream._source.destination == LEFT
    assert right.session.counts.received == 0
    assert right.hear(left.say()) == 1


def test_the_rollover_counter_survives_a_negotiation_with_the_same_keys() -> None:
    left, right = pair(sequence=65_530)
    for _ in range(20):
        right.hear(left.say())
    assert sequence_of(left.session) == 14
    for side, agreed in zip((left, right), keys(1), strict=True):
        side.stream.negotiate(side.there, (side.there[0], side.there[1] + 1))
        side.stream.secure(agreed)
    ssrc = left.session.ssrc
    for _ in range(20):
        right.hear(left.say())
    assert right.session.counts.received == 40
    assert right.dropped == (0, 0, 0)
    assert left.session.ssrc == ssrc


def test_new_keys_after_a_rollover_use_a_new_ssrc() -> None:
    """Then the counter is zero in every interpretation of RFC 3711 section 3.3.1."""
    left, right = pair(sequence=65_530)
    for _ in range(20):
        right.hear(left.say())
    ssrc = left.session.ssrc
    for side, agreed in zip((left, right), keys(2), strict=True):
        side.stream.secure(agreed)
    for _ in range(20):
        right.hear(left.say())
    assert left.session.ssrc != ssrc
    assert right.session.counts.received == 40
    assert right.dropped == (0, 0, 0)


def test_a_peer_may_keep_its_rollover_counter_with_a_new_key() -> None:
    """As RFC 3711 section 3.3.1 requires, although our own streams do not need it."""
    left, right = pair(sequence=65_530)
    heard = [right.hear(left.say()) for _ in range(20)][-1]
    ours, theirs = keys(2)
    right.stream.secure(theirs)
    sealer = Sealer(ours.suite, ours.send)
    begin_at(left.session, 32_000)
    for sequence in (32_000, 64_000, 30_000, 61_000, 20):  # Two rollovers without packets.
        begin_at(left.session, sequence)
        sealed = sealer.seal(left.session.send(bytes(160), left.session.timestamp))
    assert right.hear(sealed) == heard
    sealer = Sealer(ours.suite, ours.send)
    for sequence in (65_000, 20):  # One rollover, which was received.
        begin_at(left.session, sequence)
        sealed = sealer.seal(left.session.send(bytes(160), left.session.timestamp))
    assert right.hear(sealed) == heard + 1
    assert right.hear(sealed) == heard + 1
    assert right.dropped == (1, 1, 0)


def test_impossible_rollover_counts_are_ignored() -> None:
    key = bytes(range(30))
    sealer = Sealer(SUITE, key)
    packet = rtp.build(0, False, 5, 0, 7, bytes(160))
    # Counting up to there would take forever.
    assert Opener(SUITE, key, heard=(7, 1 << 45)).open(sealer.seal(packet)) == packet


def test_a_new_ssrc_of_the_peer_is_accepted() -> None:
    left, right = pair()
    right.hear(left.say())
    left.session.change_source()
    right.hear(left.say())
    assert right.hear(left.say()) == 3
    assert right.session.counts.resynchronised == 1


def test_a_stream_can_change_to_encryption_and_back() -> None:
    left, right = pair()
    for agreed in ((None, None), keys(1), (None, None)):
        for side, ours in zip((left, right), agreed, strict=True):
            side.stream.secure(ours)
        heard = right.session.counts.received
        right.hear(left.say())  # of a new source, which two packets make
        wire = left.say()
        assert (rtp.parse(wire).payload == bytes(160)) == (agreed[0] is None)
        assert right.hear(wire) == heard + 2


# Handshakes


OURS, THEIRS = Certificate(), Certificate()


def announced(certificate: Certificate) -> tuple[tuple[str, str], ...]:
    return (("sha-256", certificate.fingerprint.split()[1].replace(":", "").lower()),)


def shaking(*, mux: bool = False) -> tuple[Side, Side]:
    left, right = Side(LEFT, RIGHT, 1, 0, OURS), Side(RIGHT, LEFT, 2, 0, THEIRS)
    for side, other, client in ((left, THEIRS, True), (right, OURS, False)):
        if mux:
            side.stream.negotiate(side.there, side.there)
        side.stream.secure(DtlsPeer(announced(other), client))
    return left, right


def exchange(left: Side, right: Side, ticks: int = 8) -> None:
    """Carry what both send to each other's sockets."""
    for _ in range(ticks):
        for here, there in ((left, right), (right, left)):
            here.now += 0.02
            here.stream.drain(here.now)
            here.stream.drain_rtcp(here.now)
            for sending, source in (
                (here.media, here.here),
                (here.control, (here.here[0], here.here[1] + 1)),
            ):
                for data, to in zip(sending.sent, sending.to, strict=True):
                    receiving = there.media if to == there.here else there.control
                    receiving.waiting.append((data, source))
                sending.sent.clear()
                sending.to.clear()


@pytest.mark.parametrize("mux", [False, True])
def test_rtp_and_rtcp_have_a_handshake_each(mux: bool) -> None:
    left, right = shaking(mux=mux)
    assert not left.stream.protection.ready
    exchange(left, right)
    assert left.stream.protection.kind == right.stream.protection.kind == "DTLS"
    for side, other in ((left, right), (right, left)):
        assert other.hear(side.say()) == 1
        side.media.sent.clear()
        side.media.to.clear()
    for side in (left, right):
        side.stream.send_rtcp(side.session.report(side.now))
    exchange(left, right, 1)
    exchange(right, left, 1)
    for side, other in ((left, right), (right, left)):
        assert side.session.reports.remote_report is not None
        assert side.session.reports.remote_report.ssrc == side.session.ssrc
        assert side.dropped == (0, 0, 0)
        assert other.stream.invalid == 0


def test_nothing_is_sent_or_accepted_before_the_handshake() -> None:
    left, right = shaking()
    left.stream.send(left.session.send(bytes(160), 0))
    left.stream.send_rtcp(left.session.report(100.0))
    assert left.media.sent == left.control.sent == []
    assert right.hear(rtp.build(0, False, 1, 160, 7, bytes(160))) == 0
    assert right.dropped == (1, 0, 0)


def test_a_handshake_may_begin_before_the_answer() -> None:
    left = Side(LEFT, RIGHT, 1, 0, OURS)
    left.stream.secure(DtlsPeer(announced(THEIRS), client=True))
    left.stream.drain(100.0)
    right = Side(RIGHT, LEFT, 2, 0, THEIRS)
    right.media.waiting = [(data, LEFT) for data in left.media.sent]
    left.media.sent.clear()
    left.media.to.clear()
    right.stream.discard()
    right.stream.secure(DtlsPeer(announced(OURS), client=False))
    exchange(left, right)
    assert left.stream.protection.kind == right.stream.protection.kind == "DTLS"


def test_only_another_certificate_or_role_restarts_the_handshake() -> None:
    left, right = shaking()
    exchange(left, right)
    ssrc = left.session.ssrc
    left.stream.secure(DtlsPeer(announced(THEIRS), client=True))
    assert left.stream.protection.ready
    for side, other, client in ((left, THEIRS, False), (right, OURS, True)):
        side.stream.secure(DtlsPeer(announced(other), client))
        assert not side.stream.protection.ready
    exchange(left, right)
    assert right.hear(left.say()) == 1
    assert left.session.ssrc != ssrc  # Another key comes with another source.


def test_a_failed_handshake_is_retried_after_a_new_negotiation() -> None:
    left, right = shaking()
    left.stream.drain(100.0)
    left.stream.drain(100.1 + HANDSHAKE_TIMEOUT)
    assert left.stream.protection.failure is not None
    left.media.sent.clear()
    left.media.to.clear()
    left.stream.secure(DtlsPeer(announced(THEIRS), client=True))
    assert left.stream.protection.failure is None
    exchange(left, right)
    assert left.stream.protection.kind == "DTLS"


def test_strangers_cannot_complete_a_handshake_with_a_client() -> None:
    left, right = shaking()
    left.stream.drain(100.0)
    stranger = Side(STRANGER, LEFT, 3, 0, Certificate())
    stranger.stream.secure(DtlsPeer(announced(OURS), client=True))
    stranger.stream.drain(100.0)
    left.media.waiting = [(data, STRANGER) for data in stranger.media.sent]
    exchange(left, right)
    assert left.stream.foreign == 1
    assert left.stream.protection.kind == "DTLS"


def shake(left: Side, right: Side, *, from_: Address, ticks: int = 20) -> None:
    """Deliver what both send; packets of ``right`` appear to come from ``from_``."""
    for _ in range(ticks):
        for here, there, source in ((left, right, LEFT), (right, left, from_)):
            for box, other in ((here.media, there.media), (here.control, there.control)):
                other.waiting += [(datagram, source) for datagram in box.sent]
                box.sent.clear()
            there.now += 0.02
            there.stream.drain(there.now)


@pytest.mark.parametrize("begins", [True, False], ids=["we-begin", "they-begin"])
@pytest.mark.parametrize("from_", [(RIGHT[0], 5555), STRANGER])
def test_media_is_sent_to_the_address_that_shows_the_certificate(
    begins: bool, from_: Address
) -> None:
    certificates = Certificate(), Certificate()
    left = Side(LEFT, RIGHT, 1, certificate=certificates[0])
    right = Side(RIGHT, LEFT, 2, certificate=certificates[1])
    left.stream.allowance = Allowance()
    left.stream.allowance.earn(2000)  # Its own handshake fits in.
    for side, other, client in ((left, 1, begins), (right, 0, not begins)):
        name, _, digest = certificates[other].fingerprint.partition(" ")
        fingerprint = (name, digest.replace(":", "").lower())
        side.stream.negotiate(side.there, side.there)
        side.stream.secure(DtlsPeer((fingerprint,), client=client))
    shake(left, right, from_=from_)
    assert left.stream.protection.ready
    assert right.stream.protection.ready
    assert left.stream.allowance.proven
    left.say()
    assert left.media.to[-1] == from_
    assert left.hear(right.say(), from_) == 1
