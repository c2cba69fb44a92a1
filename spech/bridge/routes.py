"""Which bot a called number gets: a table in a TOML file.

::

    [regex]
    "7[0-9]{2}" = "wss://bots.example.org/team/{called}"

    [prefix]
    "+49" = "wss://bots.example.org/german"
    "+4930" = "wss://bots.example.org/berlin"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spech.bridge.url import WebSocketUrl
from spech.errors import LocalProtocolError


@dataclass(frozen=True, slots=True)
class Routes:
    """Routes of called numbers to bots.

    Args:
        patterns: compiled regular expressions and their bots; the first that matches the whole
            number counts.
        prefixes: beginnings of numbers and their bots; the longest counts, after the patterns.
        default: the bot of all other numbers, None for none.
    """

    patterns: tuple[tuple[Any, WebSocketUrl], ...] = ()
    prefixes: Mapping[str, WebSocketUrl] = field(default_factory=dict)
    default: WebSocketUrl | None = None

    @classmethod
    def read(cls, path: Path, default: WebSocketUrl | None = None) -> Routes:
        """Read a file of routes.

        Raises:
            LocalProtocolError: it cannot be read, or a line of it is wrong.
        """
        try:
            text = path.read_text()
            tables = tomllib.loads(text)
        except OSError as error:
            raise LocalProtocolError(f"{path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise LocalProtocolError(f"{path} is not TOML: {error}") from error
        patterns, prefixes = [], {}
        for table, entries in tables.items():
            if table not in ("prefix", "regex") or not isinstance(entries, dict):
                where = _where(path, text, table)
                raise LocalProtocolError(f"{where}: {table!r} is not [prefix] or [regex]")
            for number, url in entries.items():
                try:
                    if not isinstance(url, str):
                        raise LocalProtocolError(f"{number!r} has no URL in quotes")
                    if table == "regex":
                        patterns.append((compile_pattern(number), WebSocketUrl.parse(url)))
                    else:
                        prefixes[number] = WebSocketUrl.parse(url)
                except LocalProtocolError as error:
                    where = _where(path, text, table, number)
                    raise LocalProtocolError(f"{where}: {error}") from error
        return cls(tuple(patterns), prefixes, default)

    @property
    def bots(self) -> tuple[WebSocketUrl, ...]:
        """All bots that a number can get."""
        found = (*(bot for _, bot in self.patterns), *self.prefixes.values())
        return found if self.default is None else (*found, self.default)

    def find(self, called: str) -> WebSocketUrl | None:
        """The bot for a number, None where there is none."""
        for pattern, bot in self.patterns:
            if pattern.fullmatch(called):
                return bot
        fitting = [prefix for prefix in self.prefixes if called.startswith(prefix)]
        return self.prefixes[max(fitting, key=len)] if fitting else self.default


def compile_pattern(pattern: str) -> Any:
    """A regular expression of RE2, which takes linear time whatever a caller dials.

    Raises:
        LocalProtocolError: it is none, or google-re2 is not installed.
    """
    try:
        import re2
    except ModuleNotFoundError as error:
        raise LocalProtocolError(
            "regular expressions need google-re2, which is not installed; "
            "run: pip install 'spech[bridge]'"
        ) from error
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace")
        raise LocalProtocolError(f"{pattern!r} is no regular expression: {reason}") from error


def _where(path: Path, text: str, table: str, key: str | None = None) -> str:
    """The file and the line with a table or with a key of it, which tomllib does not tell."""
    within = False
    for number, line in enumerate(text.splitlines(), 1):
        try:
            values = tomllib.loads(line)
        except ValueError:
            continue  # Part of a value of several lines.
        if line.lstrip().startswith("["):
            within = table in values
        if (key is None and table in values) or (within and key in values):
            return f"{path}, line {number}"
    return str(path)
