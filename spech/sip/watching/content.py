"""What notifications carry, by event package."""

from __future__ import annotations

from typing import Final

from spech.errors import RemoteProtocolError
from spech.sip.watching.dialog_info import DialogInfo
from spech.sip.watching.mailbox import Mailbox
from spech.sip.watching.presence import Presence

Content = Mailbox | DialogInfo | Presence

#: The type of body that each event package is told in.
ACCEPT: Final = {
    "message-summary": "application/simple-message-summary",
    "dialog": "application/dialog-info+xml",
    "presence": "application/pidf+xml",
}


def read(package: str, kind: str, body: bytes) -> Content:
    """The state in a body of type ``kind``.

    Raises:
        RemoteProtocolError: 415 for another type, 400 when it is unreadable.
    """
    if kind != ACCEPT[package]:
        raise RemoteProtocolError(f"a body of type {kind[:64]!r}", 415)
    if package == "message-summary":
        return Mailbox.parse(body)
    if package == "dialog":
        return DialogInfo.parse(body)
    return Presence.parse(body)
