"""Contacts in files of other programs."""

from __future__ import annotations

import csv
import io

import pytest

from spech.web.contact_files import ContactFileFault, read_contacts, to_table, to_vcards
from spech.web.messages.contacts import Contact, LabelledNumber
from spech.web.vcards import read_cards

APPLE = """BEGIN:VCARD\r
VERSION:3.0\r
PRODID:-//Apple Inc.//iOS 17//EN\r
N:Groß;Jürgen;;Dr.;\r
FN:Dr. Jürgen Gr\r
 oß\r
ORG:Beispiel GmbH;Vertrieb\r
TEL;type=CELL;type=VOICE;type=pref:+49 171 1234567\r
item1.TEL:+49 30 7654321\r
item1.X-ABLabel:_$!<Work>!$_\r
item2.TEL:4711\r
item2.X-ABLabel:Werkstatt\r
NOTE:ruft\\, wenn möglich\\nnach 16 Uhr an\r
PHOTO;ENCODING=b;TYPE=JPEG:/9j/4AAQ\r
 SkZJRgABAQ==\r
END:VCARD\r
"""
OLD = """BEGIN:VCARD
VERSION:2.1
N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:M=C3=BCller;=
Zo=C3=AB
TEL;CELL:0171 222
TEL;WORK;FAX:030 333
END:VCARD
"""
NEW = """BEGIN:VCARD
VERSION:4.0
FN:Carol; with a colon
UID:urn:uuid:4fbe8971
TEL;VALUE=uri;TYPE="voice,home";PREF=1:tel:+1-555-555-0100;ext=5
IMPP:sip:carol%40office@example.org
IMPP:xmpp:carol@example.org
CATEGORIES:Friends,starred
END:VCARD
"""


def test_a_character_set_that_decodes_nothing_does_no_harm() -> None:
    for charset in ("idna", "undefined", "punycode", "a\0b", "zlib", "iso-8859-99", "x" * 99):
        encoded = f"FN;ENCODING=QUOTED-PRINTABLE;CHARSET={charset}:J=C3=BC=00rg=FF"
        assert one(f"BEGIN:VCARD\n{encoded}\nTEL:1\nEND:VCARD\n").name.startswith("Jü"), charset
    latin = "FN;ENCODING=QUOTED-PRINTABLE;CHARSET=ISO-8859-1:J=FCrg"
    assert one(f"BEGIN:VCARD\n{latin}\nTEL:1\nEND:VCARD\n").name == "Jürg"


def one(text: str) -> Contact:
    (contact,) = read_contacts(text)
    return contact


def numbers(contact: Contact) -> list[tuple[str, str]]:
    return [(each.label, each.number) for each in contact.numbers]


def test_a_card_of_a_telephone_with_folded_lines_and_labels() -> None:
    contact = one(APPLE)
    assert contact.name == "Dr. Jürgen Groß"
    assert numbers(contact) == [
        ("mobile", "+49 171 1234567"),
        ("work", "+49 30 7654321"),
        ("Werkstatt", "4711"),
    ]
    assert contact.note == "ruft, wenn möglich\nnach 16 Uhr an"
    assert not contact.favourite


def test_a_card_of_version_2_1_is_quoted_printable() -> None:
    contact = one(OLD)
    assert contact.name == "Zoë Müller"
    assert numbers(contact) == [("mobile", "0171 222"), ("fax", "030 333")]


def test_a_card_of_version_4_has_addresses_as_uris() -> None:
    ((uid, contact),) = read_cards(NEW)
    assert uid == "urn:uuid:4fbe8971"
    assert contact.name == "Carol; with a colon"
    assert numbers(contact) == [("home", "+1-555-555-0100"), ("", "sip:carol@office@example.org")]
    assert contact.favourite


@pytest.mark.parametrize(
    "text",
    [
        "BEGIN:VCARD\nFN:Nobody\nEND:VCARD\n",
        "BEGIN:VCARD\nTEL:1\nEND:VCARD\n",
        "BEGIN:VCARD\nFN:Open\nTEL:1\n",
        "END:VCARD\n",
        "Name,Number\n",
        "",
        "\x00",
    ],
)
def test_a_file_without_contacts_is_refused(text: str) -> None:
    with pytest.raises(ContactFileFault, match="no contacts"):
        read_contacts(text)


def test_damaged_lines_cost_no_more_than_themselves() -> None:
    text = 'BEGIN:VCARD\n:\n;;;:\nTEL;"open:1\nX\n.:=\nFN:Dora\nTEL:12\nEND:VCARD\nEND:VCARD\n'
    contact = one(text)
    assert (contact.name, numbers(contact)) == ("Dora", [("", "12")])


def test_a_picture_of_a_megabyte_is_passed_over() -> None:
    picture = "PHOTO;ENCODING=b:" + "\n ".join(["A" * 74] * 20_000)
    assert one(f"BEGIN:VCARD\nFN:Dora\n{picture}\nTEL:12\nEND:VCARD").name == "Dora"


def test_cards_come_back_as_they_were_written() -> None:
    contact = Contact(
        id="c1",
        name="Jürgen; Groß, jun. " + "ä" * 60,
        numbers=(
            LabelledNumber("+49 171 1", "mobile"),
            LabelledNumber("sip:bob@example.org", "work"),
            LabelledNumber("4711", "Werkstatt; hinten"),
            LabelledNumber("12", ""),
        ),
        favourite=True,
        note="one\ntwo; three, \\four",
        shared=False,
    )
    written = to_vcards([contact])
    assert all(len(line) <= 75 for line in written.split(b"\r\n"))
    ((uid, back),) = read_cards(written.decode())
    assert uid == "c1"
    assert (back.name, back.numbers) == (contact.name, contact.numbers)
    assert (back.favourite, back.note) == (True, contact.note)


def test_tables_come_back_as_they_were_written() -> None:
    contacts = [
        Contact(
            id="",
            name='=cmd|" /C calc"',
            numbers=(LabelledNumber("+49 171 1", "mobile"), LabelledNumber("12", "Lager")),
            favourite=True,
            note="two\nlines",
            shared=False,
        ),
        Contact(
            id="",
            name="Bob",
            numbers=(LabelledNumber("602", ""),),
            favourite=False,
            note="",
            shared=False,
        ),
    ]
    written = to_table(contacts).decode("utf-8-sig")
    cells = list(csv.reader(io.StringIO(written, newline="")))
    assert cells[1][0].startswith("'=")
    assert read_contacts(written) == contacts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "First Name,Last Name,E-mail 1 - Value,Phone 1 - Label,Phone 1 - Value\n"
            "Zoë,Müller,z@example.org,Mobile,+49 171 1 ::: +49 171 2\n",
            [("mobile", "+49 171 1"), ("mobile", "+49 171 2")],
        ),
        (
            "First Name;Last Name;Business Phone;Mobile Phone;Home Fax\nZoë;Müller;1;2;3\n",
            [("work", "1"), ("mobile", "2"), ("fax", "3")],
        ),
        ("Name\tTelefon\nZoë Müller\t030 1\n", [("", "030 1")]),
    ],
)
def test_tables_of_other_programs(text: str, expected: list[tuple[str, str]]) -> None:
    contact = one(text)
    assert contact.name == "Zoë Müller"
    assert numbers(contact) == expected


def test_long_headers_are_cut_and_a_row_costs_no_more_for_them() -> None:
    """A row that searched them again would take 1 ms, and one of a larger file much longer."""
    headers = ["Name", "x" * 64 + "phone", *("x" * 10_000 for _ in range(197)), "Phone"]
    rows = ["a" + "," * 199] * 2_000
    contact = one("\n".join([",".join(headers), *rows, "Bob,1" + "," * 198 + "2"]))
    assert numbers(contact) == [("", "2")]


def test_columns_of_one_name_are_all_read() -> None:
    assert numbers(one("Name,Phone,Phone,Phone\nBob,1,,2\n")) == [("", "1"), ("", "2")]


def test_a_table_has_a_limit_of_rows() -> None:
    with pytest.raises(ContactFileFault, match="too large"):
        read_contacts("Name,Number\n" + "a,\n" * 50_001)
