"""The lamps of favourites: what they do, as the telephone system tells (RFC 4235, RFC 3856)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from spech.errors import SpechError
from spech.sip.watching.dialog_info import DialogInfo
from spech.sip.watching.presence import Presence
from spech.web.contacts import Contacts
from spech.web.lines import Lines
from spech.web.messages.contacts import Contact, Favourite, Lamp
from spech.web.numbers import without_separators

if TYPE_CHECKING:
    from spech import Phone
    from spech.phone.correspondence import EventPackage

#: Favourites whose lamps are watched.
MOST_LAMPS: Final = 24
#: What an extension of a telephone system looks like: those of the public network have no lamp.
_EXTENSION: Final = re.compile(r"\+?[\d*#]{1,6}|sips?:.+|.+@.+|[A-Za-z][\w.-]*")

_log: Final = logging.getLogger(__name__)


class Lamps:
    """Watches the favourites through the phone of the first account.

    Args:
        contacts: who the favourites are.
        lines: where the phones are.
        notify: called when a lamp has changed.
    """

    def __init__(self, contacts: Contacts, lines: Lines, notify: Callable[[], None]) -> None:
        self._contacts = contacts
        self._lines = lines
        self._notify = notify
        self._lamps: dict[str, Lamp] = {}

    @property
    def favourites(self) -> tuple[Favourite, ...]:
        """The favourites with their lamps, in the order of their names."""
        return tuple(
            Favourite(each.id, each.name, each.numbers[0].number, self._lamps.get(_extension(each)))
            for each in self._contacts.directory.favourites
        )

    async def run(self, change: Callable[[], trio.Event]) -> None:
        """Watch until cancelled.

        ``change`` returns an event that is set when accounts or contacts have changed.
        """
        while True:
            watched = self._wanted()
            async with trio.open_nursery() as nursery:
                phone, extensions = watched
                self._lamps = {}
                if phone is not None:
                    for extension in sorted(extensions):
                        nursery.start_soon(self._watch, phone, extension)
                while watched == self._wanted():
                    await change().wait()
                nursery.cancel_scope.cancel()

    def _wanted(self) -> tuple[Phone | None, frozenset[str]]:
        line = next(iter(self._lines), None)
        extensions = [each for each in map(_extension, self._contacts.directory.favourites) if each]
        phone = None if line is None else line.phone
        return phone, frozenset(extensions[:MOST_LAMPS])

    async def _watch(self, phone: Phone, extension: str) -> None:
        """Follow the calls of an extension, or else its presence."""
        packages: tuple[EventPackage, ...] = ("dialog", "presence")
        for package in packages:
            try:
                async with phone.subscribe(extension, event=package) as subscription:
                    async for content in subscription:
                        self._light(extension, content)
            except SpechError as error:
                _log.debug("%s of %s cannot be watched: %s", package, extension, error)
            self._lamps.pop(extension, None)
            self._notify()

    def _light(self, extension: str, content: object) -> None:
        lamp: Lamp | None = None
        if isinstance(content, DialogInfo):
            lamp = "busy" if content.busy else "ringing" if content.ringing else "free"
        elif isinstance(content, Presence):
            lamp = "free" if content.reachable else "away"
        if lamp is not None and self._lamps.get(extension) != lamp:
            self._lamps[extension] = lamp
            self._notify()


def _extension(contact: Contact) -> str:
    """The number by which a contact is watched; empty for one of the public network."""
    number = without_separators(contact.numbers[0].number)
    return number if _EXTENSION.fullmatch(number) else ""
