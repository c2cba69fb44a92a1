"""STUN messages: the vectors of RFC 5769, round trips, and hostile bytes."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spech.errors import RemoteProtocolError
from spech.rtp import stun
from spech.rtp.stun import Attribute, Kind

PASSWORD = b"VOkJxbRl1RmTxUk/WvJxBt"
TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")

# RFC 5769 section 2.1
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff80290008932ff9b151263b36"
    "000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf"
)
# section 2.2
IPV4_RESPONSE = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96"
)
# section 2.3
IPV6_RESPONSE = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed41"
    "80280004c8fb0b4c"
)
# section 2.4
LONG_TERM_REQUEST = bytes.fromhex(
    "000100602112a44278ad3433c6ad72c029da412e"
    "00060012e3839ee38388e383aae38383e382afe382b90000"
    "0015001c662f2f3439396b39353464364f4c33346f4c39465354767936347341"
    "0014000b6578616d706c652e6f726700"
    "00080014f67024656dd64a3e02b8e0712e85c9a28ca89666"
)
VECTORS = (REQUEST, IPV4_RESPONSE, IPV6_RESPONSE)


def test_the_sample_request_of_rfc_5769() -> None:
    message = stun.parse(REQUEST)
    assert (message.kind, message.transaction) == (Kind.REQUEST, TRANSACTION)
    assert message.get(Attribute.USERNAME) == b"evtj:h6vY"
    assert message.get(Attribute.PRIORITY) == bytes.fromhex("6e0001ff")
    assert message.get(Attribute.ICE_CONTROLLED) == bytes.fromhex("932ff9b151263b36")
    assert message.fingerprinted
    assert message.is_authentic(PASSWORD)
    assert not message.is_authentic(PASSWORD + b"x")


@pytest.mark.parametrize(
    ("data", "host"),
    [(IPV4_RESPONSE, "192.0.2.1"), (IPV6_RESPONSE, "2001:db8:1234:5678:11:2233:4455:6677")],
)
def test_the_sample_responses_of_rfc_5769(data: bytes, host: str) -> None:
    message = stun.parse(data)
    assert message.kind is Kind.SUCCESS
    assert message.mapped_address == (host, 32853)
    assert message.fingerprinted
    assert message.is_authentic(PASSWORD)


def test_sample_request_with_long_term_authentication() -> None:
    message = stun.parse(LONG_TERM_REQUEST)
    user = "\u30de\u30c8\u30ea\u30c3\u30af\u30b9"
    assert message.get(Attribute.USERNAME) == user.encode()
    key = hashlib.md5(f"{user}:example.org:TheMatrIX".encode()).digest()
    assert message.is_authentic(key)
    assert not message.fingerprinted


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::7"])
def test_written_messages_are_read_back(host: str) -> None:
    attributes = [
        stun.mapped((host, 65535), TRANSACTION),
        (Attribute.USERNAME, b"ours:theirs"),
        (Attribute.USE_CANDIDATE, b""),
    ]
    message = stun.parse(stun.build(Kind.SUCCESS, TRANSACTION, attributes, PASSWORD))
    assert message.mapped_address == (host, 65535)
    assert message.get(Attribute.USERNAME) == b"ours:theirs"
    assert message.get(Attribute.USE_CANDIDATE) == b""
    assert message.is_authentic(PASSWORD)
    assert message.fingerprinted


def test_without_a_password_nothing_is_authentic() -> None:
    message = stun.parse(stun.build(Kind.REQUEST, TRANSACTION))
    assert message.fingerprinted
    assert not message.is_authentic(b"")


@pytest.mark.parametrize("code", [400, 420, 487, 699])
def test_error_codes_are_read(code: int) -> None:
    built = stun.build(Kind.ERROR, TRANSACTION, [stun.error(code, "Role Conflict")])
    assert stun.parse(built).error == (code, "Role Conflict")


def test_unknown_required_attributes_are_named() -> None:
    built = stun.build(Kind.REQUEST, TRANSACTION, [(0x7F01, b"?"), (0xC001, b"!")])
    assert stun.parse(built).unknown == (0x7F01,)


def test_attributes_after_the_signature_are_ignored() -> None:
    signed = stun.build(Kind.REQUEST, TRANSACTION, (), PASSWORD)[:-8]
    forged = signed + bytes.fromhex("00250000")
    forged = forged[:2] + (len(forged) - 20).to_bytes(2, "big") + forged[4:]
    message = stun.parse(forged)
    assert message.is_authentic(PASSWORD)
    assert message.get(Attribute.USE_CANDIDATE) is None


@pytest.mark.parametrize("data", VECTORS)
def test_each_changed_bit_is_detected(data: bytes) -> None:
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            message = stun.parse(bytes(damaged))
        except RemoteProtocolError:
            continue
        assert not message.fingerprinted  # The bit turned the FINGERPRINT into another attribute.


@pytest.mark.parametrize("data", [*VECTORS, LONG_TERM_REQUEST])
def test_each_truncation_is_refused(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(RemoteProtocolError):
            stun.parse(data[:length])


def test_damaged_messages_raise_nothing_else() -> None:
    rng = random.Random(1)
    for _ in range(5000):
        damaged = bytearray(rng.choice([*VECTORS, LONG_TERM_REQUEST]))
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        if rng.random() < 0.3:
            del damaged[rng.randrange(20, len(damaged)) :]
            damaged[2:4] = (len(damaged) - 20).to_bytes(2, "big")
        _look_at(bytes(damaged))


@given(
    st.sampled_from(list(Kind)),
    st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=8),
)
def test_any_attributes_can_be_read(kind: Kind, attributes: list[tuple[int, bytes]]) -> None:
    _look_at(stun.build(kind, TRANSACTION, attributes))


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    _look_at(data)


def _look_at(data: bytes) -> None:
    try:
        message = stun.parse(data)
    except RemoteProtocolError:
        return
    _ = (message.mapped_address, message.error, message.unknown, message.is_authentic(PASSWORD))
