"""SIP, SIPS and tel URIs (RFC 3261 section 19.1, RFC 3966)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.sip.message.grammar import BLANK, HOST, TOKEN, read_number

# This bypasses the checks of the constructor, for parts that a regular expression has checked.
_set: Final = object.__setattr__

_SIP_SCHEMES: Final = frozenset({"sip", "sips"})
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.\-]*")

# Looser than ``user``, ``password``, ``pvalue`` and ``hvalue`` of the RFC: every character that
# cannot be mistaken for a delimiter is accepted, because callers violate the grammar.
_USER: Final = re.compile(r'[^\x00-\x20\x7f<>"@:\ud800-\udfff]+')
_PASSWORD: Final = re.compile(r'[^\x00-\x20\x7f<>"@\ud800-\udfff]*')
_OPAQUE: Final = re.compile(r'[^\x00-\x20\x7f<>";\ud800-\udfff]+')
_NAME: Final = re.compile(r'[^\x00-\x20\x7f<>";?=\ud800-\udfff]+')
_VALUE: Final = re.compile(r'[^\x00-\x20\x7f<>";?\ud800-\udfff]*')
_HEADERS: Final = re.compile(r'[^\x00-\x20\x7f<>"\ud800-\udfff]*')

#: The longest URI in characters, as long as the longest header line.
MAX_URI: Final = 8192
#: The longest URI in characters that is repaired.
_MOST_MENDED: Final = 1024

# For lenient parsing, see :meth:`Uri.read`.
_AFTER_HOST: Final = re.compile("[;?]")
_ILLEGAL_IN_USER: Final = re.compile(r'[\x00-\x20\x7f<>"@\ud800-\udfff]')
_PARAMETER: Final = re.compile(r"[A-Za-z0-9\-_.+]+(?:=[A-Za-z0-9\-_.+%:\[\]]+)?")

#: The form of nearly every URI. It checks each part completely. Its five groups are for
#: :meth:`Uri.of_plain`, which is faster than :meth:`Uri._parse` and gives the same result.
PLAIN_URI: Final = (
    r"(sips?):(?:([A-Za-z0-9\-_.!~*'()&=+$,;?/%#]+)@)?([A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?)"
    r"(?::([0-9]{1,4}|[1-5][0-9]{4}))?((?:;[A-Za-z0-9\-_.+]+(?:=[A-Za-z0-9\-_.+%]+)?)*)"
)
_PLAIN: Final = re.compile(PLAIN_URI)

#: Parameters that make two URIs differ when only one of the URIs has them (section 19.1.4; only
#: the section's examples show that ``transport`` is one).
_DISTINGUISHING: Final = frozenset({b"user", b"ttl", b"method", b"maddr", b"transport"})


@dataclass(frozen=True, slots=True)
class Uri:
    """A URI, its parts in wire form (escapes such as ``%20`` stay escaped).

    ``host`` holds an IPv6 address without its brackets. A ``tel:`` URI has its number in ``user``
    and an empty ``host``; a URI of any other scheme has in ``user`` everything after the colon. A
    parameter without a value has the value ``None``. ``headers`` is the text after the question
    mark.

    Raises:
        LocalProtocolError: when a part contains a character that would end it, such as a line
            break.
    """

    scheme: str
    user: str | None
    host: str
    port: int | None = None
    parameters: tuple[tuple[str, str | None], ...] = ()
    headers: str = ""
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.scheme in _SIP_SCHEMES:
            self._check_sip_parts()
        elif self.host or self.port is not None or self.password is not None:
            raise LocalProtocolError(f"a {self.scheme}: URI has no host, port or password")
        elif not _SCHEME.fullmatch(self.scheme) or not _OPAQUE.fullmatch(self.user or ""):
            raise LocalProtocolError(f"malformed {self.scheme[:16]!r} URI")
        for name, value in self.parameters:
            if not _NAME.fullmatch(name) or not (value is None or _VALUE.fullmatch(value)):
                raise LocalProtocolError(f"malformed URI parameter {name[:32]!r}")
        if self.headers and not _HEADERS.fullmatch(self.headers):
            raise LocalProtocolError("malformed headers in a URI")

    def _check_sip_parts(self) -> None:
        if self.user is not None:
            if not _USER.fullmatch(self.user):
                raise LocalProtocolError(f"malformed user part {self.user[:32]!r}")
            if self.password is not None and not _PASSWORD.fullmatch(self.password):
                raise LocalProtocolError("malformed password in a URI")
        elif self.password is not None:
            raise LocalProtocolError("a URI with a password needs a user part")
        elif "@" in self.headers or any("@" in name + (v or "") for name, v in self.parameters):
            raise LocalProtocolError("an @ in a URI without a user part")
        if not HOST.fullmatch(self.host) and not _is_ipv6(self.host):
            raise LocalProtocolError(f"malformed host {self.host[:64]!r}")
        if self.port is not None and not 0 <= self.port <= 65535:
            raise LocalProtocolError(f"port {self.port} is out of range")

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Parse a URI.

        Raises:
            RemoteProtocolError: 400, when it is malformed; 414, when it is too long.
        """
        if len(text) > MAX_URI:
            raise RemoteProtocolError(f"a URI of {len(text)} characters", 414)
        plain = _PLAIN.fullmatch(text)
        if plain is not None:
            scheme, user, host, digits, listed = plain.groups()
            return cls.of_plain(scheme, user, host, digits, listed)
        try:
            return cls._parse(text)
        except LocalProtocolError as error:
            raise RemoteProtocolError(str(error)) from None

    @classmethod
    def read(cls, text: str) -> Uri:
        """Parse the URI of a caller or a contact: strictly first, leniently when that fails.

        A scheme and a host are required, and the port must be valid. Illegal characters in the
        user part are escaped: a blank becomes ``%20``. An empty user part (``sip:@host``, a
        withheld number) is dropped. Malformed parameters are left out.

        Raises:
            RemoteProtocolError: 400, when the host or the port is malformed.
        """
        try:
            return cls.parse(text)
        except RemoteProtocolError:
            scheme, _, rest = text.strip(BLANK).partition(":")
            if scheme.lower() not in _SIP_SCHEMES or len(rest) > _MOST_MENDED:
                raise
            return cls.parse(f"{scheme}:{_mended(rest)}")

    @classmethod
    def of_plain(
        cls, scheme: str, user: str | None, host: str, digits: str | None, listed: str
    ) -> Uri:
        """A URI from the groups of :data:`PLAIN_URI`, which need no further checks."""
        uri = Uri.__new__(Uri)
        _set(uri, "scheme", scheme)
        _set(uri, "user", user)
        _set(uri, "host", host)
        _set(uri, "port", None if digits is None else int(digits))
        _set(uri, "parameters", _read_parameters(listed) if listed else ())
        _set(uri, "headers", "")
        _set(uri, "password", None)
        return uri

    @classmethod
    def _parse(cls, text: str) -> Uri:
        scheme, colon, rest = text.strip(BLANK).partition(":")
        scheme = scheme.lower()
        if not colon:
            raise RemoteProtocolError(f"not a URI: {text[:64]!r}")
        if scheme not in _SIP_SCHEMES:
            if scheme != "tel":
                return cls(scheme, rest, "")
            number, semicolon, listed = rest.partition(";")
            return cls(scheme, number, "", None, _read_parameters(listed) if semicolon else ())
        user: str | None = None
        password: str | None = None
        before, at, after = rest.partition("@")
        if at:
            rest = after
            user, colon, secret = before.partition(":")
            if colon:
                password = secret
        rest, _, headers = rest.partition("?")
        host, semicolon, listed = rest.partition(";")
        port: int | None = None
        if host.startswith("["):
            host, bracket, tail = host[1:].partition("]")
            if not bracket or ":" not in host or (tail and not tail.startswith(":")):
                raise RemoteProtocolError(f"malformed host in {rest[:64]!r}")
            # The grammar of RFC 3261 allowed a third colon by mistake (RFC 5118 section 4.10).
            host = host.replace(":::", "::")
            if tail:
                port = read_number(tail[1:], 65535, "port")
        elif ":" in host:
            host, _, digits = host.partition(":")
            port = read_number(digits, 65535, "port")
        parameters = _read_parameters(listed) if semicolon else ()
        return cls(scheme, user, host, port, parameters, headers, password)

    def __str__(self) -> str:
        if self.scheme in _SIP_SCHEMES:
            user = "" if self.user is None else self.user
            if self.password is not None:
                user += f":{self.password}"
            text = f"{self.scheme}:{user}{'' if self.user is None else '@'}{self._host_and_port()}"
        else:
            text = f"{self.scheme}:{self.user}"
        for name, value in self.parameters:
            text += f";{name}" if value is None else f";{name}={value}"
        return f"{text}?{self.headers}" if self.headers else text

    def _host_and_port(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def address(self) -> str:
        """The address of record: the URI without password, parameters and headers."""
        if self.scheme not in _SIP_SCHEMES:
            return f"{self.scheme}:{self.user}"
        user = "" if self.user is None else f"{self.user}@"
        return f"{self.scheme}:{user}{self._host_and_port()}"

    def parameter(self, name: str) -> str | None:
        """The value of a parameter, ``""`` for a flag, ``None`` when absent."""
        name = name.lower()
        for known, value in self.parameters:
            if known.lower() == name:
                return value or ""
        return None

    def with_parameters(self, **parameters: str | None) -> Uri:
        """A copy with these parameters set; ``lr=None`` sets a flag."""
        kept = self.without(*parameters).parameters
        return replace(self, parameters=(*kept, *parameters.items()))

    def without(self, *names: str) -> Uri:
        """A copy without these parameters."""
        unwanted = {name.lower() for name in names}
        kept = tuple(pair for pair in self.parameters if pair[0].lower() not in unwanted)
        return self if len(kept) == len(self.parameters) else replace(self, parameters=kept)

    @property
    def bare(self) -> Uri:
        """A copy without parameters."""
        return replace(self, parameters=()) if self.parameters else self

    @property
    def without_headers(self) -> Uri:
        """A copy without headers, as a Request-URI must be (RFC 3261 section 19.1.1, table 1)."""
        return replace(self, headers="") if self.headers else self

    def equivalent(self, other: Uri) -> bool:
        """Whether both URIs are equivalent (RFC 3261 section 19.1.4).

        The comparison of user and password is case-sensitive, that of the other parts is not. An
        explicit default port differs from an absent port.
        """
        return (
            self.scheme == other.scheme
            and _unescape(self.user) == _unescape(other.user)
            and _unescape(self.password) == _unescape(other.password)
            and _same_host(self.host, other.host)
            and self.port == other.port
            and self._same_parameters(other)
            and _header_set(self.headers) == _header_set(other.headers)
        )

    def _same_parameters(self, other: Uri) -> bool:
        ours, theirs = _folded(self.parameters), _folded(other.parameters)
        if any(ours[name] != theirs[name] for name in ours.keys() & theirs.keys()):
            return False
        return not (ours.keys() ^ theirs.keys()) & _DISTINGUISHING


def _read_parameters(listed: str) -> tuple[tuple[str, str | None], ...]:
    found: list[tuple[str, str | None]] = []
    for piece in listed.split(";"):
        name, equals, value = piece.partition("=")
        if name or equals:
            found.append((name, value if equals else None))
    return tuple(found)


def _mended(rest: str) -> str:
    """The text after ``sip:`` with a legal user part and legal parameters."""
    first = rest.find("@")
    end = _AFTER_HOST.search(rest, max(first, 0))
    address, tail = (rest, "") if end is None else (rest[: end.start()], rest[end.start() :])
    user, at, host = address.rpartition("@")
    listed = tail.partition("?")[0].split(";")[1:]
    kept = [piece for piece in map(str.strip, listed) if _PARAMETER.fullmatch(piece)]
    user = _ILLEGAL_IN_USER.sub(lambda found: quote(found[0]), user.strip(BLANK))
    host = host.strip(BLANK).removesuffix(":")
    return ";".join([f"{user}{at if user else ''}{host}", *kept])


def _is_ipv6(host: str) -> bool:
    if ":" not in host or len(host) > 64 or not host.isascii():
        return False
    try:
        address = IPv6Address(host)
    except ValueError:
        return False
    return address.scope_id is None or TOKEN.fullmatch(address.scope_id) is not None


def _same_host(one: str, other: str) -> bool:
    if ":" in one and ":" in other:
        return IPv6Address(one) == IPv6Address(other)
    return one.lower() == other.lower()


def _unescape(text: str | None) -> bytes | None:
    return None if text is None else unquote_to_bytes(text)


def _folded(parameters: tuple[tuple[str, str | None], ...]) -> dict[bytes, bytes]:
    return {
        unquote_to_bytes(name).lower(): unquote_to_bytes(value or "").lower()
        for name, value in reversed(parameters)
    }


def _header_set(headers: str) -> list[tuple[bytes, bytes]]:
    pairs = (piece.partition("=") for piece in headers.split("&") if piece)
    return sorted((unquote_to_bytes(n).lower(), unquote_to_bytes(v)) for n, _, v in pairs)
