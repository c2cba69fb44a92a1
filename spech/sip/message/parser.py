"""Parse and validate messages (RFC 3261 sections 7, 8.1.1 and 18.3).

:func:`parse` accepts any message that can be understood: folded lines, bare line feeds, compact
names. :func:`validate` then checks it against the rules. The two are separate, so that a request
that is refused can still be answered.
"""

from __future__ import annotations

import re
from typing import Final

from spech.errors import RemoteProtocolError
from spech.sip.message.grammar import (
    BLANK,
    CANONICAL_NAMES,
    FORBIDDEN,
    TOKEN,
    VERSION,
    canonical,
    has_forbidden,
    read_number,
)
from spech.sip.message.headers import Headers
from spech.sip.message.ids import MAGIC_COOKIE
from spech.sip.message.message import Request, Response, SipMessage
from spech.sip.message.uri import Uri

#: The longest message in bytes: the most that a UDP datagram can hold.
MAX_MESSAGE: Final = 65535
#: The number of header lines of one message.
MAX_HEADERS: Final = 256
#: The number of characters of one header line, unfolded.
MAX_LINE: Final = 8192

#: The empty line between head and body, with or without carriage returns.
HEAD_END: Final = re.compile(rb"\n\r?\n")

_FOLD: Final = re.compile(r"\n[ \t]+")
#: Control characters that no line may contain. Line feeds are the line ends. A carriage return
#: that remains when CRLF has become LF stands alone, and another parser might take it for a line
#: end.
_CONTROL_BYTES: Final = bytes([*range(0x09), *range(0x0B, 0x20), 0x7F])
#: Characters that a usual head does not contain: controls other than line ends, including tabs.
_UNUSUAL_BYTES: Final = bytes([*range(0x0A), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F])
_STATUS_LINE: Final = re.compile(r"(SIP/[0-9]+\.[0-9]+) ([1-6][0-9][0-9])(?: (.*))?", re.IGNORECASE)

_SUPPORTED_SCHEMES: Final = frozenset({"sip", "sips", "tel"})

#: Methods that neither establish a dialog nor change its remote target: headers that serve only
#: that purpose are not checked.
_NO_DIALOG: Final = frozenset({"ACK", "BYE", "CANCEL", "INFO", "MESSAGE", "OPTIONS", "PRACK"})

#: Replaces a Request-URI that could not be parsed (RFC 2606 reserves the name).
_UNUSABLE: Final = Uri("sip", None, "unusable.invalid")


def parse(data: bytes) -> SipMessage:
    """Parse one message: a datagram, or a message from a :class:`StreamFramer`.

    Bytes after the body are dropped; without Content-Length the body is the rest of the datagram
    (section 18.3). Text that is not UTF-8 is read as Latin-1, which old exchanges use for names.

    Raises:
        RemoteProtocolError: 400 when start line, headers or body are malformed, 513 when the
            message is too large.
    """
    if len(data) > MAX_MESSAGE:
        raise RemoteProtocolError(f"a message of {len(data)} bytes", 513)
    data = data.lstrip(b"\r\n")  # section 7.5: line ends before the start line are ignored
    end = HEAD_END.search(data)
    if end is None:
        start, headers = parse_head(data)
        body = b""
    else:
        start, headers = parse_head(data[: end.start()])
        body = data[end.end() :]
    length = content_length(headers)
    if length is not None:
        if length > len(body):
            raise RemoteProtocolError(f"Content-Length {length}, but {len(body)} bytes of body")
        body = body[:length]
    words = start.split(" ")
    if len(words) == 3 and words[2] == "SIP/2.0" and TOKEN.fullmatch(words[0]):
        return Request(words[0], Uri.parse(words[1]), headers, body)
    status = _STATUS_LINE.fullmatch(start)
    if status is not None:
        version, code, reason = status.groups()
        return Response(int(code), reason or "", headers, body, version.upper())
    if len(words) != 3 or not TOKEN.fullmatch(words[0]) or not VERSION.fullmatch(words[2]):
        raise RemoteProtocolError(f"malformed start line {start[:64]!r}")
    return Request(words[0], Uri.parse(words[1]), headers, body, words[2].upper())


#: Long and compact names of the headers that a response copies (RFC 3261 8.2.6.2).
_REPEATED: Final = frozenset({b"via", b"v", b"from", b"f", b"to", b"t", b"call-id", b"i", b"cseq"})


def salvage(data: bytes) -> Request | None:
    """The parts of a request that :func:`parse` refused that a response to it needs.

    The method and the headers are the request's own; the URI is a placeholder, and there is no
    body. When a header line is malformed, only the headers that a response copies are kept.
    ``None`` when one of those is malformed too, or when the data is not a request.
    """
    data = data.lstrip(b"\r\n")
    end = HEAD_END.search(data)
    head = data if end is None else data[: end.start()]
    try:
        start, headers = parse_head(head)
    except RemoteProtocolError:
        first, *rest = head[: 4 * MAX_LINE].split(b"\n")
        kept = [line for line in rest if line.partition(b":")[0].strip().lower() in _REPEATED]
        try:
            start, headers = parse_head(b"\n".join([first, *kept]))
        except RemoteProtocolError:
            return None
    words = start.split()
    if len(words) < 2 or not TOKEN.fullmatch(words[0]) or not VERSION.fullmatch(words[-1]):
        return None
    return Request(words[0], _UNUSABLE, headers, b"", words[-1].upper())


def parse_head(head: bytes) -> tuple[str, Headers]:
    """Parse start line and headers from the bytes before the empty line.

    Raises:
        RemoteProtocolError: 400, when a line is malformed; 513, when there are too many lines or
            one is too long.
    """
    return _parse_usual_head(head) or _parse_any_head(head)


def _parse_usual_head(head: bytes) -> tuple[str, Headers] | None:
    """As :func:`parse_head`, for nearly every head in practice: only CRLF between lines, names in
    the usual spelling, one blank before each value and none after it. Otherwise ``None``.

    It takes half the time of :func:`_parse_any_head` and gives the same result.
    """
    head = head.removesuffix(b"\r")
    if len(head) > MAX_LINE or len(head.translate(None, _UNUSUAL_BYTES)) != len(head):
        return None
    try:
        text = head.decode()
    except UnicodeDecodeError:
        return None
    lines = text.split("\r\n")
    count = len(lines) - 1
    if count > MAX_HEADERS or text.count("\n") != count or text.count("\r") != count:
        return None
    if "  " in text or " \r" in text or text[-1:] in " \n":
        return None
    start = lines[0]
    del lines[0]
    try:
        # A folded line, and one without a colon and a blank, has no name in the table.
        found = [line.split(": ", 1) for line in lines]
        pairs = tuple([(CANONICAL_NAMES[name], value) for name, value in found])
    except (KeyError, ValueError):
        return None
    return start, Headers.trusted(pairs)


def _parse_any_head(head: bytes) -> tuple[str, Headers]:
    head = head.replace(b"\r\n", b"\n").rstrip(b"\r\n ")
    try:
        text = head.decode()
    except UnicodeDecodeError:
        text = head.decode("latin-1")
    if "\n " in text or "\n\t" in text:
        text = _FOLD.sub(" ", text)
    count = text.count("\n")
    if count > MAX_HEADERS:
        raise RemoteProtocolError(f"more than {MAX_HEADERS} header lines", 513)
    if len(text) > MAX_LINE and max(map(len, text.split("\n"))) > MAX_LINE:
        raise RemoteProtocolError(f"a line of more than {MAX_LINE} characters", 513)
    # The search in the bytes is far faster than a regular expression over the text.
    if len(head.translate(None, _CONTROL_BYTES)) != len(head):
        start, *rest = text.split("\n")
        if FORBIDDEN.search(start) or any(map(has_forbidden, rest)):
            raise RemoteProtocolError("a control character in the head of a message")
    lines = text.split("\n")
    pairs: list[tuple[str, str]] = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        known = CANONICAL_NAMES.get(name)
        if known is None:
            name = name.rstrip(BLANK)
            if not TOKEN.fullmatch(name):
                raise RemoteProtocolError(f"malformed header line {line[:32]!r}")
            known = canonical(name)
        if not colon:
            raise RemoteProtocolError(f"a header line without a colon: {line[:32]!r}")
        pairs.append((known, value.strip(BLANK)))
    return lines[0].rstrip(BLANK), Headers.trusted(tuple(pairs))


def content_length(headers: Headers) -> int | None:
    """The body's length in bytes by its Content-Length, ``None`` without one.

    Raises:
        RemoteProtocolError: 400, when it is not a number, or when there are two different values:
            two parsers could then see two different messages.
    """
    values = headers.get_all("Content-Length")
    if not values:
        return None
    if len(values) > 1 and any(value != values[0] for value in values):
        raise RemoteProtocolError("two different Content-Length headers")
    return read_number(values[0], 2**32 - 1, "Content-Length")


def validate(message: SipMessage) -> None:
    """Check a parsed message against the rules of RFC 3261.

    Raises:
        RemoteProtocolError: with the status with which to refuse a request. A response that fails
            must be dropped.
    """
    if message.version != "SIP/2.0":
        raise RemoteProtocolError(f"SIP version {message.version[:16]}", 505)
    if message.cseq.number >= 2**31:
        raise RemoteProtocolError(f"CSeq {message.cseq.number} is not below 2**31")
    for via in message.vias:
        if via.version != "2.0":
            raise RemoteProtocolError("the SIP version in Via is not 2.0")
    # Reading a header is the test: each accessor raises what is wrong with its header.
    _ = message.from_, message.to
    call_id = message.call_id  # Logs name calls by it.
    if " " in call_id or not (call_id.isascii() and call_id.isprintable()):
        raise RemoteProtocolError("white space, a control or a character beyond ASCII in Call-ID")
    if isinstance(message, Request):
        _validate_request(message)
    else:
        _validate_response(message)


def _validate_request(request: Request) -> None:
    method = request.method
    if request.cseq.method != method:
        raise RemoteProtocolError(f"the method in CSeq differs: {request.cseq.method[:32]!r}")
    if request.uri.scheme not in _SUPPORTED_SCHEMES:
        raise RemoteProtocolError(f"a Request-URI with the scheme {request.uri.scheme[:16]!r}", 416)
    hops = request.headers.get_all("Max-Forwards")
    if len(hops) > 1:
        raise RemoteProtocolError("more than one Max-Forwards")
    if hops:  # RFC 2543 did not require it (section 16.3, item 3).
        read_number(hops[0], 255, "Max-Forwards")
    if method in _NO_DIALOG:
        return
    _ = request.record_routes, request.routes, request.expires
    # Section 8.1.1.8: exactly one Contact in a request that can set up a dialog. A request within
    # a dialog may leave it out, which keeps the remote target.
    count = len(request.contacts)
    if method == "INVITE" and (count > 1 or (count == 0 and _needs_contact(request))):
        raise RemoteProtocolError(f"{count} Contact addresses in an INVITE")


def _needs_contact(invite: Request) -> bool:
    """Whether an INVITE that names no Contact address must be refused.

    It may do so within a dialog. RFC 2543 had no such rule either: its requests have no Contact
    header, and their branch lacks the magic cookie (section 8.1.1.7).
    """
    if invite.to.tag is not None:
        return False
    return "Contact" in invite.headers or (invite.via.branch or "").startswith(MAGIC_COOKIE)


def _validate_response(response: Response) -> None:
    method = response.cseq.method
    if method not in _NO_DIALOG:
        _ = response.record_routes
        if method in ("REGISTER", "SUBSCRIBE"):
            _ = response.expires
    if len(response.vias) != 1:
        # Section 8.1.3.3: it was misrouted. We forward nothing, so only our own Via can be there.
        raise RemoteProtocolError("a response with more than one Via")
