"""The text messages of a person, by correspondent: kept in the database, and in memory."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import trio

from spech.errors import LocalProtocolError, RequestFailed, ServerUnreachable
from spech.phone.account import parse_address
from spech.phone.correspondence import LONGEST_TEXT
from spech.phone.dialling import dialled_number
from spech.sip.message.display import displayable
from spech.web.database import Database, DatabaseFault, Tables
from spech.web.messages.chats import Chat, ChatsState, TextMessage
from spech.web.messages.command import Refused
from spech.web.store import StoredAccount

if TYPE_CHECKING:
    from spech import Message, Phone

_log: Final = logging.getLogger(__name__)

#: Chats of a person, messages of a chat, and characters in all chats; see `Chats`.
MOST_CHATS: Final = 200
MOST_MESSAGES: Final = 500
MOST_CHARACTERS: Final = 8_000_000
#: Messages that may be under way at once.
MOST_SENDING: Final = 32
#: Characters and lines of a received message that are kept.
_LONGEST: Final = 4000
_MOST_LINES: Final = 200
#: Seconds until a message without an answer has failed: Timer F of its transaction is 32 s.
_PATIENCE: Final = 40.0

_NO_ANSWER: Final = "There was no answer."
_NOT_SENT: Final = "Spech ended before the message was sent."
_NOT_READY: Final = "The phone is not ready."
_NO_TARGET: Final = "This is neither a number nor a SIP address."
#: Why a message was refused, by the SIP status.
_REASONS: Final = {
    403: "The server does not allow this message.",
    404: "This number does not exist.",
    405: "The server does not carry messages.",
    408: _NO_ANSWER,
    415: "The other side does not take text messages.",
    480: "The other side cannot be reached at the moment.",
    501: "The server does not carry messages.",
    603: "The other side does not take messages.",
}

#: The account and the correspondent of a chat.
_ChatKey = tuple[str, str]


class Chats:
    """The chats of a person. `load` and `run` it.

    Where there are too many, those with strangers are forgotten first, because anyone can write
    under any number of names; then the ones without a message for the longest time. A stranger is
    who is no contact and to whom the person has not written.

    Args:
        database: where they are kept.
        phone_of: the open phone of an account, None if there is none.
        is_contact: whether a correspondent is a contact of the person.
        notify: called when something has changed that a page shows.
    """

    def __init__(
        self,
        database: Database,
        phone_of: Callable[[str], Phone | None],
        is_contact: Callable[[str], bool],
        notify: Callable[[], None],
    ) -> None:
        self._database = database
        self._phone_of = phone_of
        self._is_contact = is_contact
        self._notify = notify
        self._chats: dict[_ChatKey, _KeptChat] = {}
        # Differs after each change, across restarts as well.
        self._revision = int(time.time() * 1000)
        self._latest = 0.0
        self._send, self._unsent = trio.open_memory_channel[TextMessage](MOST_SENDING)

    @property
    def state(self) -> ChatsState:
        """The chats' part of the state feed."""
        return ChatsState(sum(chat.unread for chat in self._chats.values()), self._revision)

    async def load(self) -> None:
        """Read the database. What was being sent when the last process ended has failed."""
        if not self._database.exists:
            return
        try:
            for message in await self._database.run(_read):
                if message.state == "sending":
                    message = msgspec.structs.replace(message, state="failed", reason=_NOT_SENT)
                self._chats.setdefault(_key(message), _KeptChat()).put(message)
        except DatabaseFault as error:
            _log.error("the messages cannot be read: %s", error)

    async def run(self) -> None:
        """Send the messages until cancelled."""
        async with trio.open_nursery() as nursery:
            async for message in self._unsent:
                nursery.start_soon(self._deliver, message)

    # ------------------------------ what pages ask

    def chats(self) -> tuple[Chat, ...]:
        """All chats, the one with the latest message first."""
        found = []
        for chat in self._chats.values():
            latest = chat.latest
            listed = reversed(chat.messages.values())
            name = next((each.name for each in listed if each.name), None)
            found.append(Chat(latest.account, latest.remote, name, latest, chat.unread))
        return tuple(sorted(found, key=lambda chat: chat.latest.at, reverse=True))

    def messages(self, account: StoredAccount, remote: str, limit: int) -> tuple[TextMessage, ...]:
        """The latest messages of a chat, the oldest first."""
        chat = self._chats.get(_key_of(account, remote))
        return () if chat is None else tuple(chat.messages.values())[-limit:]

    async def send(self, account: StoredAccount, remote: str, text: str) -> str:
        """Send a text, and return the id of the message, whose state tells how it goes.

        Raises:
            Refused: ``too_long``, ``no_text``, ``busy``.
        """
        if not text.strip():
            raise Refused("no_text", "There is nothing to send.")
        if len(text.encode()) > LONGEST_TEXT:
            raise Refused("too_long", "The message is too long.", "Send it in two parts.")
        message = TextMessage(
            id=secrets.token_hex(8),
            account=account.id,
            remote=correspondent(remote, account),
            name=None,
            text=text,
            at=self._moment(),
            state="sending",
        )
        try:
            self._send.send_nowait(message)
        except trio.WouldBlock:
            raise Refused("busy", "Too many messages are being sent.", "Try again.") from None
        await self._keep(message)
        return message.id

    async def see(self, account: StoredAccount, remote: str) -> None:
        """A page has shown the messages of a chat."""
        chat = self._chats.get(_key_of(account, remote))
        if chat is not None and chat.unread:
            unseen = [message for message in chat.messages.values() if not message.seen]
            await self._keep(*(msgspec.structs.replace(each, seen=True) for each in unseen))

    async def forget(self, account: StoredAccount, remote: str) -> None:
        """Delete a chat."""
        chat = self._chats.pop(_key_of(account, remote), None)
        if chat is not None:
            await self._write((), chat.messages)

    # ------------------------------ messages that come and go

    async def receive(self, account: StoredAccount, received: Message) -> None:
        """Keep a message that has arrived."""
        lines = received.text.splitlines()[:_MOST_LINES]
        text = "\n".join(displayable(line, _LONGEST) for line in lines)[:_LONGEST].strip()
        if text:
            name = received.display_name
            await self._keep(
                TextMessage(
                    id=secrets.token_hex(8),
                    account=account.id,
                    remote=displayable(correspondent(received.sender, account), 256),
                    name=displayable(name) if name else None,
                    text=text,
                    at=self._moment(),
                    state="received",
                    seen=False,
                )
            )

    def _moment(self) -> float:
        """The time, to the millisecond, after that of each message before."""
        now = round(time.time(), 3)
        if now <= self._latest < now + 1:  # More than that is a clock that was set back.
            now = round(self._latest + 0.001, 3)
        self._latest = now
        return now

    async def _deliver(self, message: TextMessage) -> None:
        reason = ""
        phone = self._phone_of(message.account)
        try:
            if phone is None:
                reason = _NOT_READY
            else:
                with trio.fail_after(_PATIENCE):
                    await phone.send_message(message.remote, message.text)
        except RequestFailed as error:
            said = f"{error.status} {displayable(error.reason, 80)}".strip()
            reason = _REASONS.get(error.status or 408, said)
        except LocalProtocolError:
            reason = _NO_TARGET
        except (trio.TooSlowError, ServerUnreachable):
            reason = _NO_ANSWER
        state: Final = "failed" if reason else "sent"
        chat = self._chats.get(_key(message))
        if chat is not None and message.id in chat.messages:  # It was not deleted meanwhile.
            await self._keep(msgspec.structs.replace(message, state=state, reason=reason))

    async def _keep(self, *messages: TextMessage) -> None:
        """Add messages of one chat, or change those with their ids."""
        key = _key(messages[0])
        chat = self._chats.setdefault(key, _KeptChat())
        gone: list[str] = []
        for message in messages:
            chat.put(message)
            if len(chat.messages) > MOST_MESSAGES:
                gone.append(chat.drop_oldest().id)
        gone.extend(self._make_room(key))
        await self._write(messages, gone)

    def _make_room(self, current: _ChatKey) -> list[str]:
        """Forget what is too much, but not the latest message of ``current``.

        Returns:
            the ids of what is forgotten.
        """
        chats = self._chats
        surplus = sum(chat.characters for chat in chats.values()) - MOST_CHARACTERS
        gone: list[str] = []
        if len(chats) <= MOST_CHATS and surplus <= 0:
            return gone
        for key, chat in sorted(chats.items(), key=lambda item: self._worth(item[1])):
            is_current = key == current
            if len(chats) > MOST_CHATS and not is_current:
                surplus -= chat.characters
                gone.extend(chats.pop(key).messages)
                continue
            while surplus > 0 and len(chat.messages) > is_current:
                forgotten = chat.drop_oldest()
                surplus -= len(forgotten.text)
                gone.append(forgotten.id)
            if not chat.messages:
                del chats[key]
        return gone

    def _worth(self, chat: _KeptChat) -> tuple[bool, float]:
        latest = chat.latest
        return chat.own > 0 or self._is_contact(latest.remote), latest.at

    async def _write(self, messages: Iterable[TextMessage], gone: Iterable[str]) -> None:
        """Write what has changed. What the disk refuses is logged, and lost at the end."""
        self._revision += 1
        self._notify()
        try:
            await self._database.run(lambda tables: _write(tables, messages, gone))
        except DatabaseFault as error:
            _log.error("messages cannot be written: %s", error)


class _KeptChat:
    """The messages of a chat by their ids, the oldest first.

    Attributes:
        unread: how many nobody has seen.
        own: how many the person wrote.
        characters: of all texts.
    """

    def __init__(self) -> None:
        self.messages: dict[str, TextMessage] = {}
        self.unread = 0
        self.own = 0
        self.characters = 0

    @property
    def latest(self) -> TextMessage:
        return next(reversed(self.messages.values()))

    def put(self, message: TextMessage) -> None:
        """Add a message, or change the one with its id."""
        before = self.messages.get(message.id)
        if before is not None:
            self._count(before, -1)
        self.messages[message.id] = message
        self._count(message, 1)

    def drop_oldest(self) -> TextMessage:
        """Forget the first message, and return it."""
        message = self.messages.pop(next(iter(self.messages)))
        self._count(message, -1)
        return message

    def _count(self, message: TextMessage, sign: Literal[1, -1]) -> None:
        self.unread += sign * (not message.seen)
        self.own += sign * (message.state != "received")
        self.characters += sign * len(message.text)


def correspondent(text: str, account: StoredAccount) -> str:
    """Whom a person or a message names: the user at the account's own server, else an address."""
    text = text.strip()
    if text.lower().startswith(("sip:", "sips:")):
        try:
            uri = parse_address(text)
        except LocalProtocolError:
            return text
        if not uri.user:
            return uri.host
        own = uri.host == account.server
        return uri.user if own else f"{uri.user}@{uri.host}" + (f":{uri.port}" if uri.port else "")
    return text if "@" in text else dialled_number(text)


def _key(message: TextMessage) -> _ChatKey:
    return message.account, _folded(message.remote)


def _key_of(account: StoredAccount, remote: str) -> _ChatKey:
    return account.id, _folded(correspondent(remote, account))


def _folded(remote: str) -> str:
    return remote.casefold()


# ------------------------------ the table


def _read(tables: Tables) -> list[TextMessage]:
    rows = tables.sql.execute("SELECT id, entry FROM texts ORDER BY number")
    read = (tables.unseal_row(f"text {id}", sealed, TextMessage) for id, sealed in rows)
    return [message for message in read if message is not None]


def _write(tables: Tables, messages: Iterable[TextMessage], gone: Iterable[str]) -> None:
    for message in messages:
        sealed = tables.seal(f"text {message.id}", message)
        tables.sql.execute(
            "INSERT INTO texts (id, entry) VALUES (?, ?) "
            "ON CONFLICT (id) DO UPDATE SET entry = excluded.entry",
            (message.id, sealed),
        )
    for id in gone:
        tables.sql.execute("DELETE FROM texts WHERE id = ?", (id,))
