"""What notifications carry, by event package."""

from __future__ import annotations

from typing import Final

from spech.errors import RemoteProtocolError
from spech.sip.message.body import content_of
from spech.sip.message.message import Request
from spech.sip.watching.dialog_info import DialogInfo
from spech.sip.watching.mailbox import Mailbox
from spech.sip.watching.presence import Presence

Content = Mailbox | DialogInfo | Presence

#: The type of the body in which each event package is notified.
ACCEPT: Final = {
    "message-summary": "application/simple-message-summary",
    "dialog": "application/dialog-info+xml",
    "presence": "application/pidf+xml",
}


def read(package: str, request: Request) -> Content:
    """The state that a NOTIFY carries, in its body or in one part of it.

    Raises:
        RemoteProtocolError: 415 for another type, 400 when it is unreadable.
    """
    body = content_of(request, ACCEPT[package])
    if not body:
        raise RemoteProtocolError(f"the body is not {ACCEPT[package]}", 415)
    if package == "message-summary":
        return Mailbox.parse(body)
    if package == "dialog":
        return DialogInfo.parse(body)
    return Presence.parse(body)
