"""Session descriptions (RFC 8866), as far as telephony uses them.

Lines that telephony does not use (bandwidth, timing, keys, repeat times) are ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final, get_args

from spech.addresses import numeric
from spech.agreement import Direction
from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.sip.message.body import MAX_BODY
from spech.sip.message.grammar import BLANK, HOST, maybe_number

Attributes = tuple[tuple[str, str | None], ...]

#: The contents of an rtpmap: encoding name, clock rate in Hz, channels.
Meaning = tuple[str, int, int]

#: Limits: characters of a line, media lines of a description, formats of a media line.
MAX_SDP_LINE: Final = 8192
MAX_MEDIA: Final = 16
MAX_FORMATS: Final = 64

DIRECTIONS: Final[dict[str, Direction]] = {name: name for name in get_args(Direction)}

#: Audio payload types that need no rtpmap (RFC 3551 section 6): encoding, clock rate, channels.
STATIC_PAYLOADS: Final[dict[int, Meaning]] = {
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
#: An approximate pattern of an IPv6 address.
_IPV6: Final = re.compile(r"(?=[^:]*:)[0-9A-Fa-f:.]+")
_LONGEST_HOST: Final = 255
#: Characters that some parsers take for the end of a line.
_LINE_BREAK: Final = re.compile(r"[\r\n\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Origin:
    """The ``o=`` line. ``address`` is an address or a host name."""

    user: str
    session_id: str
    version: str
    address: str

    def __str__(self) -> str:
        return f"{self.user} {self.session_id} {self.version} {_network(self.address)}"


_NO_ORIGIN: Final = Origin("-", "0", "0", "0.0.0.0")


class _Described:
    """What has attributes: a session, or one medium of it."""

    __slots__ = ()

    attributes: Attributes

    def attribute(self, name: str) -> str | None:
        """The value of the first attribute of that name, ``""`` for one without a value."""
        for known, value in self.attributes:
            if known == name:
                return value or ""
        return None


@dataclass(frozen=True, slots=True)
class MediaDescription(_Described):
    """One ``m=`` line and the lines that belong to it.

    ``connection`` is an address or a host name; with ``None`` that of the session applies.
    ``session_direction`` is the direction at the session level; :class:`SessionDescription` sets
    it.
    """

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    connection: str | None = None
    attributes: Attributes = field(default=(), repr=False)  # They may contain keys.
    session_direction: Direction = "sendrecv"

    @property
    def direction(self) -> Direction:
        """``sendrecv``, ``sendonly``, ``recvonly`` or ``inactive``, from the sender's view."""
        return _direction(self.attributes) or self.session_direction

    @property
    def ptime(self) -> int | None:
        """The packet length in milliseconds that the sender wants to receive."""
        return self._milliseconds("ptime")

    @property
    def maxptime(self) -> int | None:
        """The longest packet in milliseconds that the sender accepts (RFC 8866 section 6.4)."""
        return self._milliseconds("maxptime")

    def _milliseconds(self, name: str) -> int | None:
        digits = (self.attribute(name) or "").strip(BLANK).partition(".")[0]
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 4:
            return None
        return int(digits) or None

    @property
    def rtcp_port(self) -> int | None:
        """The port of ``a=rtcp`` (RFC 3605), for RTCP that is not at the port after that of RTP.

        An address after it is ignored: RTCP is sent to the host of RTP.
        """
        digits = (self.attribute("rtcp") or "").strip(BLANK).partition(" ")[0]
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 5:
            return None
        return int(digits) if 0 < int(digits) <= 65535 else None

    @property
    def muxed(self) -> bool:
        """Whether RTCP may share the port of RTP (RFC 5761)."""
        return self.attribute("rtcp-mux") is not None

    def rtpmaps(self) -> dict[int, Meaning]:
        """Encoding name, clock rate in Hz and channels by payload type.

        It has the formats of the ``m=`` line that an rtpmap or RFC 3551 defines, in order. A
        malformed rtpmap is ignored. Each call parses the attributes again: keep the result.
        """
        mapped: dict[int, Meaning] = {}
        for name, value in self.attributes:
            if name == "rtpmap" and value and (match := _RTPMAP.match(value)):
                number, encoding, clock_rate, channels = match.groups()
                mapped.setdefault(int(number), (encoding, int(clock_rate), int(channels or 1)))
        found: dict[int, Meaning] = {}
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
class SessionDescription(_Described):
    """A session description. ``bytes(description)`` is its wire form.

    ``connection`` applies to each media description that has none.

    Raises:
        LocalProtocolError: from ``bytes()``, when a part contains a line break.
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

    @property
    def direction(self) -> Direction:
        """The direction at the session level; ``sendrecv`` by default (RFC 8866 6.7)."""
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
    """Parse a session description strictly.

    Bare line feeds and a last line without a line end are accepted.

    Raises:
        RemoteProtocolError: 400, when the description or a line that is used is malformed; 413,
            when it is too long; 488, when it has too many media lines.
    """
    return _parse(data, lenient=False)


def read(data: bytes) -> SessionDescription:
    """Parse a description from a peer: strictly first, leniently when that fails.

    Lenient parsing takes only what a call needs, media lines with their ports and an address, and
    ignores malformed lines. A media line without a valid port counts as rejected, so that the
    lines of our answer still correspond to those of the offer.

    Raises:
        RemoteProtocolError: 400, when there is no media line; 413, when the description is too
            long; 488, when it has too many media lines.
    """
    try:
        return _parse(data, lenient=False)
    except RemoteProtocolError:
        return _parse(data, lenient=True)


def _parse(data: bytes, *, lenient: bool) -> SessionDescription:
    if len(data) > MAX_BODY:
        raise RemoteProtocolError(f"a session description of {len(data)} bytes", 413)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    if lenient:
        text = text.replace("\x00", "").replace("\r", "\n")
    lines = [line.strip(" \t\r\x00") for line in text.split("\n")]
    lines = [line for line in lines if line]
    if not lenient and (not lines or lines[0].replace(" ", "") != "v=0"):
        raise RemoteProtocolError("a session description does not begin with v=0")
    session, *media = _sections(lines, lenient=lenient)
    if len(media) > MAX_MEDIA:
        raise RemoteProtocolError(f"{len(media)} media lines", 488)
    if lenient and not media:
        raise RemoteProtocolError("a session description without a media line")
    return SessionDescription(
        origin=_parse_origin(session, lenient=lenient),
        connection=_parse_connection(session, lenient=lenient),
        media=tuple([_parse_media(section, lenient=lenient) for section in media]),
        name=_first(session, "s") or "-",
        attributes=_parse_attributes(session),
    )


_Section = list[tuple[str, str]]


def _sections(lines: list[str], *, lenient: bool) -> list[_Section]:
    """The lines of the session, then those of each media description."""
    sections: list[_Section] = [[]]
    for line in lines:
        if "\r" in line or "\x00" in line:
            raise RemoteProtocolError("a control character in a session description")
        kind, equals, value = line.partition("=")
        if lenient:
            kind = kind.strip(BLANK)
        if not equals or len(kind) != 1:
            continue
        if len(line) > MAX_SDP_LINE:
            if not lenient:
                raise RemoteProtocolError(f"a line of {len(line)} characters")
            if kind != "m":
                continue
            value = value[:MAX_SDP_LINE]
        if kind == "m":
            sections.append([])
        sections[-1].append((kind, value.strip(BLANK)))
    return sections


def _first(section: _Section, wanted: str) -> str:
    for kind, value in section:
        if kind == wanted:
            return value
    return ""


def _parse_origin(section: _Section, *, lenient: bool) -> Origin:
    value = _first(section, "o")
    # Split from the right, because some phones write a name with blanks as the user.
    fields = value.rsplit(None, 5)
    if len(fields) == 6:
        user, session_id, version, _, _, address = fields
        return Origin(user, session_id, version, address)
    if lenient:
        return _NO_ORIGIN
    raise RemoteProtocolError(f"malformed o= line {value[:64]!r}")


def _parse_connection(section: _Section, *, lenient: bool) -> str | None:
    for kind, value in section:
        if kind != "c":
            continue
        fields = value.split()
        address = fields[-1].partition("/")[0] if fields else ""  # A multicast address has a TTL.
        usable = len(address) <= _LONGEST_HOST and (
            HOST.fullmatch(address) or _IPV6.fullmatch(address)
        )
        if usable and len(fields) == 3 and fields[0].upper() == "IN":
            return address
        if not lenient:
            raise RemoteProtocolError(f"malformed c= line {value[:64]!r}")
        if numeric(address) is not None:
            return address
    return None


def _parse_media(section: _Section, *, lenient: bool) -> MediaDescription:
    fields = section[0][1].split()
    port = maybe_number(fields[1].partition("/")[0], 65535) if len(fields) > 2 else None
    if not lenient and (port is None or len(fields) > 3 + MAX_FORMATS):
        raise RemoteProtocolError(f"malformed m= line {section[0][1][:64]!r}")
    return MediaDescription(
        kind=fields[0] if fields else "unknown",
        port=port or 0,
        protocol=fields[2] if len(fields) > 2 else "RTP/AVP",
        formats=tuple(fields[3 : 3 + MAX_FORMATS]),
        connection=_parse_connection(section, lenient=lenient),
        attributes=_parse_attributes(section),
    )


def _parse_attributes(section: _Section) -> Attributes:
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


def _direction(attributes: Attributes) -> Direction | None:
    for name, _ in attributes:
        if name in DIRECTIONS:
            return DIRECTIONS[name]
    return None
