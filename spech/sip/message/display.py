"""Text of peers made fit for people to read: names, numbers, reasons, URIs.

A peer may send a name that turns the text behind it round (U+202E), moves a terminal's cursor
(ESC), covers the lines above and below it with stacked marks, or pushes buttons off a page by its
length. Pages, terminals, logs and histories show peers' text as :func:`displayable` returns it, and
logs of whole lines as :func:`escaped` does.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

#: Characters of a name that are shown.
LONGEST: Final = 64
#: Marks on one letter: Thai, Hebrew and Vietnamese need two.
_MOST_MARKS: Final = 2
#: Characters that are looked at for each one that is shown.
_LOOKAHEAD: Final = 8

#: Controls, format characters (bidirectional ones among them), surrogates, private use, unassigned,
#: and the separators of lines and paragraphs.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKS: Final = frozenset({"Mn", "Me", "Mc"})
#: What stands for a blank, so that words stay apart: tabs, line ends and their like.
_BLANKS: Final = re.compile(r"\s+")


def displayable(text: str, longest: int = LONGEST) -> str:
    """``text`` on one line of at most ``longest`` characters that show what they are.

    Controls, format characters and all but two marks on a letter are removed; runs of white space
    become one blank. What is cut off is replaced by an ellipsis.
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
    """``text`` for a line of a log: nothing is removed, but what cannot be printed is escaped."""
    shown = text if len(text) <= longest else f"{text[:longest]}..."
    return shown if shown.isprintable() else shown.encode("unicode_escape").decode()
