"""Make text from peers safe to show: names, numbers, reasons, URIs.

A peer may send a name that reverses the text after it (U+202E), moves a terminal's cursor (ESC),
covers the lines above and below it with stacked marks, or pushes buttons off a page by its length.
Pages, terminals, logs and call histories show :func:`displayable` text; logs of whole header lines
show :func:`escaped` text.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

#: The number of characters of a name that are shown.
MAX_DISPLAYED: Final = 64
#: The number of marks on one letter that are shown: Thai, Hebrew and Vietnamese need two.
_MOST_MARKS: Final = 2
#: The number of characters that are read for each one that is shown.
_LOOKAHEAD: Final = 8

#: Control characters, format characters (including bidirectional ones), surrogates, private use,
#: unassigned characters, and line and paragraph separators.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKS: Final = frozenset({"Mn", "Me", "Mc"})
#: White space that becomes one blank: tabs, line ends and the like.
_BLANKS: Final = re.compile(r"\s+")


def displayable(text: str, longest: int = MAX_DISPLAYED) -> str:
    """``text`` as one line of at most ``longest`` visible characters.

    Control and format characters, and all but two marks on a letter, are removed; runs of white
    space become one blank. An ellipsis replaces the text that is cut off.
    """
    if len(text) <= longest and text.isascii() and text.isprintable() and "  " not in text:
        return text.strip()
    kept: list[str] = []
    marks = 0
    start = unicodedata.normalize("NFC", text[: longest * _LOOKAHEAD])
    for character in _BLANKS.sub(" ", start):
        category = unicodedata.category(character)
        if category in _HIDDEN:
            continue
        marks = marks + 1 if category in _MARKS else 0
        if marks <= _MOST_MARKS and (kept or not marks):
            kept.append(character)
    shown = _BLANKS.sub(" ", "".join(kept)).strip()
    if len(shown) > longest:
        shown = f"{shown[: longest - 1].rstrip()}…"
    return shown


def escaped(text: str, longest: int = 160) -> str:
    """At most ``longest`` characters of ``text`` for a log; unprintable characters are escaped."""
    shown = text if len(text) <= longest else f"{text[:longest]}..."
    return shown if shown.isprintable() else shown.encode("unicode_escape").decode()
