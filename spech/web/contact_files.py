"""Contacts as files of other programs: vCards, and tables (CSV) with a header."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

from spech.errors import SpechError
from spech.web.history_files import safe_cell
from spech.web.messages.contacts import LONGEST_NOTE, MOST_NUMBERS, Contact, LabelledNumber
from spech.web.vcards import read_cards, write_cards

#: Characters of a file.
LONGEST_FILE: Final = 8 << 20
#: Columns of a table that are read, characters of their headers, and rows.
_MOST_COLUMNS: Final = 200
_LONGEST_HEADER: Final = 64
_MOST_ROWS: Final = 50_000

#: Columns by their headers in files of Google, Outlook and others, in small letters.
_FULL_NAMES: Final = ("name", "full name", "display name", "file as")
_FIRST_NAMES: Final = ("first name", "given name")
_LAST_NAMES: Final = ("last name", "family name")
_COMPANIES: Final = ("company", "organization name", "organization 1 - name")
_NOTES: Final = ("note", "notes")
_NUMBER: Final = re.compile(r"phone|mobile|telefon|handy|\bfax\b|\bsip\b|^number( \d+)?$")
_LABEL: Final = re.compile(r"label|type")
#: Words in a header or a label, and our labels.
_LABELS: Final = (
    ("mobile", "mobile"),
    ("cell", "mobile"),
    ("fax", "fax"),
    ("work", "work"),
    ("business", "work"),
    ("company", "work"),
    ("home", "home"),
)


class ContactFileFault(SpechError):
    """A file holds no contacts; the message says why."""


def read_contacts(text: str) -> list[Contact]:
    """The contacts of a vCard file or a table with a header, those with a name and a number.

    Raises:
        ContactFileFault: it is neither, or it holds no contact.
    """
    text = text.removeprefix("\ufeff").lstrip()
    if text[:11].upper() == "BEGIN:VCARD":
        found = [contact for _, contact in read_cards(text)]
    else:
        found = list(_read_table(text))
    if not found:
        raise ContactFileFault("The file holds no contacts with a name and a number.")
    return found


def _read_table(text: str) -> Iterator[Contact]:
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        columns = _Columns(next(rows, []))
        for count, row in enumerate(rows):
            if count >= _MOST_ROWS:
                raise ContactFileFault("The file is too large.")
            contact = columns.read(row)
            if contact is not None:
                yield contact
    except csv.Error as error:
        raise ContactFileFault(f"The file is not a table: {error}.") from error


class _Columns:
    """What is in which column of a table, by its header."""

    def __init__(self, header: list[str]) -> None:
        names = [cell.strip().casefold()[:_LONGEST_HEADER] for cell in header[:_MOST_COLUMNS]]

        def named(*known: str) -> list[int]:
            return [index for each in known for index, name in enumerate(names) if name == each]

        self._full_names = named(*_FULL_NAMES)
        self._first_names = named(*_FIRST_NAMES)
        self._last_names = named(*_LAST_NAMES)
        self._companies = named(*_COMPANIES)
        self._notes = named(*_NOTES)
        self._favourites = named("favourite", "favorite")
        #: The columns with numbers: that of the label before it, if there is one, and a label that
        #: is in the header itself.
        self._numbers: list[tuple[int, int | None, str]] = []
        label: int | None = None
        for index, name in enumerate(names):
            if _LABEL.search(name):
                label = index
            elif _NUMBER.search(name):
                self._numbers.append((index, label, _known(name, "")))
                label = None

    def read(self, row: list[str]) -> Contact | None:
        """The contact in a row, None if it has no name or no number."""
        cells = [cell.strip() for cell in row[:_MOST_COLUMNS]]

        def first(columns: list[int]) -> str:
            return next((cells[each] for each in columns if each < len(cells) and cells[each]), "")

        whole = f"{first(self._first_names)} {first(self._last_names)}".strip()
        name = first(self._full_names) or whole or first(self._companies)
        numbers = tuple(islice(self._numbers_in(cells), MOST_NUMBERS))
        if not name or not numbers:
            return None
        return Contact(
            id="",
            name=_plain(name)[:128],
            numbers=numbers,
            favourite=first(self._favourites).casefold() in ("yes", "true", "1"),
            note=_plain(first(self._notes))[:LONGEST_NOTE],
            shared=False,
        )

    def _numbers_in(self, cells: list[str]) -> Iterator[LabelledNumber]:
        for index, label_index, usual in self._numbers:
            if index >= len(cells):
                return
            if cells[index]:
                label = "" if label_index is None else _known(cells[label_index])
                # Google puts several numbers of a kind into one cell.
                for number in cells[index].split(" ::: ", MOST_NUMBERS)[:MOST_NUMBERS]:
                    yield LabelledNumber(_plain(number)[:256], label or usual)


def _known(text: str, otherwise: str | None = None) -> str:
    """Our label for a text; ``otherwise`` for one that we do not know, by default itself."""
    folded = text.casefold()
    for word, label in _LABELS:
        if word in folded:
            return label
    return _plain(text)[:64] if otherwise is None else otherwise


def _plain(cell: str) -> str:
    """A cell without the apostrophe that kept it from being a formula."""
    return cell[1:] if cell.startswith("'") and safe_cell(cell[1:]) == cell else cell


def to_vcards(contacts: Iterable[Contact]) -> bytes:
    """The contacts as a vCard file."""
    return write_cards(contacts).encode()


def to_table(contacts: Iterable[Contact]) -> bytes:
    """The contacts as a table with a header, for spreadsheets."""
    contacts = list(contacts)
    most = max((len(contact.numbers) for contact in contacts), default=1)
    text = io.StringIO()
    table = csv.writer(text)
    columns = [f"{kind} {index}" for index in range(1, most + 1) for kind in ("Label", "Number")]
    table.writerow(["Name", "Favourite", "Note", *columns])
    for contact in contacts:
        cells = [part for each in contact.numbers for part in (each.label, each.number)]
        row = [contact.name, "yes" if contact.favourite else "", contact.note, *cells]
        table.writerow(map(safe_cell, row))
    return text.getvalue().encode("utf-8-sig")


#: Media type and writer of each kind of file.
CONTACT_FILES: Final[dict[str, tuple[str, Callable[[Iterable[Contact]], bytes]]]] = {
    "vcf": ("text/vcard; charset=utf-8", to_vcards),
    "csv": ("text/csv; charset=utf-8", to_table),
}
