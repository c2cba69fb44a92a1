"""Requests and responses (RFC 3261 sections 7 and 8).

Messages are immutable. Their typed accessors parse a header at its first use and keep the result;
they raise :class:`RemoteProtocolError` (400) when the header is missing or malformed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.sip.message.display import displayable, escaped
from spech.sip.message.grammar import FORBIDDEN, TOKEN, VERSION, maybe_number, read_number
from spech.sip.message.headers import CSeq, Headers, NameAddr, Via, masked, split_list
from spech.sip.message.uri import Uri

T = TypeVar("T")

#: Standard reason phrases (RFC 3261 section 21 and the IANA registry).
REASONS: Final[dict[int, str]] = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    199: "Early Dialog Terminated",
    200: "OK",
    202: "Accepted",
    204: "No Notification",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    412: "Conditional Request Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    428: "Use Identity Header",
    429: "Provide Referrer Identity",
    430: "Flow Failed",
    433: "Anonymity Disallowed",
    436: "Bad Identity-Info",
    437: "Unsupported Certificate",
    438: "Invalid Identity Header",
    439: "First Hop Lacks Outbound Support",
    440: "Max-Breadth Exceeded",
    469: "Bad Info Package",
    470: "Consent Needed",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    494: "Security Agreement Required",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    580: "Precondition Failure",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
    607: "Unwanted",
    608: "Rejected",
}

#: Methods whose responses can establish a dialog, so that they copy Record-Route.
_DIALOG_FORMING: Final = frozenset({"INVITE", "SUBSCRIBE", "REFER"})

#: The number of addresses in one header that are read: a request passes at most 70 proxies
#: (RFC 3261 8.1.1.6).
MAX_VALUES: Final = 128


class _lazy(Generic[T]):  # noqa: N801 - It is used like the built-in property.
    """A property that is computed once.

    Unlike ``functools.cached_property`` of Python 3.11 it takes no lock: a message belongs to one
    task.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    def __get__(self, message: Any, owner: type | None = None) -> T:
        value = message.__dict__[self._name] = self._compute(message)
        return value


class _Accessors:
    """The accessors that requests and responses share."""

    headers: Headers
    body: bytes

    def _few(self, name: str) -> list[str]:
        values = self.headers.values(name)
        if len(values) > MAX_VALUES:
            raise RemoteProtocolError(f"more than {MAX_VALUES} values of {name}")
        return values

    @_lazy
    def vias(self) -> tuple[Via, ...]:
        """All Via values, the topmost first."""
        lines = self.headers.get_all("Via")
        if len(lines) == 1 and "," not in lines[0]:
            return (self.via,)
        return (self.via, *map(Via.parse, self._few("Via")[1:]))

    @_lazy
    def via(self) -> Via:
        """The topmost Via. A response needs no other, so those below may be malformed."""
        values = split_list(self.headers.get("Via") or "")
        if not values:
            raise RemoteProtocolError("Via is missing")
        return Via.parse(values[0])

    @_lazy
    def from_(self) -> NameAddr:
        """The originator of the request."""
        return NameAddr.read(self.headers.only("From"))

    @_lazy
    def to(self) -> NameAddr:
        """The recipient to whom the request was originally addressed."""
        return NameAddr.read(self.headers.only("To"))

    @_lazy
    def call_id(self) -> str:
        """The Call-ID. Call-IDs are compared byte by byte."""
        return self.headers.only("Call-ID")

    @_lazy
    def cseq(self) -> CSeq:
        """The number and method of the request, or of the request that a response answers."""
        return CSeq.parse(self.headers.only("CSeq"))

    @_lazy
    def contacts(self) -> tuple[NameAddr, ...]:
        """All Contact values; none for ``*``."""
        values = self._few("Contact")
        return () if values == ["*"] else tuple([NameAddr.read(value) for value in values])

    @property
    def contact(self) -> NameAddr | None:
        """The first Contact value; ``None`` when there is none, and for ``*``."""
        return self.contacts[0] if self.contacts else None

    @property
    def contact_is_star(self) -> bool:
        """Whether Contact is ``*``: remove all bindings (section 10.2.2)."""
        return self.headers.values("Contact") == ["*"]

    @_lazy
    def routes(self) -> tuple[NameAddr, ...]:
        """The Route values, in order."""
        return tuple(map(NameAddr.parse, self._few("Route")))

    @_lazy
    def record_routes(self) -> tuple[NameAddr, ...]:
        """The Record-Route values, in order."""
        return tuple(map(NameAddr.parse, self._few("Record-Route")))

    @property
    def expires(self) -> int | None:
        """The Expires header in seconds."""
        value = self.headers.get("Expires")
        return None if value is None else read_number(value, 2**32 - 1, "Expires")

    def _serialise(self, start: str) -> bytes:
        if FORBIDDEN.search(start):
            raise LocalProtocolError("control character in a start line")
        lines = [start]
        lines += [f"{n}: {v}" for n, v in self.headers if n != "Content-Length"]
        lines.append(f"Content-Length: {len(self.body)}\r\n\r\n")
        return "\r\n".join(lines).encode() + self.body

    def _summarise(self, start: str) -> str:
        parts = [escaped(masked("", start))]
        for name in ("CSeq", "Call-ID", "From", "To", "Authorization", "Proxy-Authorization"):
            value = self.headers.get(name)
            if value is not None:
                parts.append(f"{name}={escaped(masked(name, value))}")
        if self.body:
            kind = self.headers.get("Content-Type") or "unknown type"
            parts.append(f"{len(self.body)} bytes of {escaped(kind)}")
        return " | ".join(parts)


@dataclass(frozen=True)
class Request(_Accessors):
    """A SIP request. ``bytes(request)`` is its wire form, with Content-Length set from the body.

    Raises:
        LocalProtocolError: from ``bytes()``, when the method is not a token.
    """

    method: str
    uri: Uri
    headers: Headers
    body: bytes = field(default=b"", repr=False)  # It may contain keys.
    version: str = "SIP/2.0"

    def __bytes__(self) -> bytes:
        if not TOKEN.fullmatch(self.method) or not VERSION.fullmatch(self.version):
            raise LocalProtocolError(f"malformed method or version: {self.method[:32]!r}")
        return self._serialise(f"{self.method} {self.uri} {self.version}")

    @_lazy
    def origin(self) -> tuple[str, str | None, int]:
        """What stays the same in a request that reaches us by two ways."""
        return self.call_id, self.from_.tag, self.cseq.number

    @property
    def credentials(self) -> list[tuple[str, str]]:
        """The authorization headers; an ACK repeats those of its INVITE (RFC 3261 22.1)."""
        return [
            (name, value)
            for name, value in self.headers
            if name in ("Authorization", "Proxy-Authorization")
        ]

    def replace(
        self,
        *,
        method: str | None = None,
        uri: Uri | None = None,
        headers: Headers | None = None,
        body: bytes | None = None,
    ) -> Request:
        """A copy of the request with these parts replaced."""
        return Request(
            self.method if method is None else method,
            self.uri if uri is None else uri,
            self.headers if headers is None else headers,
            self.body if body is None else body,
            self.version,
        )

    def with_via(self, via: Via) -> Request:
        """A copy with another topmost Via."""
        copy = self.replace(headers=self.headers.with_first("Via", str(via)))
        copy.__dict__["via"] = via  # So that it is not parsed again.
        return copy

    def summary(self) -> str:
        """One line for a log; credentials and passwords are masked."""
        return self._summarise(f"{self.method} {self.uri}")


@dataclass(frozen=True)
class Response(_Accessors):
    """A SIP response. ``bytes(response)`` is its wire form, with Content-Length set.

    Raises:
        LocalProtocolError: from ``bytes()``, when the status or reason is not allowed in a status
            line.
    """

    status: int
    reason: str
    headers: Headers
    body: bytes = field(default=b"", repr=False)  # It may contain keys.
    version: str = "SIP/2.0"

    @property
    def retry_after(self) -> int | None:
        """The seconds of Retry-After, without its comment (RFC 3261 20.33); None if unreadable."""
        value = self.headers.get("Retry-After") or ""
        return maybe_number(value.partition(";")[0].partition("(")[0].strip(), 2**32 - 1)

    @_lazy
    def contacts(self) -> tuple[NameAddr, ...]:
        """The Contact values that can be parsed; none for ``*``.

        The others are left out: a registrar lists the bindings of all devices, and a malformed
        one of another device must not affect ours.
        """
        found: list[NameAddr] = []
        for value in self.headers.values("Contact")[:MAX_VALUES]:
            with suppress(RemoteProtocolError):
                found.append(NameAddr.read(value))
        return tuple(found)

    @property
    def phrase(self) -> str:
        """The reason phrase, made safe to show."""
        return displayable(self.reason, 128)

    def __bytes__(self) -> bytes:
        if not 100 <= self.status <= 699 or not VERSION.fullmatch(self.version):
            raise LocalProtocolError(f"malformed status or version: {self.status}")
        return self._serialise(f"{self.version} {self.status} {self.reason}")

    def replace(
        self,
        *,
        status: int | None = None,
        reason: str | None = None,
        headers: Headers | None = None,
        body: bytes | None = None,
    ) -> Response:
        """A copy of the response with these parts replaced."""
        return Response(
            self.status if status is None else status,
            self.reason if reason is None else reason,
            self.headers if headers is None else headers,
            self.body if body is None else body,
            self.version,
        )

    def summary(self) -> str:
        """One line for a log; credentials and passwords are masked."""
        return self._summarise(f"{self.status} {self.reason}")


SipMessage = Request | Response


def response_to(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    to_tag: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    content_type: str | None = None,
) -> Response:
    """The response to a request, with the headers that RFC 3261 section 8.2.6 copies.

    They are copied unparsed, so that even a malformed request gets a response. ``to_tag`` is added
    to To unless To already has a tag.
    """
    copied = [("Via", value) for value in request.headers.get_all("Via")]
    if 100 < status < 300 and request.method in _DIALOG_FORMING:
        # Section 12.1.1: with all URIs and parameters, and in the same order.
        copied += [("Record-Route", value) for value in request.headers.get_all("Record-Route")]
    for name in ("From", "To", "Call-ID", "CSeq"):
        value = request.headers.get(name)
        if value is None:
            continue
        if name == "To" and to_tag is not None and not _has_tag(request):
            value = f"{value};tag={to_tag}"
        copied.append((name, value))
    if status == 100:
        # Section 8.2.6.1: the sender measures the round-trip time with it.
        copied += [("Timestamp", value) for value in request.headers.get_all("Timestamp")[:1]]
    added = [*headers]
    if content_type is not None:
        added.append(("Content-Type", content_type))
    phrase = REASONS.get(status, "Unknown") if reason is None else reason
    return Response(status, phrase, Headers(added).behind(copied), body)


def _has_tag(request: Request) -> bool:
    try:
        return request.to.tag is not None
    except RemoteProtocolError:
        return False
