"""The contacts of a person in memory, indexed: who has a number, and who has a name.

A directory never changes, so that the next one can be made in a thread.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from spech.sip.message.display import displayable
from spech.web.messages.contacts import (
    LONGEST_NOTE,
    MOST_NUMBERS,
    Contact,
    ContactsOutcome,
    LabelledNumber,
)
from spech.web.numbers import number_key, without_separators


class Addition(NamedTuple):
    """What is added to a directory, what changes in it, and the ids of who is deleted."""

    added: Sequence[Contact]
    changed: Sequence[Contact]
    gone: Collection[str] = ()


class Directory:
    """Contacts in the order of their names.

    Args:
        contacts: all of them.
        before: a directory with many of the same contacts, whose index is used again.
    """

    def __init__(self, contacts: Iterable[Contact] = (), before: Directory | None = None) -> None:
        known: dict[str, _Entry] = {} if before is None else before._entries
        entries = [
            found
            if (found := known.get(each.id)) is not None and found.contact is each
            else _Entry(each)
            for each in contacts
        ]
        entries.sort(key=lambda entry: (entry.name, entry.contact.id))
        self._entries: dict[str, _Entry] = {entry.contact.id: entry for entry in entries}
        # Where several have a number, own ones come before those of a book.
        self._by_number: dict[str, Contact] = {}
        for entry in sorted(entries, key=lambda entry: entry.contact.shared):
            for key in entry.keys:
                self._by_number.setdefault(key, entry.contact)
        #: The favourites with a number, in the order of their names.
        self.favourites = tuple(each for each in self if each.favourite and each.numbers)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Contact]:
        return iter([entry.contact for entry in self._entries.values()])

    def get(self, id: str) -> Contact | None:
        """The contact with that id."""
        entry = self._entries.get(id)
        return None if entry is None else entry.contact

    def name_of(self, number: str) -> str | None:
        """The name of the contact with that number or address, None if there is none."""
        contact = self._by_number.get(number_key(number))
        return None if contact is None else contact.name

    def numbers_of(self, search: str) -> frozenset[str]:
        """The keys of all numbers of the contacts whose names hold ``search``."""
        words = _folded(search).split()
        if not words:
            return frozenset()
        found = [
            each for each in self._entries.values() if all(word in each.name for word in words)
        ]
        return frozenset(key for entry in found for key in entry.keys)

    def find(self, search: str, after: str | None, limit: int) -> ContactsOutcome:
        """Contacts whose name, note or numbers hold ``search``.

        Those whose name begins with it come first.

        Args:
            search: words in any order, or part of a number; empty for all contacts.
            after: only those that follow the contact of that id.
            limit: how many at most.
        """
        words, digits = _folded(search).split(), without_separators(search).casefold()
        found = [
            entry
            for entry in self._entries.values()
            if all(word in entry.text for word in words) or (digits and digits in entry.digits)
        ]
        if words:
            found.sort(key=lambda entry: not entry.name.startswith(words[0]))
        ids = [entry.contact.id for entry in found]
        begin = ids.index(after) + 1 if after in ids else 0
        part = found[begin : begin + limit]
        return ContactsOutcome(tuple(entry.contact for entry in part), len(found) > begin + limit)

    def after(self, addition: Addition) -> Directory:
        """The directory after an addition."""
        contacts = {id: each.contact for id, each in self._entries.items()}
        for id in addition.gone:
            contacts.pop(id, None)
        contacts |= {each.id: each for each in (*addition.added, *addition.changed)}
        return Directory(contacts.values(), self)

    def favourites_after(self, addition: Addition) -> int:
        """How many favourites there are after an addition."""
        changed = {each.id for each in addition.changed}.union(addition.gone)
        kept = sum(each.id not in changed for each in self.favourites)
        new = (*addition.added, *addition.changed)
        return kept + sum(each.favourite and bool(each.numbers) for each in new)

    def merge(self, file: Iterable[Contact]) -> Addition:
        """What the contacts of a file add. One with the name of another adds its numbers to it."""
        own = {_folded(each.name): each for each in self if not each.shared}
        added: dict[str, Contact] = {}
        changed: dict[str, Contact] = {}
        for contact in map(tidied, file):
            name = _folded(contact.name)
            before = added.get(name) or changed.get(name) or own.get(name)
            if not name:
                continue
            if before is None:
                id = secrets.token_hex(8)
                added[name] = msgspec.structs.replace(contact, id=id, shared=False)
                continue
            merged = _merged(before, contact)
            if merged != before:
                (added if name in added else changed)[name] = merged
        return Addition(list(added.values()), list(changed.values()))

    def share(self, book: Iterable[Contact]) -> Addition:
        """What changes when ``book`` takes the place of all shared contacts.

        Which of them are favourites stays as it is.
        """
        before = {each.id: each for each in self if each.shared}
        now: dict[str, Contact] = {}
        for contact in map(tidied, book):
            if contact.name:
                favourite = contact.id in before and before[contact.id].favourite
                now[contact.id] = msgspec.structs.replace(contact, shared=True, favourite=favourite)
        return Addition(
            [each for id, each in now.items() if id not in before],
            [each for id, each in now.items() if id in before and before[id] != each],
            before.keys() - now.keys(),
        )


class _Entry:
    """A contact, and what is searched in it."""

    __slots__ = ("contact", "digits", "keys", "name", "text")

    def __init__(self, contact: Contact) -> None:
        self.contact = contact
        self.name = _folded(contact.name)
        self.text = f"{self.name}\n{_folded(contact.note)}"
        numbers = [each.number for each in contact.numbers]
        self.digits = "\n".join(without_separators(number) for number in numbers).casefold()
        self.keys = tuple(number_key(number) for number in numbers)


def tidied(contact: Contact) -> Contact:
    """The contact as it is shown: without controls, and without numbers that are there twice."""
    numbers: dict[str, LabelledNumber] = {}
    for each in contact.numbers:
        number = displayable(each.number, 256)
        if number:
            tidy = LabelledNumber(number, displayable(each.label, 64))
            numbers.setdefault(number_key(number), tidy)
    lines = (displayable(line, LONGEST_NOTE) for line in contact.note.split("\n"))
    return msgspec.structs.replace(
        contact,
        name=displayable(contact.name, 128),
        numbers=tuple(numbers.values())[:MOST_NUMBERS],
        note="\n".join(lines).strip()[:LONGEST_NOTE],
    )


def _merged(before: Contact, more: Contact) -> Contact:
    return tidied(
        msgspec.structs.replace(
            before,
            numbers=(*before.numbers, *more.numbers),
            favourite=before.favourite or more.favourite,
            note=before.note or more.note,
        )
    )


def _folded(text: str) -> str:
    """For comparison: without case and accents."""
    folded = text.casefold()
    if folded.isascii():
        return folded
    parts = unicodedata.normalize("NFKD", folded)
    return "".join(each for each in parts if not unicodedata.combining(each))
