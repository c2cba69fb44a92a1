"""Header fields that programs send and read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.sip.dialog.caller import number_of
from spech.sip.message.grammar import maybe_number
from spech.sip.message.headers import Headers, NameAddr, parse_parameters
from spech.sip.message.uri import Uri

#: Header fields that programs are not shown.
_NOT_SHOWN: Final = (
    "Authorization",
    "Proxy-Authorization",
    "P-Asserted-Identity",
    "Remote-Party-ID",
)
#: Header fields that the stack writes, or that change what a message means.
_OURS: Final = frozenset(
    {
        "Accept",
        "Allow",
        "Authorization",
        "CSeq",
        "Call-ID",
        "Contact",
        "Content-Encoding",
        "Content-Length",
        "Content-Type",
        "Expires",
        "From",
        "Max-Forwards",
        "Min-SE",
        "Proxy-Authorization",
        "Proxy-Require",
        "RSeq",
        "Record-Route",
        "Refer-To",
        "Replaces",
        "Require",
        "Route",
        "Session-Expires",
        "Supported",
        "To",
        "User-Agent",
        "Via",
    }
)
#: Diversions of a call that is not forwarded any more.
_MOST_DIVERSIONS: Final = 5
#: Seconds of the longest Retry-After.
_LONGEST_RETRY: Final = 86_400
#: The octets of user-to-user information: what ISDN carries (RFC 7433 7).
_MOST_INFORMATION: Final = 256


@dataclass(frozen=True, slots=True)
class Diversion:
    """One step by which a call was diverted (RFC 5806).

    Attributes:
        number: from whom: the user part of the address, or its host.
        uri: the address, as a SIP or tel URI.
        reason: why, in lower case: "user-busy", "no-answer", "unconditional"; "unknown" without.
    """

    number: str
    uri: str
    reason: str


def sendable(headers: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """The header fields that a program wants to send.

    Raises:
        LocalProtocolError: a name is not a token or is one that Spech writes, or a value has
            a line break.
        TypeError: they are not text by name.
    """
    if headers is None:
        return ()
    if not (
        isinstance(headers, Mapping)
        and all(isinstance(part, str) for pair in headers.items() for part in pair)
    ):
        raise TypeError(f'headers must be text by name, {{"X-Customer": "42"}}, not {headers!r}')
    pairs = tuple(Headers(headers.items()))
    for name, _ in pairs:
        if name in _OURS:
            raise LocalProtocolError(f"the header field {name} cannot be set by a program")
    return pairs


def shown(headers: Headers) -> tuple[tuple[str, str], ...]:
    """The header fields of a peer without credentials and asserted identities."""
    return tuple([pair for pair in headers if pair[0] not in _NOT_SHOWN])


def diversions(headers: Headers) -> tuple[Diversion, ...]:
    """The diversions of a call, the latest first. What cannot be read is left out."""
    return tuple(
        Diversion(
            number_of(address.uri),
            str(address.uri),
            (address.parameter("reason") or "unknown").strip('"').lower(),
        )
        for address in _diverting(headers)
    )


def goes_round(headers: Headers, *own: Uri) -> bool:
    """Whether a call may go round in a circle: it was diverted from one of our own addresses, or
    very often (RFC 5806). Ports do not count, because servers leave them out."""
    steps = [(number_of(step.uri), step.uri.host.lower()) for step in _diverting(headers)]
    if not steps:
        return False
    ours = [(number_of(uri), uri.host.lower()) for uri in own]
    return len(steps) >= _MOST_DIVERSIONS or any(step in ours for step in steps)


def _diverting(headers: Headers) -> Iterator[NameAddr]:
    """The addresses from which a call was diverted."""
    for value in headers.values("Diversion"):
        with suppress(RemoteProtocolError):
            yield NameAddr.parse(value)


def user_to_user(headers: Headers) -> bytes | None:
    """The user-to-user information (RFC 7433), None without any, or where it cannot be read."""
    value, _, parameters = (headers.get("User-To-User") or "").partition(";")
    value = value.strip()
    try:
        encoding = dict(parse_parameters(f";{parameters}") if parameters else ()).get("encoding")
        if not value or len(value) > 2 * _MOST_INFORMATION:
            return None
        if (encoding or "hex").lower() == "hex" and not value.startswith('"'):
            return bytes.fromhex(value)
        return value.strip('"').encode()
    except (RemoteProtocolError, ValueError):
        return None


def retry_after(headers: Headers) -> int | None:
    """The seconds of a Retry-After (RFC 3261 20.33), a day at most; None without one."""
    seconds = (headers.get("Retry-After") or "").partition(";")[0].partition("(")[0].strip()
    found = maybe_number(seconds, 2**31)
    return None if found is None else min(found, _LONGEST_RETRY)


def cause_header(cause: int | None) -> tuple[tuple[str, str], ...]:
    """The Reason header field with a cause of Q.850 (RFC 3326 2).

    Raises:
        LocalProtocolError: ``cause`` is not a number from 1 to 127.
    """
    if cause is None:
        return ()
    if not 1 <= cause <= 127:
        raise LocalProtocolError(f"a cause of Q.850 is a number from 1 to 127, not {cause!r}")
    return (("Reason", f"Q.850;cause={cause}"),)
