"""Telephone numbers as people write them: which ones are the same."""

from __future__ import annotations

import re
from typing import Final

_SCHEME: Final = re.compile(r"(?:sips?|tel):", re.IGNORECASE)
_NUMBER: Final = re.compile(r"\+?[\d\s()./-]+")
_SEPARATORS: Final = re.compile(r"[\s()./-]+")
#: Digits at the end that two ways to write a number have in common, with a country and without.
_SIGNIFICANT: Final = 9


def number_key(text: str) -> str:
    """What two numbers or addresses have in common if they are the same.

    Separators do not count. Of a number with nine digits or more only the last nine do, so that
    +49 30 1234567 and 030 1234567 are the same. The scheme and the parameters of a SIP address
    do not count, and neither does its case.
    """
    plain = _SCHEME.sub("", text.strip(), count=1).partition(";")[0].strip()
    if _NUMBER.fullmatch(plain):
        digits = without_separators(plain).lstrip("+")
        return digits[-_SIGNIFICANT:] if len(digits) >= _SIGNIFICANT else digits
    return plain.casefold()


def without_separators(number: str) -> str:
    """A number without the marks that people write into it."""
    return _SEPARATORS.sub("", number)


def holds_number(search: str, number: str) -> bool:
    """Whether what a person typed is part of a number, however both are written."""
    wanted = without_separators(search)
    return bool(wanted) and wanted in without_separators(number).casefold()
