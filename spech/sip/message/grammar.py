"""Patterns and small parsers that the parsers of SIP text share.

Each pattern names its grammar rule (RFC 3261 section 25.1 unless stated otherwise). All run in
linear time, because their input comes from the network.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final

from spech.errors import LocalProtocolError, RemoteProtocolError

#: Names and values in order; the value of a flag is ``None``.
Parameters = tuple[tuple[str, str | None], ...]

#: ``token``: method names, header names, parameter names, authentication schemes.
TOKEN: Final = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")

#: Characters that no header value and no start line may contain: control characters except the
#: tab, DEL, and lone surrogates, which cannot be encoded. CR and LF are included: they would begin
#: a new line.
FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")

#: A ``generic-param`` value without quotes: ``token / host``, and other characters that peers use
#: there in violation of the grammar.
BARE_VALUE: Final = re.compile(r"[A-Za-z0-9\-.!%*_+`'~\[\]:/@&=?$#|^{}()]+")

#: A ``quoted-string`` with its quotes; group 1 is the text between them, still escaped.
QUOTED: Final = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)

#: ``quoted-pair``: a backslash and the character that it protects.
_QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)

#: A control character escaped by a backslash within quotes. CR and LF cannot be escaped.
_PROTECTED: Final = re.compile(r"\\[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

#: Escaped control characters are replaced when a string is unquoted, so that no terminal
#: interprets them.
_CONTROL: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
_REPLACEMENT: Final = "\ufffd"

#: ``hostname`` or ``IPv4address``; the underscore is illegal in host names, but networks use it.
HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]*[A-Za-z0-9_.])?")

#: ``SIP-Version``. The name is case-insensitive (section 7.1).
VERSION: Final = re.compile(r"SIP/[0-9]+\.[0-9]+", re.IGNORECASE)

#: The white space that an unfolded line may contain.
BLANK: Final = " \t"


def has_forbidden(line: str) -> bool:
    """Whether a line contains a character that no header value may contain.

    A control character is allowed only within quotes, escaped by a backslash.
    """
    if FORBIDDEN.search(line) is None:
        return False
    # Remove escaped backslashes and escaped quotes.
    line = line.replace("\\\\", "").replace('\\"', "")
    if FORBIDDEN.search(_PROTECTED.sub("", line)) is not None:
        return True
    pieces = line.split('"')
    outside = pieces[::2]
    if len(pieces) % 2 == 0:  # The last quote is not closed, so it quotes nothing.
        outside.append(pieces[-1])
    return _PROTECTED.search('"'.join(outside)) is not None


def unquote(text: str) -> str:
    """The text between the quotes of a ``quoted-string``, unescaped.

    A control character that was escaped becomes U+FFFD.
    """
    inner = text[1:-1]
    if "\\" not in inner:
        return inner
    return unescape(inner)


def unescape(text: str) -> str:
    """``text`` without the backslashes that escape another character.

    A control character becomes U+FFFD.
    """
    return _CONTROL.sub(_REPLACEMENT, _QUOTED_PAIR.sub(r"\1", text))


def quote(text: str) -> str:
    """``text`` as a ``quoted-string``."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def maybe_number(text: str, maximum: int) -> int | None:
    """``text`` as a decimal number from 0 to ``maximum``; None when it is not one."""
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or int(text) > maximum:
        return None
    return int(text)


def read_number(text: str, maximum: int, what: str) -> int:
    """``text`` as a decimal number from 0 to ``maximum``; ``what`` names it in the error.

    ``int()`` alone accepts signs, blanks, underscores and non-ASCII digits, and raises ValueError
    for thousands of digits.

    Raises:
        RemoteProtocolError: 400, when it is not one.
    """
    number = maybe_number(text, maximum)
    if number is None:
        raise RemoteProtocolError(f"{what} is not a number from 0 to {maximum}: {text[:32]!r}")
    return number


#: One element of a list: commas within quotes and ``<>`` belong to it.
_ELEMENT: Final = re.compile(r'[^,"<]*(?:(?:"[^"\\]*(?:\\.[^"\\]*)*"|<[^>]*>)[^,"<]*)*', re.DOTALL)
#: A comma and the empty elements after it.
_COMMAS: Final = re.compile(r",[, \t]*")
#: The number of elements into which a list is split.
_MOST_ELEMENTS: Final = 512


def split_list(value: str) -> list[str]:
    """The elements of a comma-separated value; commas within quotes and ``<>`` do not separate.

    Empty elements are dropped. A quote or bracket that is not closed extends to the end. The list
    is split into a limited number of elements; the last one holds the rest.
    """
    if "," not in value:
        value = value.strip(BLANK)
        return [value] if value else []
    parts: list[str] = []
    start = 0
    while len(parts) < _MOST_ELEMENTS and (element := _ELEMENT.match(value, start)):
        commas = _COMMAS.match(value, element.end())
        if commas is None:
            break
        parts.append(element[0])
        start = commas.end()
    parts.append(value[start:])
    return [stripped for part in parts if (stripped := part.strip(BLANK))]


#: The form of nearly all parameters in practice: no quotes, no blanks.
PLAIN_PARAMETERS: Final = r"(?:;[A-Za-z0-9\-.!%*_+`'~]+(?:=[A-Za-z0-9\-.!%*_+`'~\[\]:/@]*)?)*"
_PLAIN: Final = re.compile(PLAIN_PARAMETERS)

_PIECE: Final = re.compile(r'[^;"]*(?:"[^"\\]*(?:\\.[^"\\]*)*"[^;"]*)*', re.DOTALL)


def parse_parameters(text: str) -> Parameters:
    """Parse ``;name=value;flag``. A flag has the value ``None``; values are unquoted.

    Raises:
        RemoteProtocolError: 400, when a name is not a token or a quote is not closed.
    """
    if _PLAIN.fullmatch(text):
        return split_parameters(text)
    if '"' not in text:
        texts = text.split(";")
    else:
        texts = []
        position = 0
        while position <= len(text):
            piece = _PIECE.match(text, position)
            assert piece is not None  # the pattern matches the empty string too
            texts.append(piece[0])
            position = piece.end() + 1
            if piece.end() < len(text) and text[piece.end()] != ";":
                raise RemoteProtocolError("unclosed quote in a parameter")
    found: list[tuple[str, str | None]] = []
    for piece_text in texts:
        name, equals, value = piece_text.partition("=")
        name = name.strip(BLANK)
        if not name and not equals and not value:
            continue
        if not TOKEN.fullmatch(name):
            raise RemoteProtocolError(f"malformed parameter {piece_text[:32]!r}")
        if not equals:
            found.append((name, None))
            continue
        value = value.strip(BLANK)
        if value.startswith('"'):
            if not QUOTED.fullmatch(value):
                raise RemoteProtocolError(f"malformed value of parameter {name[:32]!r}")
            value = unquote(value)
        elif '"' in value:
            raise RemoteProtocolError(f"malformed value of parameter {name[:32]!r}")
        found.append((name, value))
    return tuple(found)


def read_parameters(listed: str) -> Parameters:
    """Parse the text after the first semicolon; leave out parameters that are malformed.

    Otherwise as :func:`parse_parameters`.
    """
    try:
        return parse_parameters(f";{listed}")
    except RemoteProtocolError:
        found: list[tuple[str, str | None]] = []
        for piece in listed.split(";"):
            with suppress(RemoteProtocolError):
                found += parse_parameters(f";{piece}")
        return tuple(found)


def split_parameters(text: str) -> Parameters:
    """As :func:`parse_parameters`, for text that :data:`PLAIN_PARAMETERS` has matched."""
    found: list[tuple[str, str | None]] = []
    for piece in text.split(";")[1:]:
        name, equals, value = piece.partition("=")
        found.append((name, value if equals else None))
    return tuple(found)


def format_parameters(parameters: Parameters) -> str:
    """Serialize parameters as ``;name=value;flag``; values are quoted when necessary.

    Raises:
        LocalProtocolError: when a name is not a token.
    """
    text = ""
    for name, value in parameters:
        if not TOKEN.fullmatch(name):
            raise LocalProtocolError(f"malformed parameter name {name[:32]!r}")
        if value is None:
            text += f";{name}"
        elif BARE_VALUE.fullmatch(value):
            text += f";{name}={value}"
        else:
            text += f";{name}={quote(value)}"
    return text


def find_parameter(parameters: Parameters, name: str) -> str | None:
    """The value of the first parameter of that name, ``""`` for a flag, None when absent.

    ``name`` is lower case.
    """
    for known, value in parameters:
        if known == name or known.lower() == name:
            return value or ""
    return None


def set_parameter(parameters: Parameters, name: str, value: str | None) -> Parameters:
    """The parameters with one of that name: in the place of the first one, otherwise at the end."""
    lowered = name.lower()
    kept: list[tuple[str, str | None]] = []
    placed = False
    for pair in parameters:
        if pair[0].lower() != lowered:
            kept.append(pair)
        elif not placed:
            kept.append((pair[0], value))
            placed = True
    return tuple(kept) if placed else (*kept, (name, value))


#: Compact header names (RFC 3261 section 20 and the IANA registry).
_COMPACT: Final = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "n": "Identity-Info",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}

#: Header names whose canonical spelling is not each word capitalized, and the most frequent ones.
_USUAL: Final = (
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Alert-Info",
    "Allow",
    "Allow-Events",
    "Authentication-Info",
    "Authorization",
    "Call-ID",
    "Call-Info",
    "Contact",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-Type",
    "CSeq",
    "Date",
    "Diversion",
    "Event",
    "Expires",
    "From",
    "In-Reply-To",
    "Max-Forwards",
    "MIME-Version",
    "Min-Expires",
    "Min-SE",
    "Organization",
    "P-Asserted-Identity",
    "Path",
    "Priority",
    "Privacy",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Require",
    "RAck",
    "Reason",
    "Record-Route",
    "Refer-To",
    "Referred-By",
    "Remote-Party-ID",
    "Replaces",
    "Reply-To",
    "Require",
    "Retry-After",
    "Route",
    "RSeq",
    "Server",
    "Service-Route",
    "Session-Expires",
    "SIP-ETag",
    "SIP-If-Match",
    "Subject",
    "Subscription-State",
    "Supported",
    "Timestamp",
    "To",
    "Unsupported",
    "User-Agent",
    "Via",
    "Warning",
    "WWW-Authenticate",
)

#: The canonical name by each spelling that is found without further work.
CANONICAL_NAMES: Final[dict[str, str]] = {
    **_COMPACT,
    **{short.upper(): name for short, name in _COMPACT.items()},
    **{name.lower(): name for name in _USUAL},
    **{name: name for name in _USUAL},
}


def canonical(name: str) -> str:
    """The canonical spelling of a header name: ``Via`` for ``v`` and ``VIA``."""
    known = CANONICAL_NAMES.get(name) or CANONICAL_NAMES.get(name.lower())
    return known or "-".join(word.capitalize() for word in name.split("-"))
