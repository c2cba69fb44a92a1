"""What happened in a call, step by step: each message, and its meaning in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spech.errors import RemoteProtocolError
from spech.sip.message.display import displayable, escaped
from spech.sip.message.message import Request, Response, SipMessage
from spech.sip.message.parser import parse
from spech.sip.timeline import Entry, masked_data
from spech.sip.transaction.flow import host_port
from spech.web.messages.calls import TimelineStep
from spech.web.texts import explain, explain_refer

#: The meaning of a request that we send, and of one that we receive.
_REQUESTS: Final = {
    "INVITE": ("You call.", "They call you."),
    "ACK": ("The answer is confirmed.", "The answer is confirmed."),
    "BYE": ("You hang up.", "They hang up."),
    "CANCEL": ("You cancel the call.", "They cancel the call."),
    "REFER": ("You transfer the call.", "They ask you to call another number."),
    "NOTIFY": ("You report on the new call.", "They report on the new call."),
    "PRACK": ("The progress is confirmed.", "The progress is confirmed."),
    "UPDATE": ("You refresh the call.", "They refresh the call."),
    "INFO": ("A key is sent.", "A key is received."),
    "OPTIONS": ("You ask whether they are there.", "They ask whether you are there."),
}
#: An INVITE within a call, by the direction that its session description asks for.
_CHANGES: Final = {
    "sendonly": ("You put them on hold.", "They put you on hold."),
    "inactive": ("You put them on hold.", "They put you on hold."),
    "sendrecv": ("You resume the call.", "They resume the call."),
}
_REFRESH: Final = ("You refresh the call.", "They refresh the call.")
#: Responses to the INVITE that begins a call: sent, and received.
_PROGRESS: Final = {
    100: ("Your phone has the call.", "The server is working on the call."),
    180: ("It rings here.", "It rings there."),
    181: ("The call is forwarded.", "The call is forwarded to another number."),
    182: ("The call is in a queue.", "The call is in a queue."),
    183: ("They hear the line.", "You hear the line before the call is answered."),
    200: ("You answer.", "They answer."),
}
_AGREED: Final = ("You agree.", "They agree.")
_CHALLENGE: Final = "The server asks for the password."
#: Characters of a start line, and of another line, that are shown.
_LONGEST_TITLE: Final = 160
_LONGEST_LINE: Final = 8192
_AGAIN: Final = ("Sent again: there is no answer yet.", "Received again.")


def tell(entries: Sequence[Entry], wall: float) -> tuple[TimelineStep, ...]:
    """The steps of one call.

    Args:
        entries: its timeline.
        wall: what to add to an entry's time to get seconds since 1970.
    """
    steps = []
    known: set[bytes] = set()
    changes: set[tuple[bool, int]] = set()
    for entry in entries:
        at = round(entry.at + wall, 4)
        if entry.source is None or entry.destination is None:
            steps.append(TimelineStep("note", at, "", entry.note, "", ""))
            continue
        sent = entry.sent
        again = entry.data in known
        known.add(entry.data)
        title, meaning = _read(entry.data, sent, changes)
        steps.append(
            TimelineStep(
                "sent" if sent else "received",
                at,
                host_port(entry.destination if sent else entry.source),
                displayable(title, _LONGEST_TITLE),
                _AGAIN[not sent] if again else meaning,
                _readable(masked_data(entry.data)),
            )
        )
    return tuple(steps)


def _readable(data: bytes) -> str:
    """A message line by line, with controls and characters of direction escaped."""
    lines = data.decode("utf-8", "replace").split("\r\n")
    return "\r\n".join(escaped(line, _LONGEST_LINE) for line in lines)


def _read(data: bytes, sent: bool, changes: set[tuple[bool, int]]) -> tuple[str, str]:
    """The start line in short, and the meaning; empty where we know none.

    ``changes`` are the INVITEs within the call so far: whether we sent it, and its number.
    """
    try:
        message = parse(data)
    except RemoteProtocolError as error:
        return f"unreadable: {error}", ""
    if isinstance(message, Request):
        if message.method == "INVITE" and message.to.tag is not None:
            changes.add((sent, message.cseq.number))
        return f"{message.method} {message.uri}", _request(message)[not sent]
    changed = (not sent, message.cseq.number) in changes
    return f"{message.status} {message.reason}".strip(), _response(message, changed)[not sent]


def _request(message: Request) -> tuple[str, str]:
    if message.method in ("INVITE", "UPDATE") and message.to.tag is not None:
        return _CHANGES.get(_direction(message), _REFRESH)
    return _REQUESTS.get(message.method, ("", ""))


def _response(message: Response, changed: bool) -> tuple[str, str]:
    status, method = message.status, message.cseq.method
    if status in (401, 407):
        return _CHALLENGE, _CHALLENGE
    if status >= 300 and method == "REFER":
        return "You decline the transfer.", explain_refer(status, message.reason)
    if status >= 300:
        text = explain(status, message.reason)
        return text, text
    if method == "INVITE" and not changed:
        return _PROGRESS.get(status, _AGREED if status >= 200 else ("", ""))
    return _AGREED


def _direction(message: SipMessage) -> str:
    """What an offer asks for; empty for a message without one."""
    if not message.body:
        return ""
    lines = message.body.split()
    for direction in ("sendonly", "inactive", "recvonly"):
        if f"a={direction}".encode() in lines:
            return direction
    return "sendrecv"
