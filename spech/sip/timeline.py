"""The course of a call: messages, timers, states, changes of the session description.

Kept for the latest calls, a bounded number of entries each. Read it as a ladder in text
(:func:`ladder`), or export the messages as a packet capture (:func:`to_pcap`) for tshark and the
like. Credentials and keys of encrypted calls are masked in both. Pure: the caller passes the time.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from spech.addresses import Address
from spech.errors import RemoteProtocolError
from spech.sip.message.body import MAX_BODY
from spech.sip.message.display import escaped
from spech.sip.message.headers import masked
from spech.sip.message.message import Request
from spech.sip.message.parser import parse
from spech.sip.transaction.flow import Flow, host_port

#: Calls that are remembered, and what is remembered of each.
_CALLS: Final = 1000
_ENTRIES: Final = 400
_BYTES: Final = 65_536

_CALL_ID: Final = re.compile(
    rb"^(?:Call-ID|i)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE
)
_CREDENTIALS: Final = re.compile(
    rb"^((?:Proxy-)?Authorization[ \t]*:)([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)",
    re.IGNORECASE | re.MULTILINE,
)
#: Keys in a session description: SDES (RFC 4568), MIKEY (RFC 4567), ICE (RFC 8839 5.4), ``k=``
#: (RFC 8866 5.12).
_KEYS: Final = re.compile(
    rb"^(a=crypto:[^\r\n]*?inline:|a=key-mgmt:|a=ice-pwd:|k=)([^\r\n]*)",
    re.IGNORECASE | re.MULTILINE,
)

#: Digits in INFO requests, which may be PINs: of ``application/dtmf-relay``, and the head of a
#: message with nothing but one (``application/dtmf``).
_RELAYED_DIGITS: Final = re.compile(rb"^([ \t]*Signal[ \t]*=[ \t]*)([^\r\n]*)", re.I | re.M)
_PLAIN_DIGITS: Final = re.compile(
    rb"^(?:Content-Type|c)[ \t]*:[ \t]*application/dtmf[ \t]*(?:;[^\r\n]*)?\r?$", re.I | re.M
)
_BODY: Final = re.compile(rb"\r?\n\r?\n")

#: Passwords in URIs (RFC 3261 19.1.1). Text that lacks the ``@`` matches too, so that it is read
#: once and not again from each ``sip:`` within it.
_PASSWORDS: Final = re.compile(rb"(\bsips?:[^\s:@;?<>\"]+:)([^\s@<>\"]+)(@?)", re.IGNORECASE)

# The classic capture format, each packet a bare IP packet (LINKTYPE_RAW).
_PCAP_HEAD: Final = struct.Struct("<IHHiIII")
_PCAP_RECORD: Final = struct.Struct("<IIII")
_PCAP_MAGIC: Final = 0xA1B2C3D4
_LINKTYPE_RAW: Final = 101
#: The least first byte of RTP and RTCP.
_RTP: Final = b"\x80"
#: Bytes that an IPv4 packet holds besides the heads; what came by a stream may be longer.
_LARGEST_PAYLOAD: Final = 65_507


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, ``at`` seconds on the recorder's clock.

    A message has ``source``, ``destination`` and ``data``, and ``sent`` when it was ours; anything
    else has a ``note``.
    """

    at: float
    note: str = ""
    source: Address | None = None
    destination: Address | None = None
    data: bytes = field(default=b"", repr=False)
    sent: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """A remark about a call, before it gets its time."""

    call_id: str
    text: str


class Timeline:
    """The entries of the latest calls, by Call-ID.

    Only calls that were opened are kept, so that stray messages displace none.
    """

    def __init__(self) -> None:
        self._calls: OrderedDict[str, deque[Entry]] = OrderedDict()
        self._sizes: dict[str, int] = {}

    def open(self, call_id: str) -> None:
        """Record this call from now on. Where there are too many, the oldest one is forgotten."""
        if call_id not in self._calls:
            self._calls[call_id] = deque()
            self._sizes[call_id] = 0
            if len(self._calls) > _CALLS:
                oldest, _ = self._calls.popitem(last=False)
                del self._sizes[oldest]

    def sent(self, data: bytes, flow: Flow, at: float) -> None:
        """Record a message that was sent."""
        self._add(_call_id(data), Entry(at, "", flow.local, flow.remote, data, True))

    def received(self, data: bytes, flow: Flow, at: float) -> None:
        """Record a message that was received."""
        self._add(_call_id(data), Entry(at, "", flow.remote, flow.local, data))

    def note(self, call_id: str, text: str, at: float) -> None:
        """Record a timer or a change of state."""
        self._add(call_id, Entry(at, text))

    def entries(self, call_id: str) -> tuple[Entry, ...]:
        """The entries of a call, in order; empty for an unknown or forgotten one."""
        return tuple(self._calls.get(call_id, ()))

    def _add(self, call_id: str, entry: Entry) -> None:
        entries = self._calls.get(call_id)
        if entries is None:
            return
        entries.append(entry)
        size = self._sizes[call_id] + len(entry.data)
        while len(entries) > _ENTRIES or size > _BYTES:
            size -= len(entries.popleft().data)
        self._sizes[call_id] = size


def _call_id(data: bytes) -> str:
    found = _CALL_ID.search(data)
    return found[1].strip().decode("utf-8", "replace") if found else ""


def masked_data(data: bytes) -> bytes:
    """A message with its credentials, passwords, keys and digits masked, and all its headers."""
    return _mask_digits(_mask_keys(_CREDENTIALS.sub(_mask, data)))


def _mask_digits(data: bytes) -> bytes:
    """Digits in an INFO request, as long as before because Content-Length stays."""
    if not data.startswith(b"INFO "):
        return data
    blank = _BODY.search(data)
    if blank is None:
        return data
    head, body = data[: blank.end()], data[blank.end() :]
    if _PLAIN_DIGITS.search(head):
        return head + b"x" * len(body)
    return head + _RELAYED_DIGITS.sub(lambda found: found[1] + b"x" * len(found[2]), body)


def _mask_keys(data: bytes) -> bytes:
    """Keys and passwords in URIs, as long as before because Content-Length stays."""
    data = _KEYS.sub(lambda found: found[1] + b"*" * len(found[2]), data)
    return _PASSWORDS.sub(_hide_password, data)


def _hide_password(found: re.Match[bytes]) -> bytes:
    """Without ``@`` it is a port, perhaps with parameters."""
    return found[1] + b"*" * len(found[2]) + b"@" if found[3] else found[0]


def _mask(found: re.Match[bytes]) -> bytes:
    value = masked("Authorization", found[2].decode("latin-1").strip())
    return found[1] + b" " + value.encode("latin-1")


# ---------------------------------------------------------------------- as a ladder


def ladder(entries: Sequence[Entry], *, wall: float | None = None) -> str:
    """The entries as text: a column for each host, an arrow for each message.

    Args:
        entries: of one call, in order.
        wall: what to add to an entry's time to get seconds since 1970; without it the times are
            relative to the first entry.
    """
    hosts: list[Address] = []
    for entry in entries:
        for host in (entry.source, entry.destination):
            if host is not None and host not in hosts:
                hosts.append(host)
    width = max([len(host_port(host)) for host in hosts] + [40]) + 4
    lines = [" " * 14 + "".join(host_port(host).center(width) for host in hosts)]
    bodies: dict[Address, list[str]] = {}
    for entry in entries:
        time = _time(entry.at, entries[0].at, wall)
        if entry.source is None or entry.destination is None:
            lines.append(f"{time}  - {entry.note}")
            continue
        title, body = _describe(_mask_keys(entry.data))
        left, right = sorted((hosts.index(entry.source), hosts.index(entry.destination)))
        lines.append(time + _arrow(title, left, right, entry.source == hosts[right], width))
        if body:
            lines += _difference(bodies.get(entry.source), body)
            bodies[entry.source] = body
    return "\n".join(line.rstrip() for line in lines)


def _time(at: float, start: float, wall: float | None) -> str:
    if wall is None:
        return f"{at - start:12.3f}  "
    return datetime.fromtimestamp(at + wall, UTC).strftime("%H:%M:%S.%f")[:12] + "  "


def _arrow(title: str, left: int, right: int, backwards: bool, width: int) -> str:
    span = (right - left) * width - 2
    shaft = f" {title} "[: span - 2].center(span - 1, "─")
    arrow = f"<{shaft}" if backwards else f"{shaft}>"
    return " " * (left * width + width // 2) + "|" + arrow + "|"


def _describe(data: bytes) -> tuple[str, list[str]]:
    """The start of a message in a few words, and the lines of its session description."""
    try:
        message = parse(data)
        if isinstance(message, Request):
            title = f"{message.method} {message.uri}"
        else:
            title = f"{message.status} {message.reason} ({message.cseq.method})"
        title = escaped(title)
    except RemoteProtocolError as error:
        return f"unreadable: {error}", []
    if not (message.headers.get("Content-Type") or "").lower().startswith("application/sdp"):
        return title, []
    lines = message.body[:MAX_BODY].decode("utf-8", "replace").splitlines()
    return title, [escaped(line) for line in lines if line]


def _difference(before: list[str] | None, body: list[str]) -> Iterator[str]:
    """What a session description changes against the last one from the same side.

    The ``o=`` line is left out: it differs by its version alone.
    """
    body = [line for line in body if not line.startswith("o=")]
    if before is None:
        shown = [
            line for line in body if line.startswith(("c=", "m=", "a=send", "a=recv", "a=ina"))
        ]
        yield from (" " * 16 + line for line in shown)
        return
    old, new = frozenset(before), frozenset(body)
    yield from (" " * 14 + f"- {line}" for line in before if line not in new and line[:2] != "o=")
    yield from (" " * 14 + f"+ {line}" for line in body if line not in old)


# ---------------------------------------------------------------------- as a capture


def to_pcap(entries: Iterable[Entry], wall: float) -> bytes:
    """The messages as a capture file, each in a UDP packet between its two addresses.

    ``wall`` is added to each time to get seconds since 1970. Data that begins as RTP does
    (RFC 7983) is no text, and stays as it is.
    """
    parts = [_PCAP_HEAD.pack(_PCAP_MAGIC, 2, 4, 0, 0, 0xFFFF, _LINKTYPE_RAW)]
    for entry in entries:
        if entry.source is None or entry.destination is None:
            continue
        binary = entry.data[:1] >= _RTP
        data = entry.data if binary else masked_data(entry.data)
        packet = _packet(entry.source, entry.destination, data)
        seconds, fraction = divmod(entry.at + wall, 1)
        size = len(packet)
        parts.append(_PCAP_RECORD.pack(int(seconds), int(fraction * 1_000_000), size, size))
        parts.append(packet)
    return b"".join(parts)


def _packet(source: Address, destination: Address, data: bytes) -> bytes:
    here, there = ipaddress.ip_address(source[0]), ipaddress.ip_address(destination[0])
    if here.version != there.version:
        # A peer may name an address of the other family; such a packet never left.
        here, there = _mapped(here), _mapped(there)
    data = data[:_LARGEST_PAYLOAD]
    length = 8 + len(data)
    udp = struct.pack("!HHHH", source[1], destination[1], length, 0) + data
    if here.version == 6:
        return struct.pack("!IHBB", 6 << 28, length, 17, 64) + here.packed + there.packed + udp
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, 17, 0)
    head += here.packed + there.packed
    total = sum(struct.unpack("!10H", head))
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return head[:10] + struct.pack("!H", checksum) + head[12:] + udp


def _mapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    """``address`` as one of IPv6 (RFC 4291 2.5.5.2)."""
    if address.version == 6:
        return address
    return ipaddress.IPv6Address(bytes(10) + b"\xff\xff" + address.packed)


def from_pcap(data: bytes) -> list[Entry]:
    """The SIP messages of a capture that :func:`to_pcap` made; times are seconds since 1970.

    Raises:
        RemoteProtocolError: ``data`` is not such a capture.
    """
    try:
        magic, *_, link = _PCAP_HEAD.unpack_from(data)
        if magic != _PCAP_MAGIC or link != _LINKTYPE_RAW:
            raise RemoteProtocolError("this is not a trace that Spech wrote")
        entries = []
        offset = _PCAP_HEAD.size
        while offset < len(data):
            seconds, micros, size, _ = _PCAP_RECORD.unpack_from(data, offset)
            offset += _PCAP_RECORD.size
            entries.append(_unpack(data[offset : offset + size], seconds + micros / 1_000_000))
            offset += size
    except (struct.error, IndexError, ValueError) as error:
        raise RemoteProtocolError(f"the trace is damaged: {error}") from None
    return entries


def _unpack(packet: bytes, at: float) -> Entry:
    size, at_source = (4, 12) if packet[0] >> 4 == 4 else (16, 8)
    udp = at_source + 2 * size
    here = ipaddress.ip_address(packet[at_source : at_source + size])
    there = ipaddress.ip_address(packet[at_source + size : udp])
    source_port, destination_port = struct.unpack_from("!HH", packet, udp)
    source, destination = (str(here), source_port), (str(there), destination_port)
    return Entry(at, "", source, destination, packet[udp + 8 :])
