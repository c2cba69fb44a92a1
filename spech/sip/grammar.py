"""Character classes and small readers shared by the files that read SIP text.

Every pattern stands beside the rule that it obeys (RFC 3261 section 25.1 unless said otherwise).
All of them run in linear time, because what they read comes from the network.
"""

from __future__ import annotations

import re
from typing import Final

from ..errors import RemoteProtocolError

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

#: ``hostname`` or ``IPv4address``; the underscore is not legal in DNS, but is met in networks.
HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]*[A-Za-z0-9_.])?")

#: ``SIP-Version``. The name is matched without regard to case (section 7.1).
VERSION: Final = re.compile(r"SIP/[0-9]+\.[0-9]+", re.IGNORECASE)

#: What white space a line may hold once it is unfolded.
BLANK: Final = " \t"


def unquote(text: str) -> str:
    """The text between the quotes of a ``quoted-string``, its escapes resolved."""
    inner = text[1:-1]
    return _QUOTED_PAIR.sub(r"\1", inner) if "\\" in inner else inner


def quote(text: str) -> str:
    """``text`` as a ``quoted-string``."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def read_number(text: str, maximum: int, what: str) -> int:
    """A decimal number from 0 to ``maximum``; ``what`` names it in the error.

    Raises:
        RemoteProtocolError: 400, when it is not one. ``int()`` alone would take signs, blanks,
            underscores and foreign digits, and would raise for thousands of digits.
    """
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or int(text) > maximum:
        raise RemoteProtocolError(f"{what} is not a number from 0 to {maximum}: {text[:32]!r}")
    return int(text)


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
