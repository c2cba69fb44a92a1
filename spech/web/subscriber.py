"""A person's subscription to an address book: its settings, and when it is read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec
import trio

from spech.web.address_book import read_address_books
from spech.web.contacts import Contacts, refusing_without_database
from spech.web.database import Database, DatabaseFault, Tables
from spech.web.dav import AddressBookFault
from spech.web.messages.command import Refused
from spech.web.messages.contacts import AddressBookState, ImportOutcome

#: Between two readings, seconds.
_INTERVAL: Final = 3600.0
_SETTING: Final = "address book"

_log: Final = logging.getLogger(__name__)


class StoredBook(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of an address book, and when it was last read, seconds since 1970."""

    url: str
    user: str
    password: str
    read: float | None = None

    def __repr__(self) -> str:
        return f"StoredBook({self.url!r}, password=…)"


class Subscriber:
    """Keeps the shared contacts in step with an address book on another server.

    Args:
        database: where the settings are kept.
        contacts: takes what is read.
        notify: called when something has changed that a page shows.
        administrator: whether the person is the administrator.
    """

    def __init__(
        self,
        database: Database,
        contacts: Contacts,
        notify: Callable[[], None],
        *,
        administrator: bool,
    ) -> None:
        self._database = database
        self._contacts = contacts
        self._notify = notify
        self._administrator = administrator
        self._stored: StoredBook | None = None
        self._problem = ""
        self._reading = trio.Lock()
        self._subscribed = trio.Event()

    @property
    def state(self) -> AddressBookState | None:
        """The part of the state feed; None without an address book. Holds no password."""
        stored = self._stored
        if stored is None:
            return None
        return AddressBookState(stored.url, stored.user, stored.read, self._problem)

    async def load(self) -> None:
        """Read the settings."""
        if self._database.exists:
            try:
                self._stored = await self._database.run(_load)
            except DatabaseFault as error:
                _log.error("the address book is not read: %s", error)
        if self._stored is not None:
            self._subscribed.set()

    async def run(self) -> None:
        """Read the address book from time to time, until cancelled."""
        while True:
            await self._subscribed.wait()
            read = (self._stored and self._stored.read) or 0.0
            await trio.sleep(max(1.0, min(_INTERVAL, read + _INTERVAL - time.time())))
            try:
                await self.read()
            except Refused as refused:
                _log.warning("the address book was not read: %s", refused.message)
                await trio.sleep(_INTERVAL)
            except Exception:
                # An error in reading what a server sends must not end the person's calls.
                _log.exception("reading the address book failed")
                await trio.sleep(_INTERVAL)

    async def save(self, url: str, user: str, password: str | None) -> ImportOutcome:
        """Read an address book, and subscribe to it if that succeeds.

        Args:
            url: of the address book, or of its server.
            user: the name there.
            password: the password; None to keep the stored one, for the same address and user.

        Raises:
            Refused: ``bad_address_book``, ``contact_limit``, ``no_database``.
        """
        async with self._reading:
            stored = self._stored
            if password is None:
                if stored is None or (stored.url, stored.user) != (url, user):
                    raise Refused("bad_address_book", "The password is missing.")
                password = stored.password
            return await self._read(StoredBook(url=url, user=user, password=password))

    async def read(self) -> ImportOutcome:
        """Read the address book now.

        Raises:
            Refused: as from :meth:`save`.
        """
        async with self._reading:
            if self._stored is None:
                raise Refused("bad_address_book", "There is no address book.")
            try:
                outcome = await self._read(self._stored)
            except Refused as refused:
                self._problem = refused.message
                self._notify()
                raise
            return outcome

    async def forget(self) -> None:
        """End the subscription, and forget the contacts that came from it.

        Raises:
            Refused: ``no_database``.
        """
        async with self._reading:
            await self._contacts.share([])
            await self._keep(None)

    async def _read(self, book: StoredBook) -> ImportOutcome:
        try:
            contacts = await read_address_books(
                book.url, book.user, book.password, administrator=self._administrator
            )
        except AddressBookFault as error:
            raise Refused("bad_address_book", str(error)) from error
        outcome = await self._contacts.share(contacts)
        await self._keep(msgspec.structs.replace(book, read=round(time.time(), 3)))
        return outcome

    async def _keep(self, book: StoredBook | None) -> None:
        def write(tables: Tables) -> None:
            tables.set(_SETTING, None if book is None else tables.seal(_SETTING, book))

        with refusing_without_database():
            await self._database.run(write)
        self._stored, self._problem = book, ""
        if book is None:
            self._subscribed = trio.Event()
        else:
            self._subscribed.set()
        self._notify()


def _load(tables: Tables) -> StoredBook | None:
    sealed = tables.setting(_SETTING)
    return tables.unseal(_SETTING, sealed, StoredBook) if isinstance(sealed, bytes) else None
