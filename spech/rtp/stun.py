"""STUN Binding messages (RFC 8489), read and written: the public address, and the checks of ICE.

Short-term credentials alone, and MESSAGE-INTEGRITY with SHA-1, which is what ICE uses
(RFC 8445 section 7). Every message that is written ends with a FINGERPRINT, so that it cannot be
taken for RTP.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import ipaddress
import random
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from spech.addresses import Address
from spech.errors import RemoteProtocolError

StunAttributes = Sequence[tuple[int, bytes]]

STUN_MAGIC = 0x2112A442
"""The fixed word of every message (section 5)."""

_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_INTEGRITY_BYTES = 20
_FINGERPRINT_MASK = 0x5354554E
_IPV4, _IPV6 = 1, 2
_OPTIONAL = 0x8000
_REASON_BYTES = 509


class Kind(enum.IntEnum):
    """The message types of the method Binding (section 5)."""

    REQUEST = 0x0001
    INDICATION = 0x0011
    SUCCESS = 0x0101
    ERROR = 0x0111


class Attribute(enum.IntEnum):
    """The attributes that are understood (section 14; RFC 8445 section 16.1)."""

    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    XOR_MAPPED_ADDRESS = 0x0020
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    FINGERPRINT = 0x8028
    ICE_CONTROLLED = 0x8029
    ICE_CONTROLLING = 0x802A


_KNOWN = frozenset(int(one) for one in Attribute)


@dataclass(frozen=True, slots=True)
class StunMessage:
    """One Binding message.

    ``attributes`` are those that its MESSAGE-INTEGRITY covers, or all where it has none;
    ``fingerprinted`` tells whether a FINGERPRINT, and a right one, closes it.
    """

    kind: Kind
    transaction: bytes
    attributes: tuple[tuple[int, bytes], ...]
    fingerprinted: bool = False
    _covered: bytes = field(default=b"", repr=False)
    _signature: bytes | None = field(default=None, repr=False)

    def get(self, attribute: Attribute) -> bytes | None:
        """The value of the first attribute of that type (section 14)."""
        return next((value for kind, value in self.attributes if kind == attribute), None)

    def is_authentic(self, password: bytes) -> bool:
        """Whether MESSAGE-INTEGRITY was made with that password (section 9.1.3)."""
        if self._signature is None:
            return False
        expected = hmac.digest(password, self._covered, hashlib.sha1)
        return hmac.compare_digest(expected, self._signature)

    @property
    def unknown(self) -> tuple[int, ...]:
        """The comprehension-required attributes that are not known here (section 14)."""
        return tuple(kind for kind, _ in self.attributes if kind < _OPTIONAL and kind not in _KNOWN)

    @property
    def mapped_address(self) -> Address | None:
        """The source address that the server saw; None where it is missing or malformed."""
        value = self.get(Attribute.XOR_MAPPED_ADDRESS)
        if value is None or len(value) < 8:
            return None
        port = int.from_bytes(value[2:4], "big") ^ STUN_MAGIC >> 16
        packed = value[4:]
        if (value[1], len(packed)) not in ((_IPV4, 4), (_IPV6, 16)):
            return None
        return str(ipaddress.ip_address(_masked(packed, self.transaction))), port

    @property
    def error(self) -> tuple[int, str] | None:
        """Code (300 to 699) and reason of an error response (section 14.8)."""
        value = self.get(Attribute.ERROR_CODE)
        if value is None or len(value) < 4 or not 3 <= value[2] & 7 <= 6 or value[3] > 99:
            return None
        return (value[2] & 7) * 100 + value[3], value[4:].decode("utf-8", "replace")


def transaction(rng: random.Random) -> bytes:
    """A new transaction ID: 96 random bits, because anyone who guesses it can forge an answer."""
    return rng.getrandbits(96).to_bytes(12, "big")


def is_stun(data: bytes | memoryview) -> bool:
    """Whether a datagram on a shared port is STUN (RFC 7983 section 7)."""
    return len(data) > 0 and data[0] <= 3


def parse(data: bytes | memoryview) -> StunMessage:
    """Read one datagram.

    Raises:
        RemoteProtocolError: it is not a Binding message, or its lengths or its FINGERPRINT are
            wrong.
    """
    data = bytes(data)
    if len(data) < _HEADER.size:
        raise RemoteProtocolError(f"a STUN message of {len(data)} bytes is too short")
    kind, length, magic, transaction = _HEADER.unpack_from(data)
    if magic != STUN_MAGIC or length % 4 or length != len(data) - _HEADER.size:
        raise RemoteProtocolError("not a STUN message")
    if kind not in (one.value for one in Kind):
        raise RemoteProtocolError(f"a STUN message of type {kind:#06x}")
    attributes: list[tuple[int, bytes]] = []
    signed, signature = b"", None
    fingerprinted = False
    offset = _HEADER.size
    while offset < len(data):
        if fingerprinted:
            raise RemoteProtocolError("a STUN message continues after its FINGERPRINT")
        attribute, size = _ATTRIBUTE.unpack_from(data, offset)
        start = offset + _ATTRIBUTE.size
        end = start + size
        if end > len(data):
            raise RemoteProtocolError("a STUN attribute is longer than its message")
        value = data[start:end]
        if attribute == Attribute.FINGERPRINT:
            if value != _fingerprint(data[:offset]):
                raise RemoteProtocolError("the FINGERPRINT of a STUN message is wrong")
            fingerprinted = True
        elif signature is None:  # Attributes after MESSAGE-INTEGRITY are ignored (section 14.5).
            if attribute == Attribute.MESSAGE_INTEGRITY:
                if size != _INTEGRITY_BYTES:
                    raise RemoteProtocolError("a MESSAGE-INTEGRITY of a wrong length")
                signed, signature = _resized(data[:offset], end), value
            else:
                attributes.append((attribute, value))
        offset = end + -size % 4
    return StunMessage(Kind(kind), transaction, tuple(attributes), fingerprinted, signed, signature)


def build(
    kind: Kind, transaction: bytes, attributes: StunAttributes = (), password: bytes | None = None
) -> bytes:
    """Write one message, signed where there is a password, and with a FINGERPRINT."""
    data = _HEADER.pack(kind, 0, STUN_MAGIC, transaction)
    for attribute, value in attributes:
        data += _attribute(attribute, value)
    if password is not None:
        length = len(data) + _ATTRIBUTE.size + _INTEGRITY_BYTES
        data = _resized(data, length)
        signature = hmac.digest(password, data, hashlib.sha1)
        data += _attribute(Attribute.MESSAGE_INTEGRITY, signature)
    data = _resized(data, len(data) + _ATTRIBUTE.size + 4)
    return data + _attribute(Attribute.FINGERPRINT, _fingerprint(data))


def mapped(address: Address, transaction: bytes) -> tuple[int, bytes]:
    """XOR-MAPPED-ADDRESS: where a request came from (section 14.2)."""
    host, port = address
    packed = ipaddress.ip_address(host).packed
    family = _IPV4 if len(packed) == 4 else _IPV6
    head = struct.pack("!xBH", family, port ^ STUN_MAGIC >> 16)
    return Attribute.XOR_MAPPED_ADDRESS, head + _masked(packed, transaction)


def error(code: int, reason: str) -> tuple[int, bytes]:
    """ERROR-CODE (section 14.8): 400 bad request, 420 unknown attribute, 487 role conflict."""
    text = reason.encode()[:_REASON_BYTES]
    return Attribute.ERROR_CODE, struct.pack("!HBB", 0, code // 100, code % 100) + text


def _attribute(attribute: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(attribute, len(value)) + value + bytes(-len(value) % 4)


def _resized(data: bytes, total: int) -> bytes:
    """The beginning of a message, with the length field of one of ``total`` bytes."""
    return data[:2] + (total - _HEADER.size).to_bytes(2, "big") + data[4:]


def _fingerprint(data: bytes) -> bytes:
    return (zlib.crc32(data) ^ _FINGERPRINT_MASK).to_bytes(4, "big")


def _masked(packed: bytes, transaction: bytes) -> bytes:
    mask = STUN_MAGIC.to_bytes(4, "big") + transaction
    return bytes(one ^ other for one, other in zip(packed, mask, strict=False))
