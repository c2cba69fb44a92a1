"""Contacts as vCards: versions 2.1, 3.0 (RFC 2426) and 4.0 (RFC 6350) are read, 3.0 is written.

Takes time in proportion to the text, which may come from a server that is not ours.
"""

from __future__ import annotations

import quopri
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from spech.web.messages.contacts import LONGEST_NOTE, MOST_NUMBERS, Contact, LabelledNumber

#: Characters of a line that are read; a longer one is a picture, a sound or a key.
_LONGEST_LINE: Final = 4096
#: Characters before the colon in which the encoding is looked for.
_LONGEST_HEAD: Final = 200
_WIDTH: Final = 75
#: Character sets of vCard 2.1. Python has further codecs, some of which are slow or decode nothing.
_CHARSETS: Final = re.compile(
    r"(us-ascii|utf-|iso-|windows-|cp|koi8-|euc-|shift|big5|gb)[\w-]{0,20}",
    re.ASCII | re.IGNORECASE,
)

_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_APPLE_LABEL: Final = re.compile(r"_\$!<(.*)>!\$_")
#: Labels by types (RFC 6350 6.4.1), the most telling first, and the types that are written.
_LABELS: Final = {
    "CELL": "mobile",
    "IPHONE": "mobile",
    "FAX": "fax",
    "WORK": "work",
    "HOME": "home",
}
_TYPES: Final = {"mobile": "CELL", "fax": "FAX", "work": "WORK", "home": "HOME"}
_FAVOURITES: Final = frozenset({"STARRED", "FAVORITE", "FAVOURITE", "FAVORITES", "FAVOURITES"})
_STARRED: Final = "starred"


@dataclass(frozen=True, slots=True)
class _Property:
    """A line of a vCard. Names are in capitals; ``value`` is still escaped."""

    group: str
    name: str
    parameters: dict[str, list[str]]
    value: str

    @property
    def text(self) -> str:
        return _unescaped(self.value)

    @property
    def parts(self) -> list[str]:
        """The components of a structured value (RFC 6350 3.4)."""
        return [_unescaped(each).strip() for each in _split(self.value, ";", quotes=False)]

    @property
    def types(self) -> set[str]:
        values = self.parameters.get("TYPE", [])
        return {each.upper() for value in values for each in value.split(",")}


def read_cards(text: str) -> Iterator[tuple[str, Contact]]:
    """The UID, empty if there is none, and the contact of each vCard with a name and a number."""
    card: list[_Property] | None = None
    for line in _unfolded(text):
        found = _parse(line)
        if found is None:
            continue
        marks_card = found.value.strip().upper() == "VCARD"
        if found.name == "BEGIN" and marks_card:
            card = []
        elif found.name == "END" and marks_card and card is not None:
            contact = _contact(card)
            if contact is not None:
                uid = next((each.text for each in card if each.name == "UID"), "")
                yield uid, contact
            card = None
        elif card is not None:
            card.append(found)


def write_cards(contacts: Iterable[Contact]) -> str:
    """The contacts as vCards of version 3.0 (RFC 2426)."""
    lines: list[str] = []
    for contact in contacts:
        lines += ["BEGIN:VCARD", "VERSION:3.0", f"UID:{_escaped(contact.id)}"]
        lines += [f"FN:{_escaped(contact.name)}", f"N:;{_escaped(contact.name)};;;"]
        for index, each in enumerate(contact.numbers, 1):
            is_number = "@" not in each.number and ":" not in each.number
            field = "TEL" if is_number else "IMPP"
            value = each.number if is_number or ":" in each.number else f"sip:{each.number}"
            if each.label in _TYPES:
                lines.append(f"{field};TYPE={_TYPES[each.label]}:{_escaped(value)}")
            elif each.label:
                lines.append(f"item{index}.{field}:{_escaped(value)}")
                lines.append(f"item{index}.X-ABLabel:{_escaped(each.label)}")
            else:
                lines.append(f"{field}:{_escaped(value)}")
        if contact.note:
            lines.append(f"NOTE:{_escaped(contact.note)}")
        if contact.favourite:
            lines.append(f"CATEGORIES:{_STARRED}")
        lines.append("END:VCARD")
    return "".join(f"{_folded(line)}\r\n" for line in lines)


# ------------------------------ lines


def _unfolded(text: str) -> Iterator[str]:
    """The logical lines (RFC 6350 3.2) that are not too long."""
    parts: list[str] = []
    length = 0
    soft = False
    for line in _LINE_END.split(text):
        if soft:
            parts.append(line)
        elif line.startswith((" ", "\t")):
            parts.append(line[1:])
        else:
            if parts and length <= _LONGEST_LINE:
                yield "".join(parts)
            parts, length = [line], 0
        length += len(parts[-1])
        if length > _LONGEST_LINE:
            parts = parts[:1]
        # In vCard 2.1 a quoted-printable value goes on where its line ends with an equals sign.
        soft = line.endswith("=") and "QUOTED-PRINTABLE" in parts[0][:_LONGEST_HEAD].upper()
        if soft:
            parts[-1] = parts[-1].removesuffix("=")
    if parts and length <= _LONGEST_LINE:
        yield "".join(parts)


def _parse(line: str) -> _Property | None:
    """A logical line (RFC 6350 3.3); None if it is none."""
    head, separator, value = _cut(line)
    if not separator:
        return None
    name, *given = _split(head, ";", quotes=True)
    group, _, name = name.strip().rpartition(".")
    parameters: dict[str, list[str]] = {}
    for each in given:
        # In vCard 2.1 a parameter may be a value alone, which is a type or an encoding.
        key, equals, text = each.partition("=")
        key, text = (key.strip().upper(), text) if equals else ("TYPE", key)
        parameters.setdefault(key, []).append(text.strip().strip('"'))
    known = {text.upper() for texts in parameters.values() for text in texts}
    if "QUOTED-PRINTABLE" in known:
        value = _decoded(value, parameters.get("CHARSET", ["utf-8"])[0])
    return _Property(group.upper(), name.upper(), parameters, value)


def _cut(line: str) -> tuple[str, str, str]:
    """What is before the first colon outside of quotes, the colon, and what is behind it."""
    start = 0
    while True:
        colon = line.find(":", start)
        quote = line.find('"', start)
        if colon < 0 or not 0 <= quote < colon:
            return (line[:colon], ":", line[colon + 1 :]) if colon >= 0 else (line, "", "")
        start = line.find('"', quote + 1) + 1
        if start == 0:
            return line, "", ""


def _split(text: str, separator: str, *, quotes: bool) -> list[str]:
    """Split where a separator is neither escaped nor, if ``quotes`` count, between quotes."""
    parts: list[str] = []
    part: list[str] = []
    escaped = quoted = False
    for character in text:
        if character == separator and not escaped and not quoted:
            parts.append("".join(part))
            part = []
            continue
        part.append(character)
        quoted ^= quotes and character == '"'
        escaped = character == "\\" and not escaped and not quotes
    return [*parts, "".join(part)]


def _decoded(value: str, charset: str) -> str:
    raw = quopri.decodestring(value.encode("utf-8", "replace"))
    try:
        return raw.decode(charset if _CHARSETS.fullmatch(charset) else "utf-8", "replace")
    except (LookupError, ValueError):
        return raw.decode("utf-8", "replace")


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: "\n" if found[1] in "nN" else found[1], text)


def _escaped(text: str) -> str:
    for plain, escape in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\n", "\\n")):
        text = text.replace(plain, escape)
    return text


def _folded(line: str) -> str:
    """Lines of at most 75 octets (RFC 2426 2.6)."""
    lines: list[list[str]] = [[]]
    length = 0
    for character in line:
        size = len(character.encode())
        if length + size > _WIDTH:
            lines.append([" "])
            length = 1
        lines[-1].append(character)
        length += size
    return "\r\n".join("".join(each) for each in lines)


# ------------------------------ contacts


def _contact(card: Sequence[_Property]) -> Contact | None:
    """The contact of a vCard, None if it has no name or no number."""
    own = {each.group: each.text for each in card if each.name == "X-ABLABEL" and each.group}
    numbers = [
        LabelledNumber(number[:256], _label(each, own)[:64])
        for each in card
        if each.name in ("TEL", "IMPP", "X-SIP") and (number := _number(each))
    ]
    name = _name(card)
    if not numbers or not name:
        return None
    categories = {
        word.strip().upper()
        for each in card
        if each.name == "CATEGORIES"
        for word in each.text.split(",")
    }
    return Contact(
        id="",
        name=name[:128],
        numbers=tuple(numbers[:MOST_NUMBERS]),
        favourite=not categories.isdisjoint(_FAVOURITES),
        note=_first(card, "NOTE")[:LONGEST_NOTE],
        shared=False,
    )


def _name(card: Sequence[_Property]) -> str:
    """The formatted name, or else the name from its parts, or else the organization."""
    formatted = _first(card, "FN")
    if formatted:
        return formatted
    for each in card:
        if each.name == "N":
            family, given, *_ = [*each.parts, "", ""]
            whole = f"{given} {family}".strip()
            if whole:
                return whole
    return next((each.parts[0] for each in card if each.name == "ORG"), "")


def _first(card: Sequence[_Property], name: str) -> str:
    return next((each.text.strip() for each in card if each.name == name), "")


def _number(found: _Property) -> str:
    """The number or SIP address; empty for an address of another kind."""
    value = found.text.strip()
    scheme = value.partition(":")[0].lower()
    if scheme == "tel":
        return unquote(value[4:].partition(";")[0])
    if scheme in ("sip", "sips"):
        return unquote(value)
    return value if found.name != "IMPP" else ""


def _label(found: _Property, own: dict[str, str]) -> str:
    label = own.get(found.group, "")
    apple = _APPLE_LABEL.fullmatch(label)
    if apple:
        label = apple[1].lower()
    return label or next((text for kind, text in _LABELS.items() if kind in found.types), "")
