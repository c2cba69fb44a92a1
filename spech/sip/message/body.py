"""Bodies of several parts, as trunks and emergency calls have them (RFC 5621).

One part describes the session; the others are for somebody else, and may be left where we are told
so (RFC 3261 20.11).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeVar

from spech.errors import RemoteProtocolError
from spech.sip.message.grammar import Parameters, find_parameter, parse_parameters
from spech.sip.message.message import Request, Response

#: Bytes of a body that we read. No description, message or state of a telephone is longer.
MAX_BODY: Final = 32_768

_SDP: Final = "application/sdp"
_ABOUT_SESSIONS: Final = frozenset({"INVITE", "ACK", "PRACK", "UPDATE"})
#: Parts of one body that are looked at.
_MOST_PARTS: Final = 16

_Whole = TypeVar("_Whole", Request, Response)


def opened(message: _Whole) -> _Whole:
    """``message`` with nothing but the session description in its body.

    As it came where there is nothing to open, and where a part must not be left that we do not
    know: then it is refused as a whole, with 415.
    """
    headers = message.headers
    kind, disposition = headers.get("Content-Type"), headers.get("Content-Disposition")
    if not message.body or (kind == _SDP and disposition is None):
        return message
    if message.cseq.method not in _ABOUT_SESSIONS:
        return message
    try:
        description = _description(kind, disposition, message.body)
    except RemoteProtocolError:
        return message
    if description is message.body:
        return message
    headers = headers.remove("Content-Type").remove("Content-Disposition").remove("Content-Length")
    if description:
        headers = headers.add("Content-Type", _SDP)
    return message.replace(headers=headers, body=description)


def _description(
    kind: str | None, disposition: str | None, body: bytes, *, part: bool = False
) -> bytes:
    """The description within ``body``, b"" where none is there. A part is not opened again.

    Raises:
        RemoteProtocolError: 415, when something else is there and must be understood.
    """
    name, parameters = _split(kind)
    purpose, handling = _split(disposition)
    if name == _SDP and purpose in ("", "session"):
        return body
    found = b""
    if name.startswith("multipart/") and not part:
        for one in _parts(body, (find_parameter(parameters, "boundary") or "").encode()):
            try:
                description = _description(*one, part=True)
                found = found or description
            except RemoteProtocolError:
                if name != "multipart/alternative":
                    raise
        if found:
            return found
    if find_parameter(handling, "handling") != "optional":
        raise RemoteProtocolError(f"a body of type {name[:40]!r}", 415)
    return b""


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[str, str | None, bytes]]:
    """Type, disposition and content of each part (RFC 2046 5.1)."""
    if not boundary:
        return
    _, *pieces = (b"\r\n" + body).split(b"\r\n--" + boundary, _MOST_PARTS)
    for piece in pieces:
        if piece.startswith(b"--"):
            return
        head, _, content = piece.partition(b"\r\n\r\n")
        headers: dict[str, str] = {}
        for line in head.decode(errors="replace").split("\r\n"):
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        yield headers.get("content-type", ""), headers.get("content-disposition"), content


def _split(value: str | None) -> tuple[str, Parameters]:
    """``application/sdp;a=b`` as its name in lower case and its parameters."""
    name, semicolon, rest = (value or "").partition(";")
    return name.strip().lower(), parse_parameters(semicolon + rest) if semicolon else ()
