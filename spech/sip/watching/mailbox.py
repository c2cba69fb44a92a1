"""Waiting messages: the event package message-summary (RFC 3842)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, final

from spech.errors import RemoteProtocolError
from spech.sip.dialog.event import Event

_COUNT: Final = re.compile(r"(\d{1,9})/(\d{1,9})(?:[ \t]*\((\d{1,9})/(\d{1,9})\))?")
#: The classes of messages that section 5.2 names.
_KINDS: Final = frozenset(
    {
        "voice-message",
        "fax-message",
        "pager-message",
        "multimedia-message",
        "text-message",
        "none",
    }
)
#: Lines of a summary that are read.
_MOST_LINES: Final = 100


@final
@dataclass(frozen=True, slots=True)
class MessageCount:
    """How many messages of one kind wait: "voice-message", "fax-message", ..."""

    kind: str
    new: int
    old: int
    new_urgent: int = 0
    old_urgent: int = 0


@final
@dataclass(frozen=True, slots=True)
class Mailbox:
    """Whether messages wait, for which account, and how many of each kind if reported."""

    waiting: bool
    account: str | None = None
    counts: tuple[MessageCount, ...] = ()

    @property
    def voice(self) -> MessageCount:
        """The voice messages; zeros where none are reported."""
        for count in self.counts:
            if count.kind == "voice-message":
                return count
        return MessageCount("voice-message", 0, 0)

    @classmethod
    def parse(cls, body: bytes) -> Mailbox:
        """Reads ``application/simple-message-summary``.

        Raises:
            RemoteProtocolError: 400, when it does not say whether messages wait.
        """
        waiting: bool | None = None
        account: str | None = None
        counts: list[MessageCount] = []
        for line in body.decode(errors="replace").splitlines()[:_MOST_LINES]:
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            if not name:
                break  # What follows describes single messages (section 5.2).
            if name == "messages-waiting":
                waiting = value.lower() == "yes"
            elif name == "message-account":
                account = value or None
            elif name in _KINDS and (found := _COUNT.match(value)):
                new, old, new_urgent, old_urgent = (int(text or 0) for text in found.groups())
                counts.append(MessageCount(name, new, old, new_urgent, old_urgent))
        if waiting is None:
            raise RemoteProtocolError("no Messages-Waiting in a message summary")
        return cls(waiting, account, tuple(counts))


@dataclass(frozen=True, slots=True)
class MailboxChanged(Event):
    """A server reported waiting messages, in a NOTIFY without a subscription."""

    mailbox: Mailbox
