"""Replaces: a new call takes the place of an existing one (RFC 3891)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import quote, unquote

from spech.errors import RemoteProtocolError
from spech.sip.call.leg import Leg
from spech.sip.message.grammar import find_parameter, parse_parameters
from spech.sip.message.message import Request
from spech.sip.message.uri import Uri

_Leg = TypeVar("_Leg", bound=Leg)


@dataclass(frozen=True, slots=True)
class Replaces:
    """Names a dialog as its owner sees it: ``to_tag`` is the owner's own tag (section 6.1)."""

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False

    @classmethod
    def parse(cls, text: str) -> Replaces:
        """Reads ``call-id;to-tag=...;from-tag=...``.

        Raises:
            RemoteProtocolError: 400, when it is malformed.
        """
        call_id, _, listed = text.partition(";")
        parameters = parse_parameters(listed)
        to_tag = find_parameter(parameters, "to-tag")
        from_tag = find_parameter(parameters, "from-tag")
        if not call_id.strip() or not to_tag or not from_tag:
            raise RemoteProtocolError("Replaces cannot be read")
        early = find_parameter(parameters, "early-only") is not None
        return cls(call_id.strip(), to_tag, from_tag, early)

    @classmethod
    def of(cls, session: Leg) -> Replaces:
        """The value with which the far end of ``session``, which is up, replaces it."""
        assert session.dialog is not None
        return cls(session.call_id, session.dialog.remote.tag or "0", session.local_tag)

    def __str__(self) -> str:
        early = ";early-only" if self.early_only else ""
        return f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}{early}"

    def within(self, uri: Uri) -> Uri:
        """``uri`` as Refer-To carries it for an attended transfer (RFC 5589 7)."""
        return replace(uri, headers=f"Replaces={quote(str(self), safe='')}")


def embedded(uri: Uri) -> Replaces | None:
    """The Replaces among the headers of a URI.

    The other headers that a URI may ask for are dangerous and are ignored (RFC 3261 19.1.5).

    Raises:
        RemoteProtocolError: 400, when it is there and unusable.
    """
    for piece in uri.headers.split("&"):
        name, _, value = piece.partition("=")
        if unquote(name).lower() == "replaces":
            return Replaces.parse(unquote(value))
    return None


def replaced(request: Request, sessions: Iterable[_Leg]) -> _Leg | None:
    """The session that an INVITE replaces; None where it has no Replaces (section 3).

    Raises:
        RemoteProtocolError: 481 where there is no such session, or it rings here; 486 where it was
            to be replaced only before its answer; 603 where it is over; 400 for an unusable header.
    """
    lines = request.headers.get_all("Replaces")
    if not lines:
        return None
    if len(lines) > 1:
        raise RemoteProtocolError("more than one Replaces")
    asked = Replaces.parse(lines[0])
    for session in sessions:
        if session.call_id == asked.call_id and session.local_tag == asked.to_tag:
            break
    else:
        raise RemoteProtocolError("no such call to replace", 481)
    if asked.from_tag not in [dialog.remote.tag for dialog in session.dialogs]:
        raise RemoteProtocolError("no such call to replace", 481)
    if session.is_over:
        raise RemoteProtocolError("the call to replace is over", 603)
    if session.is_up:
        if asked.early_only:
            raise RemoteProtocolError("the call to replace has been answered", 486)
    elif not session.outgoing:
        # An early dialog can be replaced only where it was begun.
        raise RemoteProtocolError("the call to replace rings here", 481)
    return session
