"""The roster: the people of a data folder besides the administrator."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from spech.errors import SpechError
from spech.web.data_lock import data_lock
from spech.web.passwords import hash_password
from spech.web.sessions import PageSession, Sessions
from spech.web.store import ADMINISTRATOR, Person, Settings, Store
from spech.web.vault import Vault

#: People besides the administrator.
MOST_PEOPLE: Final = 100

_NAME: Final = re.compile(r"[\w.@+-]{1,64}")
#: Without letters and digits that look alike. Sixteen of them have 79 bits.
_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"


class Roster:
    """Changes who may sign in. Only the holder of the data folder's lock may do so.

    A person gets a random password, which is told once and kept as a hash, and may then choose
    another one.

    Args:
        store: where the people and their accounts are kept.
        sessions: who has signed in.
    """

    def __init__(self, store: Store, sessions: Sessions) -> None:
        self._store = store
        self._sessions = sessions

    async def people(self) -> tuple[Person, ...]:
        """Everyone but the administrator, in the order in which they were added.

        Raises:
            VaultError: the vault cannot be opened.
        """
        settings = await trio.to_thread.run_sync(self._store.load)
        return () if settings is None else settings.people

    async def add(self, name: str) -> str:
        """Add a person and return the password.

        Raises:
            SpechError: the name is not usable or taken, there are too many people, or the vault
                cannot be written.
        """
        password = _new_password()
        person = Person(id=secrets.token_hex(8), name=name, password=await _hashed(password))

        def with_person(settings: Settings) -> Settings:
            if not _NAME.fullmatch(name):
                raise SpechError("A name has 1 to 64 letters, digits, and . _ - + @.")
            if name.casefold() in {each.casefold() for each in _names(settings)}:
                raise SpechError(f"There is a person with the name {name} already.")
            if len(settings.people) == MOST_PEOPLE:
                raise SpechError(
                    f"There are {MOST_PEOPLE} people already. Remove one of them first."
                )
            return msgspec.structs.replace(settings, people=(*settings.people, person))

        await trio.to_thread.run_sync(self._store.change, with_person)
        return password

    async def reset(self, name: str) -> tuple[Person, str]:
        """Give a person a new password, and return both. The sessions go on until `sign_out`.

        Raises:
            SpechError: there is no such person, or the vault cannot be written.
        """
        password = _new_password()
        return await self.set_password(name, password), password

    async def set_password(self, name: str, password: str) -> Person:
        """Give a person this password. The sessions go on until `sign_out`.

        Raises:
            SpechError: as from :meth:`reset`.
        """
        person = await self.find(name)
        hashed = await _hashed(password)

        def with_password(settings: Settings) -> Settings:
            return settings.with_changes(person.id, password=hashed)

        await trio.to_thread.run_sync(self._store.change, with_password)
        return msgspec.structs.replace(person, password=hashed)

    async def remove(self, name: str) -> Person:
        """Remove a person with the accounts.

        The sessions go on until `sign_out`, and the recordings stay until `delete_files`.

        Raises:
            SpechError: as from :meth:`reset`.
        """
        person = await self.find(name)

        def without(settings: Settings) -> Settings:
            people = tuple(each for each in settings.people if each.id != person.id)
            return msgspec.structs.replace(settings, people=people)

        await trio.to_thread.run_sync(self._store.change, without)
        return person

    async def sign_out(self, person: Person, *, but: PageSession | None = None) -> None:
        """End all sessions of a person but one.

        A server forgets the old password before, so that no further session begins meanwhile.
        """
        await self._sessions.end_all(person.id, but=but)

    async def delete_files(self, person: Person) -> None:
        """Delete what a person who was removed has left in the data folder."""
        folder = self._store.folder(person.id)
        await trio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))

    async def find(self, name: str) -> Person:
        """The person with that name.

        Raises:
            SpechError: there is none, or it is the administrator.
        """
        if name.casefold() == ADMINISTRATOR:
            raise SpechError(
                f"{ADMINISTRATOR} cannot be changed. The password is SPECH_WEB_PASSWORD, and "
                "`spech link` signs in without it."
            )
        for person in await self.people():
            if person.name.casefold() == name.casefold():
                return person
        raise SpechError(f"There is no person with the name {name[:64]}.")


@contextmanager
def open_roster(folder: Path) -> Iterator[Roster]:
    """The roster of a data folder that no server uses.

    Raises:
        SpechError: a server uses the folder.
    """
    with data_lock(folder):
        yield Roster(Store(Vault(folder)), Sessions(folder))


def _names(settings: Settings) -> list[str]:
    return [ADMINISTRATOR, *(person.name for person in settings.people)]


def _new_password() -> str:
    groups = ["".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(4)]
    return "-".join(groups)


async def _hashed(password: str) -> str:
    return await trio.to_thread.run_sync(hash_password, password)
