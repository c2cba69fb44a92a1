"""The contacts of a person: what pages ask of them, and what is known of them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from spech.web.messages.command import PageCommand, Short

ContactId = Annotated[str, msgspec.Meta(max_length=32)]
#: What a favourite does at the moment, as far as the telephone system tells.
Lamp = Literal["free", "ringing", "busy", "away"]

#: Numbers of a contact, characters of its note, and of one part of an imported file.
MOST_NUMBERS = 20
LONGEST_NOTE = 2000
LONGEST_PART = 48_000


class LabelledNumber(msgspec.Struct, frozen=True):
    """A number or a SIP address. ``label`` is ``work``, ``home``, ``mobile`` or any word."""

    number: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    label: Annotated[str, msgspec.Meta(max_length=64)]


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """Someone with a name and numbers. ``shared`` ones are from the address book on another server.

    ``id`` is empty before the contact is stored.
    """

    id: ContactId
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    numbers: Annotated[tuple[LabelledNumber, ...], msgspec.Meta(max_length=MOST_NUMBERS)]
    favourite: bool
    note: Annotated[str, msgspec.Meta(max_length=LONGEST_NOTE)]
    shared: bool


class ContactsOutcome(msgspec.Struct, frozen=True):
    """Contacts in the order of their names; ``more`` says whether there are further ones."""

    contacts: tuple[Contact, ...]
    more: bool


class ContactOutcome(msgspec.Struct, frozen=True):
    contact: str


class ImportOutcome(msgspec.Struct, frozen=True):
    """How many contacts a file has added, and how many it has changed."""

    added: int
    changed: int


class FindContacts(PageCommand, frozen=True, tag="contacts"):
    outcome = ContactsOutcome

    search: Short = ""
    after: ContactId | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


class SaveContact(PageCommand, frozen=True, tag="save_contact"):
    outcome = ContactOutcome

    contact: Contact


class ForgetContact(PageCommand, frozen=True, tag="forget_contact"):
    contact: ContactId


class ImportContacts(PageCommand, frozen=True, tag="import_contacts"):
    outcome = ImportOutcome

    text: Annotated[str, msgspec.Meta(max_length=LONGEST_PART)]
    more: bool = False


class SaveAddressBook(PageCommand, frozen=True, tag="save_address_book"):
    outcome = ImportOutcome

    url: Short
    user: Short
    password: Short | None = None

    def __repr__(self) -> str:
        return f"SaveAddressBook({self.url!r}, password=…)"


class ReadAddressBook(PageCommand, frozen=True, tag="read_address_book"):
    outcome = ImportOutcome


class ForgetAddressBook(PageCommand, frozen=True, tag="forget_address_book"):
    pass


ContactCommand = (
    FindContacts
    | SaveContact
    | ForgetContact
    | ImportContacts
    | SaveAddressBook
    | ReadAddressBook
    | ForgetAddressBook
)


class Favourite(msgspec.Struct, frozen=True):
    """A favourite contact, the number that calls it, and its lamp, None where nothing is known."""

    contact: str
    name: str
    number: str
    lamp: Lamp | None


class AddressBookState(msgspec.Struct, frozen=True):
    """The address book on another server: when it was read, seconds since 1970, and what failed."""

    url: str
    user: str
    read: float | None
    problem: str


class ContactsState(msgspec.Struct, frozen=True):
    """How many contacts there are, and a number that differs after each change."""

    count: int
    revision: int
    favourites: tuple[Favourite, ...]
    book: AddressBookState | None
