"""The people of a web phone: each has a switchboard, with accounts, calls and recordings."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Final

import trio

from spech.errors import SpechError
from spech.web.passwords import hash_password, password_matches
from spech.web.roster import Roster
from spech.web.sessions import PageSession
from spech.web.store import ADMINISTRATOR, Person
from spech.web.switchboard import Switchboard
from spech.web.texts import first_of

#: Characters that a password needs that a person chooses.
MIN_PASSWORD: Final = 10

#: Until a switchboard is opened again after an error, seconds.
_REOPEN_AFTER: Final = 5.0

_log: Final = logging.getLogger(__name__)

#: Opens the switchboard of a person.
Opening = Callable[[Person], AbstractAsyncContextManager[Switchboard]]


class People:
    """Who may sign in, and whose calls are whose. Opened by `open_people`."""

    def __init__(
        self, roster: Roster, password: str | None, opening: Opening, nursery: trio.Nursery
    ) -> None:
        self._roster = roster
        self._password = None if password is None else hash_password(password)
        self._opening = opening
        self._nursery = nursery
        self._present: dict[str, _Presence] = {}
        self._changing = trio.Lock()

    def __iter__(self) -> Iterator[tuple[Person, Switchboard]]:
        """Everyone, the administrator first."""
        return iter([(each.person, each.switchboard) for each in self._present.values()])

    def switchboard(self, id: str) -> Switchboard | None:
        """The switchboard of the person with that id, None if the person was removed."""
        present = self._present.get(id)
        return None if present is None else present.switchboard

    def id_of(self, name: str) -> str:
        """The id of the person with that name.

        Raises:
            SpechError: there is none.
        """
        for person, _ in self:
            if person.name.casefold() == name.casefold():
                return person.id
        raise SpechError(f"There is no person with the name {name[:64]}.")

    async def check(self, name: str, password: str) -> str | None:
        """The id of the person with that name and password; None if there is none."""
        hashes = {person.name.casefold(): (person.id, person.password) for person, _ in self}
        id, hashed = hashes.get(name.casefold(), ("", ""))
        matches = partial(password_matches, password, hashed or None)
        if not await trio.to_thread.run_sync(matches):
            return None
        # Meanwhile the person may have been removed, or given a new password.
        present = self._present.get(id)
        return id if present is not None and present.person.password == hashed else None

    async def add(self, name: str) -> str:
        """Add a person and return the password.

        Raises:
            SpechError: as from `Roster.add`.
        """
        async with self._undisturbed():
            password = await self._roster.add(name)
            person = await self._roster.find(name)
            try:
                await self._enter(person)
            except BaseException:
                await self._roster.delete_files(await self._roster.remove(name))
                raise
            return password

    async def reset(self, name: str) -> str:
        """Give a person a new password, sign the person out everywhere, and return the password.

        Raises:
            SpechError: as from `Roster.reset`.
        """
        async with self._undisturbed():
            person, password = await self._roster.reset(name)
            present = self._present.get(person.id)
            if present is not None:
                present.person = person
            await self._roster.sign_out(person)
            if present is None:  # The vault was damaged at the start, and has been repaired.
                await self._enter(person)
            return password

    async def choose_password(self, session: PageSession, old: str, new: str) -> str | None:
        """Change the password of whoever has this session, and end all other sessions.

        Returns the person's id, None if ``old`` is not the password.

        Raises:
            SpechError: ``new`` is too short, it is the administrator, or the vault cannot be
                written.
        """
        if len(new) < MIN_PASSWORD:
            raise SpechError(f"A password needs at least {MIN_PASSWORD} characters.")
        async with self._undisturbed():
            present = self._present.get(session.person)
            if present is None or await self.check(present.person.name, old) != session.person:
                return None
            present.person = await self._roster.set_password(present.person.name, new)
            await self._roster.sign_out(present.person, but=session)
            return session.person

    async def remove(self, name: str) -> None:
        """Remove a person, end the calls, and delete the accounts and recordings.

        Raises:
            SpechError: as from `Roster.remove`.
        """
        async with self._undisturbed():
            person = await self._roster.remove(name)
            gone = self._present.pop(person.id, None)
            await self._roster.sign_out(person)
            if gone is not None:
                gone.scope.cancel()
                await gone.left.wait()
            await self._roster.delete_files(person)

    @asynccontextmanager
    async def _undisturbed(self) -> AsyncIterator[None]:
        """One change at a time, to its end: the vault and the switchboards stay in step."""
        async with self._changing:
            with trio.CancelScope(shield=True):
                yield

    async def enter_all(self) -> None:
        """Open the switchboards of everyone who is in the vault."""
        await self._enter(
            Person(id=ADMINISTRATOR, name=ADMINISTRATOR, password=self._password or "")
        )
        for person in await self._people():
            await self._enter(person)

    async def _people(self) -> tuple[Person, ...]:
        try:
            return await self._roster.people()
        except SpechError:
            return ()  # The administrator's switchboard reports the damage.

    async def _enter(self, person: Person) -> None:
        present = await self._nursery.start(self._run, person)
        self._present[person.id] = present

    async def _run(
        self, person: Person, *, task_status: trio.TaskStatus[_Presence] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep the switchboard open: an error in it ends this person's calls and nobody else's."""
        left = trio.Event()
        present: _Presence | None = None
        try:
            with trio.CancelScope() as scope:
                while True:
                    try:
                        async with self._opening(person) as switchboard:
                            if present is None:
                                present = _Presence(person, switchboard, scope, left)
                                task_status.started(present)
                            present.switchboard = switchboard
                            await trio.sleep_forever()
                    except* Exception as group:
                        error = first_of(group)
                    if present is None:
                        raise error
                    _log.error("the switchboard of %s is opened again", person.id, exc_info=error)
                    await trio.sleep(_REOPEN_AFTER)
        finally:
            left.set()


class _Presence:
    """A person whose switchboard is open. ``left`` is set when it has closed."""

    def __init__(
        self, person: Person, switchboard: Switchboard, scope: trio.CancelScope, left: trio.Event
    ) -> None:
        self.person = person
        self.switchboard = switchboard
        self.scope = scope
        self.left = left


@asynccontextmanager
async def open_people(
    roster: Roster, opening: Opening, *, password: str | None = None
) -> AsyncIterator[People]:
    """Run everyone's switchboards while the block runs.

    Args:
        roster: who there is.
        opening: opens the switchboard of a person.
        password: the administrator's, None if only links sign in.
    """
    async with trio.open_nursery() as nursery:
        people = People(roster, password, opening, nursery)
        await people.enter_all()
        yield people
        nursery.cancel_scope.cancel()


def check_password(password: str | None) -> None:
    """Check the password that the operator has set.

    Raises:
        SpechError: it is too short.
    """
    if password is not None and len(password) < MIN_PASSWORD:
        raise SpechError(
            f"The password (SPECH_WEB_PASSWORD) needs at least {MIN_PASSWORD} characters."
        )
