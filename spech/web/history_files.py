"""The history as a file for other programs: CSV (RFC 4180) or JSON."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

import msgspec

from spech.web.messages.history import CallEntry

_COLUMNS: Final = (
    "began",
    "answered",
    "ended",
    "seconds",
    "direction",
    "fate",
    "number",
    "name",
    "account",
    "status",
    "text",
    "codec",
    "mos",
    "recordings",
)
#: What a spreadsheet would take for a formula. A telephone number is none.
_FORMULA: Final = re.compile(r"[=+\-@\t\r](?![\d ]*\Z)")


def to_csv(entries: Iterable[CallEntry]) -> bytes:
    """A table with a header, for spreadsheets: UTF-8 with a mark, times in the local zone.

    A cell that would be a formula begins with an apostrophe, because callers choose their names.
    """
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(_COLUMNS)
    for entry in entries:
        answered, ended = entry.answered, entry.ended
        lasted = None if answered is None or ended is None else round(ended - answered)
        row = (
            _time(entry.began),
            _time(answered),
            _time(ended),
            lasted,
            entry.direction,
            entry.fate,
            entry.remote,
            entry.name,
            entry.line,
            entry.status,
            entry.text,
            entry.codec,
            entry.mos,
            " ".join(entry.recordings),
        )
        table.writerow(safe_cell(value) if isinstance(value, str) else value for value in row)
    return text.getvalue().encode("utf-8-sig")


def to_json(entries: Iterable[CallEntry]) -> bytes:
    """The entries as docs/protocol.md describes them, in an array."""
    return msgspec.json.format(msgspec.json.encode(list(entries)), indent=1)


#: Media type and writer of each kind of file.
HISTORY_FILES: Final[dict[str, tuple[str, Callable[[Iterable[CallEntry]], bytes]]]] = {
    "csv": ("text/csv; charset=utf-8", to_csv),
    "json": ("application/json", to_json),
}


def safe_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
