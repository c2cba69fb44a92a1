"""Multipart bodies, as trunks, emergency calls and presence servers send them (RFC 5621).

Spech uses one part. It ignores the others, unless the sender requires that they be understood
(``handling=required``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, TypeVar

from spech.errors import RemoteProtocolError
from spech.sip.message.grammar import Parameters, find_parameter, parse_parameters
from spech.sip.message.message import Request, Response, SipMessage

#: The longest body that is read, in bytes. No session description or event state is longer.
MAX_BODY: Final = 32_768

_SDP: Final = "application/sdp"
_ABOUT_SESSIONS: Final = frozenset({"INVITE", "ACK", "PRACK", "UPDATE"})
#: Dispositions of the part that is used (RFC 3261 20.11).
_PURPOSES: Final = frozenset({"", "session", "render"})
#: The number of parts of one body that are read.
_MOST_PARTS: Final = 16

_Whole = TypeVar("_Whole", bound=SipMessage)


def opened(message: _Whole) -> _Whole:
    """``message`` with only the session description in its body.

    The message is returned unchanged when its body is not multipart, and when the body has a part
    that must be understood and is not: the request is then refused with 415.
    """
    headers = message.headers
    if not message.body or message.cseq.method not in _ABOUT_SESSIONS:
        return message
    if headers.get("Content-Type") == _SDP and headers.get("Content-Disposition") is None:
        return message
    try:
        description = content_of(message, _SDP)
    except RemoteProtocolError:
        return message
    if description is message.body:
        return message
    headers = headers.remove("Content-Type").remove("Content-Disposition").remove("Content-Length")
    if description:
        headers = headers.add("Content-Type", _SDP)
    return replace(message, headers=headers, body=description)


def content_of(message: Request | Response, wanted: str) -> bytes:
    """The body of type ``wanted``, or the part of that type; b"" when the body may be ignored.

    Raises:
        RemoteProtocolError: 415, when the body has another type, or a part that must be understood
            has one.
    """
    name, parameters = _split(message.headers.get("Content-Type"))
    purpose, handling = _split(message.headers.get("Content-Disposition"))
    if name == wanted and _suits(wanted, purpose):
        return message.body
    if name.startswith("multipart/"):
        boundary = (find_parameter(parameters, "boundary") or "").encode()
        found = _needed_part(message.body, boundary, wanted, strict=name != "multipart/alternative")
        if found:
            return found
    # Without the parameter, the body must be understood (RFC 3261 20.11).
    if find_parameter(handling, "handling") != "optional":
        raise RemoteProtocolError(f"a body of type {name[:40]!r}", 415)
    return b""


def _needed_part(body: bytes, boundary: bytes, wanted: str, *, strict: bool) -> bytes:
    """The first part of type ``wanted``.

    Raises:
        RemoteProtocolError: 415, when ``strict`` is set and another part must be understood.
    """
    found = b""
    for kind, disposition, content in _parts(body, boundary):
        name, _ = _split(kind)
        purpose, parameters = _split(disposition)
        if name == wanted and _suits(wanted, purpose):
            found = found or content
        elif strict and find_parameter(parameters, "handling") == "required":
            raise RemoteProtocolError(f"a part of type {name[:40]!r}", 415)
    return found


def _suits(wanted: str, purpose: str) -> bool:
    """Whether the disposition allows the use of a body; ``early-session`` and ``icon`` do not."""
    return purpose in _PURPOSES and (wanted != _SDP or purpose != "render")


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
