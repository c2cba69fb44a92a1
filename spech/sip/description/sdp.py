"""Session descriptions (RFC 8866), as far as telephony needs them.

Lines that mean nothing to a telephone (bandwidth, timing, keys, repeat times) are read past.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final

from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.sip.message.grammar import BLANK, HOST, read_number

Attributes = tuple[tuple[str, str | None], ...]

DIRECTIONS: Final = ("sendrecv", "sendonly", "recvonly", "inactive")

#: Audio payload types that need no rtpmap (RFC 3551 section 6): encoding, clock rate, channels.
STATIC_PAYLOADS: Final[dict[int, tuple[str, int, int]]] = {
    0: ("PCMU", 8000, 1),
    3: ("GSM", 8000, 1),
    4: ("G723", 8000, 1),
    5: ("DVI4", 8000, 1),
    6: ("DVI4", 16000, 1),
    7: ("LPC", 8000, 1),
    8: ("PCMA", 8000, 1),
    9: ("G722", 8000, 1),
    10: ("L16", 44100, 2),
    11: ("L16", 44100, 1),
    12: ("QCELP", 8000, 1),
    13: ("CN", 8000, 1),
    14: ("MPA", 90000, 1),
    15: ("G728", 8000, 1),
    16: ("DVI4", 11025, 1),
    17: ("DVI4", 22050, 1),
    18: ("G729", 8000, 1),
}

_RTPMAP: Final = re.compile(r"([0-9]{1,3})[ \t]+([^/ \t]+)/([0-9]{1,9})(?:/([0-9]{1,3}))?")
_FMTP: Final = re.compile(r"([0-9]{1,3})[ \t]+(.*)")
_IPV6: Final = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
#: What would end a line, for readers of any kind.
_LINE_BREAK: Final = re.compile("[\r\n\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Origin:
    """The ``o=`` line: who describes which session, in which version. The address is a host."""

    user: str
    session_id: str
    version: str
    address: str

    def __str__(self) -> str:
        return f"{self.user} {self.session_id} {self.version} {_network(self.address)}"


@dataclass(frozen=True, slots=True)
class MediaDescription:
    """One ``m=`` line and what belongs to it.

    ``connection`` is an address; ``None`` leaves it to the session's. ``session_direction`` is
    what the session level says, and is filled in by :class:`SessionDescription`.
    """

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    connection: str | None = None
    attributes: Attributes = field(default=(), repr=False)  # Keys may be among them.
    session_direction: str = "sendrecv"

    def attribute(self, name: str) -> str | None:
        """The value of the first attribute of that name, ``""`` for one without a value."""
        return _find(self.attributes, name)

    @property
    def direction(self) -> str:
        """``sendrecv``, ``sendonly``, ``recvonly`` or ``inactive``, as its author sees it."""
        return _direction(self.attributes) or self.session_direction

    @property
    def ptime(self) -> int | None:
        """The length of a packet in milliseconds that the author wants to receive."""
        return self._milliseconds("ptime")

    @property
    def maxptime(self) -> int | None:
        """The longest packet in milliseconds that the author takes (RFC 8866 section 6.4)."""
        return self._milliseconds("maxptime")

    def _milliseconds(self, name: str) -> int | None:
        digits = (self.attribute(name) or "").strip(BLANK).partition(".")[0]
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 4:
            return None
        return int(digits) or None

    @property
    def rtcp_port(self) -> int | None:
        """The port of ``a=rtcp`` (RFC 3605), when RTCP is not on the port after RTP.

        An address behind it is read past: RTCP goes to the host of RTP.
        """
        digits = (self.attribute("rtcp") or "").strip(BLANK).partition(" ")[0]
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 5:
            return None
        return int(digits) if 0 < int(digits) <= 65535 else None

    @property
    def muxed(self) -> bool:
        """Whether RTCP may come and go through the port of RTP (RFC 5761)."""
        return self.attribute("rtcp-mux") is not None

    def rtpmaps(self) -> dict[int, tuple[str, int, int]]:
        """Encoding name, clock rate in Hz and channels by payload type.

        Holds the formats of the ``m=`` line that an rtpmap or RFC 3551 explains; a malformed
        rtpmap is as good as none.
        """
        mapped: dict[int, tuple[str, int, int]] = {}
        for name, value in self.attributes:
            if name == "rtpmap" and value and (match := _RTPMAP.match(value)):
                number, encoding, clock_rate, channels = match.groups()
                mapped.setdefault(int(number), (encoding, int(clock_rate), int(channels or 1)))
        found: dict[int, tuple[str, int, int]] = {}
        for text in self.formats:
            if not (text.isascii() and text.isdigit()) or len(text) > 3:
                continue
            number = int(text)
            if number in mapped:
                found[number] = mapped[number]
            elif number in STATIC_PAYLOADS and self.kind == "audio":
                found[number] = STATIC_PAYLOADS[number]
        return found

    def fmtps(self) -> dict[int, str]:
        """The format parameters by payload type."""
        found: dict[int, str] = {}
        for name, value in self.attributes:
            if name == "fmtp" and value and (match := _FMTP.match(value)):
                found.setdefault(int(match[1]), match[2].strip(BLANK))
        return found

    def _lines(self) -> list[str]:
        lines = [f"m={self.kind} {self.port} {self.protocol} {' '.join(self.formats)}"]
        if self.connection is not None:
            lines.append(f"c={_network(self.connection)}")
        return lines + _attribute_lines(self.attributes)


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """A whole description. ``bytes(description)`` is its wire form.

    ``connection`` is the address for every media description that has none of its own.

    Raises:
        LocalProtocolError: from ``bytes()``, when a part holds a line break.
    """

    origin: Origin
    connection: str | None
    media: tuple[MediaDescription, ...]
    name: str = "-"
    attributes: Attributes = field(default=(), repr=False)

    def __post_init__(self) -> None:
        direction = self.direction
        if any(media.session_direction != direction for media in self.media):
            filled = tuple(replace(media, session_direction=direction) for media in self.media)
            object.__setattr__(self, "media", filled)

    def attribute(self, name: str) -> str | None:
        """The value of the session's first attribute of that name, ``""`` for one without."""
        return _find(self.attributes, name)

    @property
    def direction(self) -> str:
        """What the session level says; ``sendrecv`` when it says nothing (RFC 8866 6.7)."""
        return _direction(self.attributes) or "sendrecv"

    def __bytes__(self) -> bytes:
        lines = ["v=0", f"o={self.origin}", f"s={self.name or '-'}"]
        if self.connection is not None:
            lines.append(f"c={_network(self.connection)}")
        lines += ["t=0 0", *_attribute_lines(self.attributes)]
        for media in self.media:
            lines += media._lines()
        for line in lines:
            if _LINE_BREAK.search(line):
                raise LocalProtocolError(f"a line break in a session description: {line[:64]!r}")
        return ("\r\n".join(lines) + "\r\n").encode()


def parse(data: bytes) -> SessionDescription:
    """Reads a session description. Bare line feeds and a last line without an end are fine.

    Raises:
        RemoteProtocolError: 400, when it is none, or when a line that matters is malformed.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    lines = [line.strip(" \t\r\x00") for line in text.split("\n")]
    lines = [line for line in lines if line]
    if not lines or lines[0].replace(" ", "") != "v=0":
        raise RemoteProtocolError("a session description must begin with v=0")
    sections: list[list[tuple[str, str]]] = [[]]
    for line in lines:
        if "\r" in line or "\x00" in line:
            raise RemoteProtocolError("a control character in a session description")
        kind, equals, value = line.partition("=")
        if not equals or len(kind) != 1:
            continue
        if kind == "m":
            sections.append([])
        sections[-1].append((kind, value.strip(BLANK)))
    session = sections[0]
    origin = next((value for kind, value in session if kind == "o"), None)
    if origin is None:
        raise RemoteProtocolError("a session description without o=")
    return SessionDescription(
        origin=_parse_origin(origin),
        connection=_parse_connection(session),
        media=tuple(_parse_media(section) for section in sections[1:]),
        name=next((value for kind, value in session if kind == "s" and value), "-"),
        attributes=_parse_attributes(session),
    )


def _parse_origin(value: str) -> Origin:
    # From the right, since some phones put a name with blanks where the user belongs.
    fields = value.rsplit(None, 5)
    if len(fields) != 6:
        raise RemoteProtocolError(f"unusable o= line {value[:64]!r}")
    user, session_id, version, _, _, address = fields
    return Origin(user, session_id, version, address)


def _parse_connection(section: list[tuple[str, str]]) -> str | None:
    for kind, value in section:
        if kind != "c":
            continue
        fields = value.split()
        if len(fields) != 3 or fields[0].upper() != "IN":
            raise RemoteProtocolError(f"unusable c= line {value[:64]!r}")
        address = fields[2].partition("/")[0]  # multicast: a TTL and a count follow
        if not HOST.fullmatch(address) and not _IPV6.fullmatch(address):
            raise RemoteProtocolError(f"unusable address in c= line {value[:64]!r}")
        return address
    return None


def _parse_media(section: list[tuple[str, str]]) -> MediaDescription:
    fields = section[0][1].split()
    if len(fields) < 3:
        raise RemoteProtocolError(f"unusable m= line {section[0][1][:64]!r}")
    return MediaDescription(
        kind=fields[0],
        port=read_number(fields[1].partition("/")[0], 65535, "port of a media description"),
        protocol=fields[2],
        formats=tuple(fields[3:]),
        connection=_parse_connection(section),
        attributes=_parse_attributes(section),
    )


def _parse_attributes(section: list[tuple[str, str]]) -> Attributes:
    found: list[tuple[str, str | None]] = []
    for kind, value in section:
        if kind == "a" and value:
            name, colon, rest = value.partition(":")
            found.append((name.strip(BLANK), rest.strip(BLANK) if colon else None))
    return tuple(found)


def _attribute_lines(attributes: Attributes) -> list[str]:
    return [f"a={name}" if value is None else f"a={name}:{value}" for name, value in attributes]


def _network(address: str) -> str:
    return f"IN {'IP6' if ':' in address else 'IP4'} {address}"


def _direction(attributes: Attributes) -> str | None:
    return next((name for name, _ in attributes if name in DIRECTIONS), None)


def _find(attributes: Attributes, name: str) -> str | None:
    return next((value or "" for known, value in attributes if known == name), None)
