"""SIP header fields: the ordered multimap, and the structured header values.

Parsed values are unquoted and unescaped; serialized values are quoted when necessary.
(RFC 3261 sections 7.3 and 20.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.sip.message.grammar import (
    BLANK,
    CANONICAL_NAMES,
    FORBIDDEN,
    HOST,
    PLAIN_PARAMETERS,
    QUOTED,
    TOKEN,
    Parameters,
    canonical,
    find_parameter,
    format_parameters,
    has_forbidden,
    parse_parameters,
    quote,
    read_number,
    read_parameters,
    set_parameter,
    split_list,
    split_parameters,
    unescape,
    unquote,
)
from spech.sip.message.uri import MAX_URI, PLAIN_URI, Uri

__all__ = [
    "AuthHeader",
    "CSeq",
    "Headers",
    "NameAddr",
    "Via",
    "masked",
    "parse_parameters",
    "split_list",
]

_SECRET: Final = frozenset({"Authorization", "Proxy-Authorization"})
_AROUND_USER: Final = re.compile(r'([@\s<>"])')
_BEFORE_PASSWORD: Final = re.compile("sips?:[^:]+:", re.IGNORECASE)


def masked(name: str, value: str) -> str:
    """A header value for a log, without credentials and without passwords in URIs."""
    if name in _SECRET:
        return f"{value.partition(' ')[0]} ***"
    if "@" not in value:
        return value
    # Pieces of text alternate with the delimiters between them.
    pieces = _AROUND_USER.split(value)
    for index in range(0, len(pieces) - 1, 2):
        piece = pieces[index]
        if ":" in piece and pieces[index + 1] == "@" and (user := _BEFORE_PASSWORD.search(piece)):
            pieces[index] = f"{piece[: user.end()]}***"
    return "".join(pieces)


class Headers:
    """An immutable, ordered multimap of header lines. Names are canonical, see :func:`canonical`.

    Raises:
        LocalProtocolError: when a name is not a token, or when a value contains a line break or
            another control character, so that no value can inject a header.
    """

    __slots__ = ("_index", "_pairs")

    _pairs: tuple[tuple[str, str], ...]
    _index: dict[str, list[str]] | None

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = tuple([_checked(name, value) for name, value in pairs])
        self._index = None

    @classmethod
    def trusted(cls, pairs: tuple[tuple[str, str], ...]) -> Headers:
        """Headers from pairs with canonical names and values that have been checked."""
        headers = Headers.__new__(Headers)
        headers._pairs = pairs
        headers._index = None
        return headers

    def _indexed(self) -> dict[str, list[str]]:
        index: dict[str, list[str]] = {}
        for known, value in self._pairs:
            if known in index:
                index[known].append(value)
            else:
                index[known] = [value]
        self._index = index
        return index

    def get(self, name: str) -> str | None:
        """The value of the first line of that name."""
        # The look-up of get_all(), without its call: this is what is asked most often.
        index = self._index or self._indexed()
        found = index.get(CANONICAL_NAMES.get(name) or canonical(name))
        return found[0] if found else None

    def only(self, name: str) -> str:
        """The value of the one line of that name, which is canonical.

        Raises:
            RemoteProtocolError: 400, when there is none, an empty one, or more than one.
        """
        found = (self._index or self._indexed()).get(name, ())
        if len(found) != 1 or not found[0]:
            raise RemoteProtocolError(f"{len(found)} {name} headers instead of one")
        return found[0]

    def get_all(self, name: str) -> Sequence[str]:
        """The values of all lines of that name, not split at commas; not to be changed."""
        index = self._index or self._indexed()
        return index.get(CANONICAL_NAMES.get(name) or canonical(name)) or []

    def values(self, name: str) -> list[str]:
        """The values of all lines of that name, split at commas.

        For headers that are lists (Via, Route, Contact, Allow, Supported ...); not for those in
        which a comma has another meaning (Date, WWW-Authenticate, Authorization).
        """
        found = self.get_all(name)
        if not found:
            return []
        if len(found) == 1:
            return split_list(found[0])
        return [part for value in found for part in split_list(value)]

    def set(self, name: str, value: str) -> Headers:
        """A copy with one line of that name, in the place of the first one or at the end."""
        pair = _checked(name, value)
        if not self.get_all(pair[0]):
            return Headers.trusted((*self._pairs, pair))
        pairs: list[tuple[str, str]] = []
        placed = False
        for line in self._pairs:
            if line[0] != pair[0]:
                pairs.append(line)
            elif not placed:
                pairs.append(pair)
                placed = True
        return Headers.trusted(tuple(pairs))

    def add(self, name: str, value: str) -> Headers:
        """A copy with one more line at the end."""
        return Headers.trusted((*self._pairs, _checked(name, value)))

    def prepend(self, name: str, value: str) -> Headers:
        """A copy with one more line at the top, where a new Via belongs."""
        return Headers.trusted((_checked(name, value), *self._pairs))

    def with_first(self, name: str, value: str) -> Headers:
        """A copy in which ``value`` takes the place of the first of :meth:`values`."""
        pair = _checked(name, value)
        pairs = list(self._pairs)
        for place, (known, line) in enumerate(pairs):
            if known == pair[0] and (values := split_list(line)):
                pairs[place] = (known, ", ".join([pair[1], *values[1:]]))
                return Headers.trusted(tuple(pairs))
        return Headers.trusted((pair, *self._pairs))

    def behind(self, pairs: Iterable[tuple[str, str]]) -> Headers:
        """A copy that begins with these lines of another message, which have been checked."""
        return Headers.trusted((*pairs, *self._pairs))

    def remove(self, name: str) -> Headers:
        """A copy without the lines of that name."""
        name = canonical(name)
        return Headers.trusted(tuple([pair for pair in self._pairs if pair[0] != name]))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.get_all(name))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._pairs == other._pairs

    def __hash__(self) -> int:
        return hash(self._pairs)

    def __repr__(self) -> str:
        return f"Headers({[(name, masked(name, value)) for name, value in self._pairs]!r})"


def _checked(name: str, value: str) -> tuple[str, str]:
    known = CANONICAL_NAMES.get(name)
    if known is None:
        if not TOKEN.fullmatch(name):
            raise LocalProtocolError(f"malformed header name {name[:32]!r}")
        known = canonical(name)
    # The first look spares nearly all values the call.
    if FORBIDDEN.search(value) is not None and has_forbidden(value):
        raise LocalProtocolError(f"control character in {known}")
    return known, value.strip(BLANK)


_NAME_ADDR: Final = re.compile(
    r'(?:("[^"\\]*(?:\\.[^"\\]*)*")[ \t]*|([^<"]*))<([^<>]*)>[ \t]*(;.*)?', re.DOTALL
)


#: The form of nearly every address in brackets: nothing to unescape, a plain URI, and parameters
#: that are tokens.
_PLAIN_NAME_ADDR: Final = re.compile(
    r'(?:"([^"\\]*)"[ ]?|([A-Za-z0-9\-.!%*_+`~ ]*))<' + PLAIN_URI + f">({PLAIN_PARAMETERS})"
)


#: The beginning of a URI in brackets, for :meth:`NameAddr.read`.
_BEGINS_URI: Final = re.compile(r"<(?=[ \t]*(?:sips?|tel):)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NameAddr:
    """A value of From, To, Contact, Route and similar headers (RFC 3261 section 20.10)."""

    uri: Uri
    display_name: str | None = None
    parameters: Parameters = ()

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        """Parse ``"Name" <uri>;parameters`` or ``uri;parameters``.

        Without brackets, parameters belong to the header and not to the URI (section 20.10).

        Raises:
            RemoteProtocolError: 400, when the text has neither form.
        """
        plain_match = _PLAIN_NAME_ADDR.fullmatch(text)
        if plain_match is not None:
            quoted, plain, scheme, user, host, digits, within, listed = plain_match.groups()
            return cls(
                Uri.of_plain(scheme, user, host, digits, within),
                quoted or (plain and plain.strip(" ")) or None,
                split_parameters(listed) if listed else (),
            )
        text = text.strip(BLANK)
        if len(text) > MAX_URI:
            raise RemoteProtocolError(f"an address of {len(text)} characters")
        if "<" not in text:
            bare, semicolon, listed = text.partition(";")
            if "?" in bare:
                raise RemoteProtocolError("a URI with headers must be in angle brackets")
            return cls(Uri.parse(bare), None, parse_parameters(listed) if semicolon else ())
        match = _NAME_ADDR.fullmatch(text)
        if match is None:
            raise RemoteProtocolError(f"malformed address {masked('', text)[:64]!r}")
        quoted, plain, uri, listed = match.groups()
        name = unquote(quoted) if quoted else plain.strip(BLANK)
        return cls(Uri.parse(uri), name or None, parse_parameters(listed) if listed else ())

    @classmethod
    def read(cls, text: str) -> NameAddr:
        """Parse From, To or Contact of a peer: strictly first, leniently when that fails.

        Only a URI is required; malformed parameters are left out. The display name is the text
        before the last URI in brackets without its outer quotes; other quotes and a backslash at
        the end stay in it.

        Raises:
            RemoteProtocolError: 400, when there is no URI, or it is malformed.
        """
        try:
            return cls.parse(text)
        except RemoteProtocolError:
            text = text.strip(BLANK)
            if len(text) > MAX_URI:
                raise
            if "<" not in text:
                bare, _, listed = text.partition(";")
                if "?" in bare:
                    raise
                return cls(Uri.read(bare), None, read_parameters(listed))
            openings = list(_BEGINS_URI.finditer(text))
            if not openings:
                raise
            uri, bracket, rest = text[openings[-1].end() :].partition(">")
            if not bracket:
                raise
            name = text[: openings[-1].start()].strip(BLANK)
            name = unescape(name.removeprefix('"').removesuffix('"')).strip(BLANK)
            listed = rest.partition(";")[2]
            return cls(Uri.read(uri), name or None, read_parameters(listed))

    def __str__(self) -> str:
        # Always written with brackets, which separate URI parameters from header parameters.
        name = f"{quote(self.display_name)} " if self.display_name else ""
        return f"{name}<{self.uri}>{format_parameters(self.parameters)}"

    def parameter(self, name: str) -> str | None:
        """The value of a parameter, ``""`` for a flag, ``None`` when absent."""
        return find_parameter(self.parameters, name.lower())

    @property
    def tag(self) -> str | None:
        """The tag of From and To (RFC 3261 section 19.3)."""
        return find_parameter(self.parameters, "tag") or None

    def with_tag(self, tag: str) -> NameAddr:
        """A copy of the address with this tag."""
        return replace(self, parameters=set_parameter(self.parameters, "tag", tag))


_VIA: Final = re.compile(
    r"SIP[ \t]*/[ \t]*([0-9]+\.[0-9]+)[ \t]*/[ \t]*([A-Za-z0-9\-.!%*_+`'~]+)[ \t]+"
    r"(?:\[([0-9A-Fa-f:.]+)\]|([^ \t;:\[\]]+))[ \t]*(?::[ \t]*([0-9]+)[ \t]*)?(;.*)?",
    re.IGNORECASE | re.DOTALL,
)


#: The form of nearly every Via.
_PLAIN_VIA: Final = re.compile(
    r"SIP/2\.0/([A-Z]+) ([A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?)"
    r"(?::([0-9]{1,4}|[1-5][0-9]{4}))?" + f"({PLAIN_PARAMETERS})"
)


@dataclass(frozen=True, slots=True)
class Via:
    """One Via value (RFC 3261 section 20.42). ``transport`` is upper case.

    Any ``version`` is parsed, so that a request of another version can be refused with 505.
    """

    transport: str
    host: str
    port: int | None = None
    parameters: Parameters = ()
    version: str = "2.0"

    @classmethod
    def parse(cls, text: str) -> Via:
        """Parse ``SIP/2.0/UDP host:port;branch=...``.

        Raises:
            RemoteProtocolError: 400, when the value is malformed.
        """
        match = _PLAIN_VIA.fullmatch(text)
        if match is not None:
            transport, host, digits, listed = match.groups()
            port = None if digits is None else int(digits)
            return cls(transport, host, port, split_parameters(listed) if listed else ())
        match = _VIA.fullmatch(text.strip(BLANK))
        if match is None:
            raise RemoteProtocolError(f"malformed Via {text[:64]!r}")
        version, transport, ipv6, host, digits, listed = match.groups()
        if ipv6 is None and not HOST.fullmatch(host):
            raise RemoteProtocolError(f"malformed host in Via {text[:64]!r}")
        port = None if digits is None else read_number(digits, 65535, "port in Via")
        parameters = parse_parameters(listed) if listed else ()
        return cls(transport.upper(), ipv6 or host, port, parameters, version)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        sent_by = f"{self.transport} {host}{port}"
        return f"SIP/{self.version}/{sent_by}{format_parameters(self.parameters)}"

    @property
    def branch(self) -> str | None:
        """The transaction identifier; unique if it begins with ``z9hG4bK`` (section 8.1.1.7)."""
        return find_parameter(self.parameters, "branch") or None

    @property
    def received(self) -> str | None:
        """The source address of the request, without brackets (section 18.2.1)."""
        value = find_parameter(self.parameters, "received")
        return value.strip("[]") or None if value else None

    @property
    def rport(self) -> str | None:
        """The source port (RFC 3581); ``""`` asks the server to fill it in, ``None`` is absent."""
        return find_parameter(self.parameters, "rport")

    def with_parameters(self, **parameters: str | None) -> Via:
        """A copy of the Via with these parameters; the value ``None`` makes a flag."""
        ours = self.parameters
        for name, value in parameters.items():
            ours = set_parameter(ours, name, value)
        return Via(self.transport, self.host, self.port, ours, self.version)


_PLAIN_CSEQ: Final = re.compile(r"([0-9]{1,9}) ([A-Z]+)")


@dataclass(frozen=True, slots=True)
class CSeq:
    """The sequence number and method of a request (RFC 3261 section 20.16)."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """Parse ``1 INVITE``.

        Raises:
            RemoteProtocolError: 400, when the value is malformed or exceeds 32 bits.
        """
        plain = _PLAIN_CSEQ.fullmatch(text)
        if plain is not None:
            return cls(int(plain[1]), plain[2])
        words = text.split()
        if len(words) != 2 or not TOKEN.fullmatch(words[1]):
            raise RemoteProtocolError(f"malformed CSeq {text[:64]!r}")
        return cls(read_number(words[0], 2**32 - 1, "CSeq"), words[1])

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


#: Parameters written without quotes (RFC 7616 sections 3.3 and 3.4); ``qop`` in credentials too.
_UNQUOTED: Final = frozenset({"algorithm", "nc", "stale", "userhash"})


@dataclass(frozen=True, slots=True, repr=False)
class AuthHeader:
    """A challenge or credentials: WWW-Authenticate, Authorization and the Proxy- headers.

    Parameter names are lower case; values are unquoted.
    """

    scheme: str
    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> AuthHeader:
        """Parse ``Digest realm="...", nonce="..."``.

        Raises:
            RemoteProtocolError: 400, when the value is malformed.
        """
        scheme, _, listed = text.strip(BLANK).partition(" ")
        if not TOKEN.fullmatch(scheme):
            raise RemoteProtocolError("malformed authentication scheme")
        parameters: dict[str, str] = {}
        for piece in split_list(listed):
            name, equals, value = piece.partition("=")
            name, value = name.strip(BLANK).lower(), value.strip(BLANK)
            if not equals or not TOKEN.fullmatch(name):
                raise RemoteProtocolError(f"malformed parameter of {scheme} authentication")
            if value.startswith('"'):
                if not QUOTED.fullmatch(value):
                    raise RemoteProtocolError(f"malformed value of {name[:32]!r} in {scheme}")
                value = unquote(value)
            parameters.setdefault(name, value)
        return cls(scheme, parameters)

    def __str__(self) -> str:
        credentials = "response" in self.parameters
        pieces = []
        for name, value in self.parameters.items():
            bare = name in _UNQUOTED or (name == "qop" and credentials)
            if bare and TOKEN.fullmatch(value):
                pieces.append(f"{name}={value}")
            else:
                pieces.append(f"{name}={quote(value)}")
        return f"{self.scheme} {', '.join(pieces)}" if pieces else self.scheme

    def __repr__(self) -> str:
        # A response allows an offline attack on the password, so it stays out of logs.
        shown = {k: "***" if k == "response" else v for k, v in self.parameters.items()}
        return f"AuthHeader({self.scheme!r}, {shown!r})"
