"""DTLS handshakes: with the peer, with a stranger, and with noise in between."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import crypto

from spech.addresses import Address
from spech.agreement import DtlsPeer
from spech.rtp.dtls import HANDSHAKE_TIMEOUT, Association, Certificate
from spech.rtp.packet import is_dtls

LEFT, RIGHT = ("192.0.2.1", 4000), ("192.0.2.2", 5000)
STRANGER = ("203.0.113.5", 6000)
OURS, THEIRS, FOREIGN = Certificate(), Certificate(), Certificate()


def announced(certificate: Certificate, kind: str = "sha-256") -> tuple[tuple[str, str], ...]:
    name, _, digest = certificate.fingerprint.partition(" ")
    assert name == kind
    return ((kind, digest.replace(":", "").lower()),)


def client(certificate: Certificate = OURS, peer: Certificate = THEIRS) -> Association:
    return Association(certificate, DtlsPeer(announced(peer), client=True))


def server(certificate: Certificate = THEIRS, peer: Certificate = OURS) -> Association:
    return Association(certificate, DtlsPeer(announced(peer), client=False))


class Wire:
    """Both ends. ``judge`` maps each datagram to those that arrive."""

    def __init__(self, left: Association, right: Association) -> None:
        self.left, self.right = left, right
        self.judge: Callable[[bytes], list[bytes]] = lambda datagram: [datagram]
        self.datagrams: list[bytes] = []
        self.now = 100.0

    def run(self, ticks: int = 10) -> Wire:
        for _ in range(ticks):
            self.now += 0.02
            for here, there, source, target in (
                (self.left, self.right, LEFT, RIGHT),
                (self.right, self.left, RIGHT, LEFT),
            ):
                for datagram, address in here.tick(self.now, target):
                    assert address == target
                    self.datagrams.append(datagram)
                    for arriving in self.judge(datagram):
                        there.receive_datagram(arriving, source, source)
        return self


def test_both_ends_have_the_same_keys_the_other_way_round() -> None:
    wire = Wire(client(), server()).run()
    ours, theirs = wire.left.keys, wire.right.keys
    assert ours is not None
    assert theirs is not None
    assert ours.suite == theirs.suite == "AEAD_AES_256_GCM"
    assert (ours.send, ours.receive) == (theirs.receive, theirs.send)
    assert len(ours.send) == 44
    assert ours.send != ours.receive
    assert not wire.left.busy
    assert not wire.right.busy
    assert all(is_dtls(datagram) and len(datagram) <= 1200 for datagram in wire.datagrams)


def test_a_handshake_survives_duplicated_datagrams() -> None:
    wire = Wire(client(), server())
    wire.judge = lambda datagram: [datagram, datagram]
    wire.run()
    assert wire.left.keys is not None
    assert wire.right.keys is not None


@pytest.mark.parametrize("lost", [0, 1, 2, 3])
def test_a_lost_flight_is_retransmitted(lost: int) -> None:
    """In real time, because OpenSSL uses its own clock; its first timeout is a second."""
    wire = Wire(client(), server())
    count = 0

    def lose(datagram: bytes) -> list[bytes]:
        nonlocal count
        count += 1
        return [] if count - 1 == lost else [datagram]

    wire.judge = lose
    wire.run()
    if lost < 3:  # The server has its keys even without the last flight.
        assert wire.right.keys is None
    assert wire.left.keys is None
    time.sleep(1.05)
    wire.run()
    assert wire.left.keys is not None
    assert wire.right.keys is not None


@pytest.mark.parametrize("left", [True, False])
def test_another_certificate_than_announced_gives_no_keys(left: bool) -> None:
    wire = Wire(client(FOREIGN), server()) if left else Wire(client(), server(FOREIGN))
    wire.run()
    deceived = wire.right if left else wire.left
    assert deceived.keys is None
    assert deceived.failure is not None
    assert "certificate" in deceived.failure


def test_any_announced_hash_is_accepted() -> None:
    peer = DtlsPeer((("sha-512", "ab" * 64), *announced(OURS)), client=False)
    wire = Wire(client(), Association(THEIRS, peer)).run()
    assert wire.right.keys is not None


def test_a_stranger_does_not_spoil_the_handshake_of_the_peer() -> None:
    """The stranger sends a ClientHello first, from its own address, and continues in between."""
    right = server()
    strangers = [client(FOREIGN) for _ in range(20)]
    out = []
    for number, stranger in enumerate(strangers):
        for datagram, _ in stranger.tick(100.0, RIGHT):
            assert right.receive_datagram(datagram, (STRANGER[0], 6000 + number), LEFT)
        out += right.tick(100.0, LEFT)
    assert len({address for _, address in out}) == 20
    assert len(right._handshakes) <= 4
    # One of them completes the handshake, with the wrong certificate.
    for _ in range(10):
        for datagram, address in out:
            strangers[address[1] - 6000].receive_datagram(datagram, RIGHT, RIGHT)
        for number, stranger in enumerate(strangers):
            for datagram, _ in stranger.tick(100.0, RIGHT):
                right.receive_datagram(datagram, (STRANGER[0], 6000 + number), LEFT)
        out = right.tick(100.0, LEFT)
    assert right.keys is None
    assert right.failure is None
    wire = Wire(client(), right).run()
    assert wire.left.keys is not None
    assert right.keys is not None


def test_a_client_does_not_answer_a_stranger() -> None:
    left = client()
    left.tick(100.0, RIGHT)
    (hello, _), *_ = client(FOREIGN).tick(100.0, LEFT)
    assert not left.receive_datagram(hello, STRANGER, RIGHT)
    assert left.tick(100.02, RIGHT) == []


def test_a_forged_alert_ends_an_attempt_and_the_next_one_succeeds() -> None:
    alert = bytes.fromhex("15fefd0000000000000001000202 28".replace(" ", ""))
    wire = Wire(client(), server())
    wire.left.tick(wire.now, RIGHT)
    wire.left.receive_datagram(alert, RIGHT, RIGHT)
    wire.now += 1.1
    wire.run()
    assert wire.left.keys is not None
    assert wire.right.keys is not None


def test_a_certificate_that_a_strict_parser_refuses_is_not_the_peers() -> None:
    odd = Certificate()
    key = crypto.PKey.from_cryptography_key(ec.generate_private_key(ec.SECP256R1()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        shown = crypto.X509()
        shown.set_version(5)  # OpenSSL accepts it; there are three.
        shown.gmtime_adj_notBefore(0)
        shown.gmtime_adj_notAfter(60)
        shown.set_pubkey(key)
        shown.sign(key, "sha256")
        odd.context.use_certificate(shown)
        odd.context.use_privatekey(key)
    wire = Wire(client(odd), server()).run()
    assert wire.right.keys is None
    assert wire.right.failure is not None


def test_a_handshake_survives_noise() -> None:
    rng = random.Random(5)

    def noise(datagram: bytes) -> list[bytes]:
        random_one = bytes([rng.randrange(20, 64)]) + rng.randbytes(rng.randrange(200))
        cut = datagram[: rng.randrange(1, len(datagram))]
        return [random_one, cut, datagram]

    for _ in range(20):
        wire = Wire(client(), server())
        wire.judge = noise
        wire.run()
        assert wire.left.keys is not None
        assert wire.right.keys is not None


def test_hostile_datagrams_never_raise() -> None:
    rng = random.Random(6)
    (hello, _), *_ = client().tick(100.0, RIGHT)
    done = Wire(client(), server()).run()
    for _ in range(2000):
        damaged = bytearray(hello)
        for _ in range(rng.randrange(1, 8)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        datagram = bytes(damaged[: rng.randrange(1, len(damaged) + 1)])
        right = server()
        for victim in (right, done.left, done.right):
            victim.receive_datagram(datagram, LEFT, LEFT)
            victim.tick(100.0, LEFT)
    assert done.left.keys is not None
    assert done.right.keys is not None


def test_a_restarted_handshake_gives_new_keys_and_old_ones_work_until_then() -> None:
    wire = Wire(client(), server()).run()
    before = wire.right.keys
    right = wire.right
    wire = Wire(client(), right)
    (hello, _), *_ = wire.left.tick(wire.now, RIGHT)
    assert not right.receive_datagram(hello, STRANGER, LEFT)
    assert right.receive_datagram(hello, LEFT, LEFT)
    assert right.keys is before
    assert right.busy
    for _ in range(5):
        wire.run(1)
        for datagram, _ in right.tick(wire.now, LEFT):
            wire.left.receive_datagram(datagram, RIGHT, RIGHT)
    assert right.keys is not before
    assert wire.left.keys is not None
    assert right.keys is not None
    assert right.keys.send == wire.left.keys.receive
    assert not right.busy


def test_a_restart_with_another_certificate_changes_nothing() -> None:
    wire = Wire(client(), server()).run()
    before = wire.right.keys
    wire = Wire(client(FOREIGN), wire.right).run()
    assert wire.right.keys is before
    assert wire.right.failure is None
    assert wire.left.keys is None
    wire.right.tick(wire.now + 2 * HANDSHAKE_TIMEOUT, LEFT)
    wire.right.tick(wire.now + 4 * HANDSHAKE_TIMEOUT, LEFT)
    assert not wire.right.busy


def test_a_flood_of_handshakes_is_cheap() -> None:
    right = server()
    right.tick(100.0, LEFT)
    taken = 0
    for number in range(50):
        (hello, _), *_ = client().tick(100.0, RIGHT)
        taken += right.receive_datagram(hello, (STRANGER[0], 6000 + number), LEFT)
    assert taken == 4


def test_a_handshake_without_a_response_fails() -> None:
    left = client()
    assert left.tick(100.0, RIGHT)
    left.tick(100.0 + HANDSHAKE_TIMEOUT, RIGHT)
    assert left.busy
    left.tick(100.1 + HANDSHAKE_TIMEOUT, RIGHT)
    assert left.failure is not None
    assert not left.busy


def test_each_certificate_is_unique() -> None:
    assert len({one.fingerprint for one in (OURS, THEIRS, FOREIGN)}) == 3
    assert len(OURS.fingerprint) == len("sha-256 ") + 32 * 3 - 1


@pytest.mark.parametrize(
    ("first", "dtls"), [(0, False), (19, False), (20, True), (63, True), (64, False), (128, False)]
)
def test_dtls_is_recognized_on_a_media_port(first: int, dtls: bool) -> None:
    assert is_dtls(bytes([first, 1, 2])) == dtls
    assert not is_dtls(b"")


def in_fragments(record: bytes, *cuts: int) -> list[bytes]:
    """A handshake record as several, each with a part of its message (RFC 6347 4.2.3)."""
    head, message, body = record[:13], record[13:25], record[25:]
    number = int.from_bytes(head[5:11], "big") * 10
    parts = []
    for count, (start, end) in enumerate(pairwise((0, *cuts, len(body)))):
        part = body[start:end]
        fragment = message[:6] + start.to_bytes(3, "big") + len(part).to_bytes(3, "big") + part
        size = len(fragment).to_bytes(2, "big")
        parts.append(head[:5] + (number + count).to_bytes(6, "big") + size + fragment)
    return parts


def renumbered(datagram: bytes) -> bytes:
    """The plain records of a datagram with numbers above those that fragments have used up."""
    changed, start = b"", 0
    while start < len(datagram):
        end = start + 13 + int.from_bytes(datagram[start + 11 : start + 13], "big")
        record = bytearray(datagram[start:end])
        if record[3:5] == b"\0\0":
            record[10] += 50
        changed, start = changed + record, end
    return changed


def is_client_hello(datagram: bytes) -> bool:
    return datagram[0] == 22 and datagram[13] == 1


@pytest.mark.parametrize("cuts", [(120,), (60, 90, 130), (34,)], ids=["two", "four", "head"])
@pytest.mark.parametrize("order", [1, -1], ids=["in-order", "reversed"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_client_hello_in_fragments_is_one_attempt(
    cuts: tuple[int, ...], order: int, times: int
) -> None:
    wire = Wire(client(), server())

    def judge(datagram: bytes) -> list[bytes]:
        if is_client_hello(datagram):
            return in_fragments(datagram, *cuts)[::order] * times
        return [renumbered(datagram)]

    wire.judge = judge
    wire.run(12)
    assert wire.right.keys is not None
    assert wire.left.keys is not None


def test_fragments_of_a_stranger_do_not_spoil_the_handshake_of_the_peer() -> None:
    wire = Wire(client(), server())
    hello: list[bytes] = []

    def judge(datagram: bytes) -> list[bytes]:
        if is_client_hello(datagram):
            hello.extend(in_fragments(datagram, 60)[1:])
        for fragment in hello:
            wire.right.receive_datagram(fragment, STRANGER, LEFT)
        return [datagram]

    wire.judge = judge
    wire.run()
    assert wire.right.keys is not None


def answered_from(source: Address, ours: Association, theirs: Association, ticks: int = 12) -> None:
    """Run a handshake in which ``theirs`` answers from ``source`` where ``ours`` wrote to RIGHT."""
    now = 100.0
    for _ in range(ticks):
        now += 0.02
        for datagram, _ in ours.tick(now, RIGHT):
            theirs.receive_datagram(datagram, LEFT, LEFT)
        for datagram, _ in theirs.tick(now, LEFT):
            ours.receive_datagram(datagram, source, RIGHT)


@pytest.mark.parametrize("source", [RIGHT, (RIGHT[0], 5555), STRANGER, (STRANGER[0], RIGHT[1])])
def test_an_answer_from_any_address_is_followed_if_it_shows_the_certificate(
    source: Address,
) -> None:
    ours, theirs = client(), server()
    answered_from(source, ours, theirs)
    assert ours.keys is not None
    assert ours.proven is not None
    assert ours.proven[0] == source[0]


def test_an_answer_from_elsewhere_with_another_certificate_is_given_up_for_the_right_one() -> None:
    ours = client()
    answered_from(STRANGER, ours, server(FOREIGN))
    assert ours.keys is None
    assert ours.failure is None
    now = 102.0
    theirs = server()
    for _ in range(10):
        now += 0.02
        for datagram, address in ours.tick(now, RIGHT):
            if address == RIGHT:
                theirs.receive_datagram(datagram, LEFT, LEFT)
        for datagram, _ in theirs.tick(now, LEFT):
            ours.receive_datagram(datagram, RIGHT, RIGHT)
    assert ours.keys is not None
    assert not ours.receive_datagram(
        b"\x16\xfe\xfd" + bytes(10) + b"\x02" + bytes(60), STRANGER, RIGHT
    )


@pytest.mark.parametrize("kind", [1, 11, 14, 20])
def test_only_a_server_hello_from_another_address_is_followed(kind: int) -> None:
    ours = client()
    ours.tick(100.0, RIGHT)
    record = b"\x16\xfe\xfd" + bytes(10) + bytes((kind,)) + bytes(60)
    assert not ours.receive_datagram(record, STRANGER, RIGHT)
