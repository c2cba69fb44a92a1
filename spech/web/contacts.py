"""The contacts of a person: kept in the database, and in memory to name callers at once."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import msgspec
import trio

from spech.web.database import Database, DatabaseFault, Tables, refusing
from spech.web.directory import Addition, Directory, tidied
from spech.web.messages.command import Refused
from spech.web.messages.contacts import Contact, ImportOutcome

#: Contacts of a person, those of an address book included.
MOST_CONTACTS: Final = 10_000
#: Favourites of a person: each is in every snapshot of the state.
MOST_FAVOURITES: Final = 100
#: Refuses a command that needs the database.
refusing_without_database: Final = partial(
    refusing, "no_database", "The contacts cannot be stored."
)

_log: Final = logging.getLogger(__name__)


class Contacts:
    """The contacts of a person. `load` them first.

    Args:
        database: where they are kept.
        notify: called when something has changed that a page shows.

    Attributes:
        directory: all of them, as they are now.
        revision: differs after each change, across restarts as well.
    """

    def __init__(self, database: Database, notify: Callable[[], None]) -> None:
        self._database = database
        self._notify = notify
        self._changing = trio.Lock()
        self.directory = Directory()
        self.revision = int(time.time() * 1000)

    async def load(self) -> None:
        """Read the database. One that cannot be read is reported in the log."""
        if not self._database.exists:
            return
        try:
            self._take(await self._database.run(_read))
        except DatabaseFault as error:
            _log.error("the contacts cannot be read: %s", error)

    async def save(self, contact: Contact) -> str:
        """Store a contact: a new one, or in place of the one with its id. Return the id.

        Of a shared one only whether it is a favourite is kept.

        Raises:
            Refused: ``bad_contact``, ``no_such_contact``, ``contact_limit``, ``favourite_limit``,
                ``no_database``.
        """
        async with self._changing:
            before = self._get(contact.id) if contact.id else None
            if before is not None and before.shared:
                contact = msgspec.structs.replace(before, favourite=contact.favourite)
            else:
                id = contact.id or secrets.token_hex(8)
                contact = tidied(msgspec.structs.replace(contact, id=id, shared=False))
            if not contact.name:
                raise Refused("bad_contact", "A contact needs a name.")
            await self._write(Addition(*(([contact], []) if before is None else ([], [contact]))))
            return contact.id

    async def forget(self, id: str) -> None:
        """Delete a contact that is not shared.

        Raises:
            Refused: ``no_such_contact``, ``no_database``.
        """
        async with self._changing:
            if self._get(id).shared:
                raise Refused(
                    "no_such_contact", "This contact is from the address book.", "Delete it there."
                )
            await self._write(Addition([], [], [id]))

    async def add(self, contacts: Iterable[Contact]) -> ImportOutcome:
        """Add the contacts of a file. One with the name of another adds its numbers to that.

        Raises:
            Refused: ``contact_limit``, ``favourite_limit``, ``no_database``.
        """
        return await self._change(partial(Directory.merge, file=contacts))

    async def share(self, contacts: Iterable[Contact]) -> ImportOutcome:
        """Take the contacts of an address book in place of its former ones.

        Which of them are favourites stays as it is.

        Raises:
            Refused: ``contact_limit``, ``no_database``.
        """
        return await self._change(partial(Directory.share, book=contacts))

    async def _change(self, compare: Callable[[Directory], Addition]) -> ImportOutcome:
        async with self._changing:
            # In a thread, because there may be thousands, and calls need the event loop.
            addition = await trio.to_thread.run_sync(compare, self.directory)
            await self._write(addition)
            return ImportOutcome(len(addition.added), len(addition.changed))

    def _get(self, id: str) -> Contact:
        contact = self.directory.get(id)
        if contact is None:
            raise Refused("no_such_contact", "This contact no longer exists.")
        return contact

    async def _write(self, addition: Addition) -> None:
        """Make an addition, in the database first."""
        if len(self.directory) + len(addition.added) - len(addition.gone) > MOST_CONTACTS:
            raise Refused(
                "contact_limit",
                "There are too many contacts.",
                f"{MOST_CONTACTS} are possible; nothing was changed.",
            )
        if self.directory.favourites_after(addition) > MOST_FAVOURITES:
            raise Refused(
                "favourite_limit",
                "There are too many favorites.",
                f"{MOST_FAVOURITES} are possible; nothing was changed.",
            )
        if not any(addition):
            return

        def write(tables: Tables) -> Directory:
            for contact in (*addition.added, *addition.changed):
                tables.sql.execute(
                    "INSERT OR REPLACE INTO contacts (id, contact) VALUES (?, ?)",
                    (contact.id, tables.seal(f"contact {contact.id}", contact)),
                )
            gone = [(id,) for id in addition.gone]
            tables.sql.executemany("DELETE FROM contacts WHERE id = ?", gone)
            return self.directory.after(addition)

        with trio.CancelScope(shield=True), refusing_without_database():
            self._take(await self._database.run(write))

    def _take(self, directory: Directory) -> None:
        self.directory = directory
        self.revision += 1
        self._notify()


def _read(tables: Tables) -> Directory:
    rows = tables.sql.execute("SELECT id, contact FROM contacts")
    read = (tables.unseal_row(f"contact {id}", sealed, Contact) for id, sealed in rows)
    return Directory(contact for contact in read if contact is not None)
