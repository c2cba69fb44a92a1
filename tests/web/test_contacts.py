"""The contacts of a person: found, named, merged, shared, and kept."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from spech.web.contacts import Contacts
from spech.web.database import Database
from spech.web.messages.command import Refused
from spech.web.messages.contacts import Contact, LabelledNumber
from spech.web.numbers import number_key

KEY = secrets.token_bytes(32)


def person(name: str, *numbers: str, **fields: Any) -> Contact:
    """A contact with unlabelled numbers."""
    rest: dict[str, Any] = {"id": "", "favourite": False, "note": "", "shared": False} | fields
    labelled = tuple(LabelledNumber(number, "") for number in numbers)
    return Contact(name=name, numbers=labelled, **rest)


def names(contacts: Contacts, search: str = "") -> list[str]:
    return [each.name for each in contacts.directory.find(search, None, 200).contacts]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "personal.sqlite", lambda: KEY)


@pytest.fixture
async def contacts(database: Database) -> AsyncIterator[Contacts]:
    yield Contacts(database, lambda: None)
    database.close()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("+49 30 1234567", "030/1234567", True),
        ("0049301234567", "+49 30 1234567", True),
        ("602", "sip:602", True),
        ("602", "6 0-2", True),
        ("Bob@Example.org", "sip:bob@example.org;transport=tls", True),
        ("602", "1602", False),
        ("030 1234567", "030 1234568", False),
        ("602", "sip:602@example.org", False),
    ],
)
def test_which_numbers_are_the_same(one: str, other: str, same: bool) -> None:
    assert (number_key(one) == number_key(other)) == same


async def test_contacts_survive_and_name_callers(contacts: Contacts, database: Database) -> None:
    id = await contacts.save(person("Jürgen Groß", "+49 30 1234567", "602", favourite=True))
    await contacts.save(person("Alice", "sip:alice@example.org"))
    again = Contacts(database, lambda: None)
    await again.load()
    for each in (contacts, again):
        assert names(each) == ["Alice", "Jürgen Groß"]
        assert each.directory.name_of("0301234567") == "Jürgen Groß"
        assert each.directory.name_of("ALICE@example.org") == "Alice"
        assert each.directory.name_of("603") is None
        assert [favourite.id for favourite in each.directory.favourites] == [id]


async def test_contacts_are_found_as_people_type(contacts: Contacts) -> None:
    for each in (
        person("Ödön Groß", "12"),
        person("Anna Gross", "+49 171 5554433"),
        person("Grossmann", "13", note="plumber"),
        person("Zoë", "14"),
    ):
        await contacts.save(each)
    assert names(contacts, "gros") == ["Grossmann", "Anna Gross", "Ödön Groß"]
    assert names(contacts, "GROSS ödön") == ["Ödön Groß"]
    assert names(contacts, "odon") == ["Ödön Groß"]
    assert names(contacts, "plumb") == ["Grossmann"]
    assert names(contacts, "0171"[1:] + " 555") == ["Anna Gross"]
    assert names(contacts, "nobody") == []
    found = contacts.directory.find("", None, 3)
    assert found.more
    rest = contacts.directory.find("", found.contacts[-1].id, 3)
    assert [each.name for each in rest.contacts] == ["Zoë"]
    assert contacts.directory.numbers_of("anna") == {number_key("+49 171 5554433")}
    assert contacts.directory.numbers_of("") == frozenset()


async def test_a_contact_is_changed_and_deleted(contacts: Contacts, database: Database) -> None:
    id = await contacts.save(person("Bob", "602"))
    revision = contacts.revision
    await contacts.save(person("Bob \u202eevil", "603", "6 03", id=id))
    assert contacts.revision != revision
    (contact,) = contacts.directory
    assert contact.name == "Bob evil"
    assert [each.number for each in contact.numbers] == ["603"]
    assert contacts.directory.name_of("602") is None
    for wrong in (person("\u202e", "1"), person("Carol", "1", id="none")):
        with pytest.raises(Refused):
            await contacts.save(wrong)
    await contacts.forget(id)
    with pytest.raises(Refused, match="no longer"):
        await contacts.forget(id)
    again = Contacts(database, lambda: None)
    await again.load()
    assert len(again.directory) == len(contacts.directory) == 0


async def test_a_file_adds_to_those_with_the_same_name(contacts: Contacts) -> None:
    await contacts.save(person("Bob", "602", note="mine"))
    file = [person("bob", "602", "603", note="theirs"), person("Carol", "1"), person("carol", "2")]
    outcome = await contacts.add(file)
    assert (outcome.added, outcome.changed) == (1, 1)
    bob, carol = contacts.directory
    assert (bob.name, [each.number for each in bob.numbers], bob.note) == (
        "Bob",
        ["602", "603"],
        "mine",
    )
    assert [each.number for each in carol.numbers] == ["1", "2"]
    again = await contacts.add(file)
    assert (again.added, again.changed) == (0, 0)


async def test_an_address_book_replaces_its_own_and_keeps_favourites(contacts: Contacts) -> None:
    await contacts.save(person("Bob", "602"))
    await contacts.share([person("Dora", "1", id="d1"), person("Emil", "2", id="e1")])
    dora = next(each for each in contacts.directory if each.name == "Dora")
    assert dora.shared
    changed = person("Someone else", "9", id="d1", favourite=True, shared=True)
    await contacts.save(changed)
    with pytest.raises(Refused, match="address book"):
        await contacts.forget("d1")
    outcome = await contacts.share(
        [person("Dora", "1", "11", id="d1"), person("Fred", "602", id="f")]
    )
    assert (outcome.added, outcome.changed) == (1, 1)
    assert names(contacts) == ["Bob", "Dora", "Fred"]
    assert [each.name for each in contacts.directory.favourites] == ["Dora"]
    # Where two have a number, one's own contact is the caller.
    assert contacts.directory.name_of("602") == "Bob"
    await contacts.share([])
    assert names(contacts) == ["Bob"]


async def test_there_is_a_limit(contacts: Contacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spech.web.contacts.MOST_CONTACTS", 2)
    await contacts.add([person("A", "1"), person("B", "2")])
    for adding in (
        contacts.save(person("C", "3")),
        contacts.add([person("C", "3")]),
        contacts.share([person("C", "3", id="c")]),
    ):
        with pytest.raises(Refused) as refused:
            await adding
        assert refused.value.code == "contact_limit"
    assert names(contacts) == ["A", "B"]


async def test_favourites_are_limited(contacts: Contacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spech.web.contacts.MOST_FAVOURITES", 2)
    bob = await contacts.save(person("Bob", "602", favourite=True))
    await contacts.add([person("Carol", "603", favourite=True)])
    # Who has no number is not among them.
    await contacts.save(person("Nobody", favourite=True))
    dora = await contacts.save(person("Dora", "604"))
    for more in (
        contacts.save(person("Dora", "604", id=dora, favourite=True)),
        contacts.save(person("Emil", "605", favourite=True)),
        contacts.add([person("Emil", "605", favourite=True), person("Fritz", "606")]),
    ):
        with pytest.raises(Refused, match="too many favorites") as refused:
            await more
        assert refused.value.code == "favourite_limit"
    assert names(contacts) == ["Bob", "Carol", "Dora", "Nobody"]
    await contacts.save(person("Bob", "602", id=bob))
    await contacts.save(person("Dora", "604", id=dora, favourite=True))
    assert [each.name for each in contacts.directory.favourites] == ["Carol", "Dora"]
