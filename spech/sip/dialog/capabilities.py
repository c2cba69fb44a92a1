"""What this user agent can do, and the refusal of what it cannot.

The checks run in the order of RFC 3261 8.2: method, extensions, content.
"""

from __future__ import annotations

from typing import Final

from spech.sip.message.body import MAX_BODY
from spech.sip.message.message import Request

#: Methods that we serve.
ALLOW: Final = (
    "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY, SUBSCRIBE, MESSAGE"
)
_SERVED: Final = frozenset(ALLOW.split(", "))
#: Methods that exist (RFC 3261, 3262, 3311, 3428, 3515, 3903, 6086, 6665), served or not.
KNOWN: Final = _SERVED | {"REGISTER", "PUBLISH"}
#: Extensions that we understand when a request requires them.
SUPPORTED: Final = ("100rel", "timer", "replaces")
#: Event packages whose NOTIFY we accept.
ALLOW_EVENTS: Final = "refer, message-summary, dialog, presence"

#: The type of a session description (RFC 8866 8.1).
SDP: Final = "application/sdp"
#: What a body may be, by method; the body of any other method is ignored.
_BODIES: Final = {
    "INVITE": SDP,
    "UPDATE": SDP,
    "PRACK": SDP,
    "MESSAGE": "text/plain",
}

#: A status and the headers that belong to it.
Refusal = tuple[int, list[tuple[str, str]]]


def options() -> list[tuple[str, str]]:
    """The headers that answer OPTIONS beside Allow (RFC 3261 11.2)."""
    return [
        ("Accept", f"{SDP}, multipart/mixed, text/plain"),
        ("Accept-Encoding", "identity"),
        ("Supported", ", ".join(SUPPORTED)),
        ("Allow-Events", ALLOW_EVENTS),
    ]


def refusal(request: Request) -> Refusal | None:
    """The refusal of a well-formed request that cannot be served, or None.

    Not for ACK and CANCEL, which are never refused for these reasons (RFC 3261 8.2.2.3).
    """
    method = request.method
    if method not in KNOWN:
        return 501, [("Allow", ALLOW)]
    if method not in _SERVED:
        return 405, [("Allow", ALLOW)]
    unknown = [name for name in request.headers.values("Require") if name not in SUPPORTED]
    if unknown:
        return 420, [("Unsupported", ", ".join(unknown))]
    if len(request.body) > MAX_BODY:
        return 413, []
    wanted = _BODIES.get(method)
    if wanted is None:
        return None
    if request.body and (request.headers.get("Content-Encoding") or "identity") != "identity":
        return 415, [("Accept-Encoding", "identity")]
    if request.body and content_type(request) != wanted:
        return 415, [("Accept", wanted)]
    if method == "INVITE" and not _takes_sdp(request):
        return 406, []
    return None


def content_type(request: Request) -> str:
    """The type of the body in lower case, without parameters; "" where there is none."""
    return (request.headers.get("Content-Type") or "").partition(";")[0].strip().lower()


def _takes_sdp(request: Request) -> bool:
    # RFC 3261 20.1: without the header, application/sdp is assumed.
    if "Accept" not in request.headers:
        return True
    ranges = {value.partition(";")[0].strip().lower() for value in request.headers.values("Accept")}
    return bool(ranges & {SDP, "application/*", "*/*"})
