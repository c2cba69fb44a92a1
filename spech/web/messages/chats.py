"""Text messages (RFC 3428): what pages ask of them, and what they are told about them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from spech.web.messages.command import AccountId, PageCommand, Short

#: Messages that one answer lists.
MOST_TEXTS = 200

Correspondent = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class TextMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message. ``at`` are seconds since 1970, ``remote`` is whom one can answer.

    ``state`` is "received", or for our own ones "sending", "sent" (the far end or its server has
    accepted it) or "failed" with a ``reason``. ``seen`` is False until a page has shown it.
    """

    id: str
    account: str
    remote: str
    name: str | None
    text: str
    at: float
    state: Literal["received", "sending", "sent", "failed"]
    reason: str = ""
    seen: bool = True


class Chat(msgspec.Struct, frozen=True):
    """The messages with one correspondent by one account: the latest, and how many are not seen."""

    account: str
    remote: str
    name: str | None
    latest: TextMessage
    unread: int


class ChatsState(msgspec.Struct, frozen=True):
    """How many messages nobody has seen; ``revision`` differs after each change."""

    unread: int
    revision: int


class ChatsOutcome(msgspec.Struct, frozen=True):
    """All chats, the one with the latest message first."""

    chats: tuple[Chat, ...]


class MessagesOutcome(msgspec.Struct, frozen=True):
    """The latest messages of a chat, the oldest first."""

    messages: tuple[TextMessage, ...]


class TextOutcome(msgspec.Struct, frozen=True):
    message: str


class ShowChats(PageCommand, frozen=True, tag="chats"):
    outcome = ChatsOutcome


class ShowMessages(PageCommand, frozen=True, tag="messages"):
    outcome = MessagesOutcome

    account: AccountId
    remote: Correspondent
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_TEXTS)] = 100


class SendText(PageCommand, frozen=True, tag="send_text"):
    outcome = TextOutcome

    account: AccountId
    remote: Correspondent
    text: Short


class SeeChat(PageCommand, frozen=True, tag="see_chat"):
    account: AccountId
    remote: Correspondent


class ForgetChat(PageCommand, frozen=True, tag="forget_chat"):
    account: AccountId
    remote: Correspondent


ChatCommand = ShowChats | ShowMessages | SendText | SeeChat | ForgetChat
