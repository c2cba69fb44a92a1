"""Character classes and small readers shared by the files that read SIP text.

Every pattern stands beside the rule that it obeys (RFC 3261 section 25.1 unless said otherwise).
All of them run in linear time, because what they read comes from the network.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final

from spech.errors import LocalProtocolError, RemoteProtocolError

#: Names and values in order; a name without a value has ``None``.
Parameters = tuple[tuple[str, str | None], ...]

#: ``token``: method names, header names, parameter names, schemes of authentication.
TOKEN: Final = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")

#: Characters that no header value and no start line may hold: controls but the tab, DEL, and lone
#: surrogates, which have no bytes. CR and LF are among them: they would begin a line of their own.
FORBIDDEN: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")

#: A ``generic-param`` value that may stand without quotes: ``token / host``, and the marks that
#: peers use there though they should not.
BARE_VALUE: Final = re.compile(r"[A-Za-z0-9\-.!%*_+`'~\[\]:/@&=?$#|^{}()]+")

#: The inside of a ``quoted-string`` with its quotes; group 1 is the text, still escaped.
QUOTED: Final = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)

#: ``quoted-pair``: a backslash and the character that it protects.
_QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)

#: A control that a backslash protects within quotes. CR and LF cannot be protected.
_PROTECTED: Final = re.compile(r"\\[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

#: What is left of a protected control when the quotes are taken off: no terminal shall obey it.
_CONTROL: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
_REPLACEMENT: Final = "\ufffd"

#: ``hostname`` or ``IPv4address``; the underscore is not legal in DNS, but is met in networks.
HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]*[A-Za-z0-9_.])?")

#: ``SIP-Version``. The name is matched without regard to case (section 7.1).
VERSION: Final = re.compile(r"SIP/[0-9]+\.[0-9]+", re.IGNORECASE)

#: What white space a line may hold once it is unfolded.
BLANK: Final = " \t"


def has_forbidden(line: str) -> bool:
    """Whether a line holds a character that no header value may hold.

    A control character may only stand within quotes, protected by a backslash.
    """
    if FORBIDDEN.search(line) is None:
        return False
    # No backslash that is protected itself is left, and no quote that is.
    line = line.replace("\\\\", "").replace('\\"', "")
    if FORBIDDEN.search(_PROTECTED.sub("", line)) is not None:
        return True
    pieces = line.split('"')
    outside = pieces[::2]
    if len(pieces) % 2 == 0:  # The last quote is not closed: it protects nothing.
        outside.append(pieces[-1])
    return _PROTECTED.search('"'.join(outside)) is not None


def unquote(text: str) -> str:
    """The text between the quotes of a ``quoted-string``, its escapes resolved.

    A control character that was escaped becomes U+FFFD.
    """
    inner = text[1:-1]
    if "\\" not in inner:
        return inner
    return unescape(inner)


def unescape(text: str) -> str:
    """``text`` without the backslashes that protect another character.

    A control character becomes U+FFFD.
    """
    return _CONTROL.sub(_REPLACEMENT, _QUOTED_PAIR.sub(r"\1", text))


def quote(text: str) -> str:
    """``text`` as a ``quoted-string``."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def maybe_number(text: str, maximum: int) -> int | None:
    """A decimal number from 0 to ``maximum``, or None where it is none."""
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or int(text) > maximum:
        return None
    return int(text)


def read_number(text: str, maximum: int, what: str) -> int:
    """A decimal number from 0 to ``maximum``; ``what`` names it in the error.

    ``int()`` alone would take signs, blanks, underscores and foreign digits, and would raise for
    thousands of digits.

    Raises:
        RemoteProtocolError: 400, when it is not one.
    """
    number = maybe_number(text, maximum)
    if number is None:
        raise RemoteProtocolError(f"{what} is not a number from 0 to {maximum}: {text[:32]!r}")
    return number


#: A comma with the empty elements behind it, or what protects commas.
_SPLIT_AT: Final = re.compile(r',[, \t]*|["<]')
#: Elements of one list that are told apart.
_MOST_ELEMENTS: Final = 512


def split_list(value: str) -> list[str]:
    """The elements of a comma-separated value; commas within quotes and ``<>`` do not count.

    Empty elements are dropped. A quote or bracket that is never closed reaches to the end, and so
    does the last of more elements than anyone needs.
    """
    if "," not in value:
        value = value.strip(BLANK)
        return [value] if value else []
    parts: list[str] = []
    start = position = 0
    while mark := _SPLIT_AT.search(value, position):
        if mark[0][0] == ",":
            parts.append(value[start : mark.start()])
            start = position = mark.end()
            if len(parts) == _MOST_ELEMENTS:
                break
        elif mark[0] == "<":
            position = value.find(">", mark.end()) + 1
        else:
            quoted = QUOTED.match(value, mark.start())
            position = quoted.end() if quoted else 0
        if position == 0:
            break
    parts.append(value[start:])
    return [stripped for part in parts if (stripped := part.strip(BLANK))]


#: What nearly all parameters look like: no quotes, no blanks.
PLAIN_PARAMETERS: Final = r"(?:;[A-Za-z0-9\-.!%*_+`'~]+(?:=[A-Za-z0-9\-.!%*_+`'~\[\]:/@]*)?)*"
_PLAIN: Final = re.compile(PLAIN_PARAMETERS)

_PIECE: Final = re.compile(r'[^;"]*(?:"[^"\\]*(?:\\.[^"\\]*)*"[^;"]*)*', re.DOTALL)


def parse_parameters(text: str) -> Parameters:
    """Reads ``;name=value;flag``; a flag has the value ``None``, quotes are taken off.

    Raises:
        RemoteProtocolError: 400, when a name is no token or a quote is not closed.
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
                raise RemoteProtocolError("a quote is not closed in a parameter")
    found: list[tuple[str, str | None]] = []
    for piece_text in texts:
        name, equals, value = piece_text.partition("=")
        name = name.strip(BLANK)
        if not name and not equals and not value:
            continue
        if not TOKEN.fullmatch(name):
            raise RemoteProtocolError(f"unusable parameter {piece_text[:32]!r}")
        if not equals:
            found.append((name, None))
            continue
        value = value.strip(BLANK)
        if value.startswith('"'):
            if not QUOTED.fullmatch(value):
                raise RemoteProtocolError(f"unusable value of parameter {name[:32]!r}")
            value = unquote(value)
        elif '"' in value:
            raise RemoteProtocolError(f"unusable value of parameter {name[:32]!r}")
        found.append((name, value))
    return tuple(found)


def read_parameters(listed: str) -> Parameters:
    """As :func:`parse_parameters`, for what follows the first semicolon, without errors.

    A parameter that cannot be read is left out.
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
    """As :func:`parse_parameters`, for what :data:`PLAIN_PARAMETERS` has matched."""
    found: list[tuple[str, str | None]] = []
    for piece in text.split(";")[1:]:
        name, equals, value = piece.partition("=")
        found.append((name, value if equals else None))
    return tuple(found)


def format_parameters(parameters: Parameters) -> str:
    """Writes what :func:`parse_parameters` reads.

    Raises:
        LocalProtocolError: when a name is no token.
    """
    text = ""
    for name, value in parameters:
        if not TOKEN.fullmatch(name):
            raise LocalProtocolError(f"unusable parameter name {name[:32]!r}")
        if value is None:
            text += f";{name}"
        elif BARE_VALUE.fullmatch(value):
            text += f";{name}={value}"
        else:
            text += f";{name}={quote(value)}"
    return text


def find_parameter(parameters: Parameters, name: str) -> str | None:
    """The value of the first parameter of that name in lower case, ``""`` for a flag."""
    for known, value in parameters:
        if known == name or known.lower() == name:
            return value or ""
    return None


def set_parameter(parameters: Parameters, name: str, value: str | None) -> Parameters:
    """With one parameter of that name, in the place of the first one, or else at the end."""
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


#: RFC 3261 section 20 and the compact forms that IANA lists.
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

#: Names that each-word-capitalised would spell wrongly, and the ones that are met most often.
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

#: The usual spelling by every spelling that is looked up without further work.
CANONICAL_NAMES: Final[dict[str, str]] = {
    **_COMPACT,
    **{short.upper(): name for short, name in _COMPACT.items()},
    **{name.lower(): name for name in _USUAL},
    **{name: name for name in _USUAL},
}


def canonical(name: str) -> str:
    """The usual spelling of a header name: ``v`` and ``VIA`` are ``Via``."""
    known = CANONICAL_NAMES.get(name) or CANONICAL_NAMES.get(name.lower())
    return known or "-".join(word.capitalize() for word in name.split("-"))
