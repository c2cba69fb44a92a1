"""The caller of an INVITE, and the reason of a CANCEL or BYE."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote

from spech.errors import RemoteProtocolError
from spech.sip.message.display import displayable
from spech.sip.message.grammar import maybe_number, quote, unescape
from spech.sip.message.headers import Headers, NameAddr
from spech.sip.message.message import Request
from spech.sip.message.uri import Uri

_REASON: Final = re.compile(r"^\s*(SIP|Q\.850)\s*;(?:.*;)?\s*cause\s*=\s*(\d{1,3})", re.IGNORECASE)
_TEXT: Final = re.compile(r';\s*text\s*=\s*"((?:[^"\\]|\\.)*)"', re.IGNORECASE)

_BEGINS_NUMBER: Final = tuple("+0123456789")
#: The From of anonymous calls (RFC 3323 4.1).
ANONYMOUS: Final = NameAddr.parse('"Anonymous" <sip:anonymous@anonymous.invalid>')


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller. ``asserted`` says that a server vouches for it, not only the caller."""

    number: str
    display_name: str | None
    asserted: bool


def caller_of(request: Request, *, trusted: bool) -> Caller:
    """The caller of an INVITE: P-Asserted-Identity (RFC 3325), Remote-Party-ID, or From.

    Anyone can write the first two. They are read where the sender is ``trusted`` (RFC 3325 5).
    """
    for name in ("P-Asserted-Identity", "Remote-Party-ID") if trusted else ():
        for value in request.headers.values(name):
            try:
                found = NameAddr.read(value)
            except RemoteProtocolError:
                continue
            if (found.parameter("privacy") or "off").lower() != "off":
                continue  # A Remote-Party-ID that asks not to be shown.
            return _caller(found, asserted=True)
    caller = _caller(request.from_, asserted=False)
    if request.from_.uri.user is None and ":@" in (request.headers.get("From") or ""):
        caller = replace(caller, number=ANONYMOUS.uri.user or "")  # A withheld number.
    return caller


def _caller(address: NameAddr, *, asserted: bool) -> Caller:
    name = displayable(address.display_name or "")
    return Caller(number_of(address.uri), name or None, asserted)


def number_of(uri: Uri) -> str:
    """The number or name in ``uri`` as a person reads it; its host where it has none.

    It is fit to be shown, see :func:`displayable`. What telephone networks add to numbers is left
    out (RFC 3966 3): ``;verstat=``, ``;npdi``.
    """
    user = uri.user or uri.host
    if user[:1] in _BEGINS_NUMBER:
        user = user.partition(";")[0]
    return displayable(unquote(user)) or displayable(uri.host)


def answered_elsewhere(request: Request) -> bool:
    """Whether a CANCEL says that another phone took the call: ``SIP;cause=200`` (RFC 3326 3)."""
    causes = (_REASON.match(value) for value in request.headers.values("Reason"))
    return any(
        cause is not None and cause[1].upper() == "SIP" and maybe_number(cause[2], 999) == 200
        for cause in causes
    )


def reason_header(status: int, reason: str) -> tuple[tuple[str, str], ...]:
    """The Reason header that says why we end a call (RFC 3326 2)."""
    text = f";text={quote(displayable(reason, 100))}" if reason else ""
    return (("Reason", f"SIP;cause={status}{text}"),)


def q850_cause(headers: Headers) -> int | None:
    """The cause of the telephone network in Reason (ITU-T Q.850; RFC 3326 2, RFC 6432), or None."""
    for value in headers.values("Reason"):
        found = _REASON.match(value)
        if found is not None and found[1].upper() == "Q.850":
            return maybe_number(found[2], 127)
    return None


def reason_of(request: Request) -> str | None:
    """Why the other end ends a call, in its own words (RFC 3326), or None.

    A CANCEL for a call that was taken on another phone says ``Call completed elsewhere``.
    """
    for value in request.headers.values("Reason"):
        found = _REASON.match(value)
        if found is None:
            continue
        text = _TEXT.search(value)
        if text is not None and text[1]:
            return displayable(unescape(text[1]), 100)
        if found[1].upper() == "SIP" and maybe_number(found[2], 999) == 200:
            return "Call completed elsewhere"
    return None
