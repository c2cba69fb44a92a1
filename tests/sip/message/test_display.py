"""Text from peers on pages, terminals and in logs."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spech.sip.message.display import MAX_DISPLAYED, displayable, escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Bob Stone", "Bob Stone"),
        ("  Bob\t Stone\r\n", "Bob Stone"),
        ("Müller, Ärzte (Büro)", "Müller, Ärzte (Büro)"),
        ("Mu\u0308ller", "Müller"),
        ("אבג דהו", "אבג דהו"),
        ("Nguyễn Thị", "Nguyễn Thị"),
        ("\u202e3130 evitucexe", "3130 evitucexe"),
        ("a\u2066b\u2069c\u200ed\u061ce", "abcde"),
        ("\x1b]0;owned\x07\x9b31m", "]0;owned31m"),
        ("a\u2028b\u2029c\x85d", "a b c d"),
        ("a\u200b\ufeff\u00ad\U000e0041b", "ab"),
        ("Z" + "\u0336" * 40 + "algo", "Z\u0336\u0336algo"),
        ("\u0301\u0302x", "x"),
        ("\ud800x\ue000", "x"),
        ("", ""),
        ("\u202e\x00", ""),
        ("A" * 65, "A" * 63 + "…"),
        ("word " * 20, ("word " * 20)[:63].strip() + "…"),
    ],
)
def test_text_is_sanitized_for_display(text: str, shown: str) -> None:
    assert displayable(text) == shown


@given(st.text(st.characters(), max_size=400))
def test_displayed_text_is_short_plain_and_stable(text: str) -> None:
    shown = displayable(text)
    assert len(shown) <= MAX_DISPLAYED
    assert shown.isprintable()
    assert not any(unicodedata.bidirectional(one) in ("RLO", "LRO", "RLI", "LRE") for one in shown)
    assert displayable(shown) == shown


def test_a_log_line_escapes_unprintable_characters() -> None:
    assert escaped("sip:a@h") == "sip:a@h"
    assert escaped("a\x1b[2J\u202eb\r\n") == "a\\x1b[2J\\u202eb\\r\\n"
    assert escaped("x" * 200) == "x" * 160 + "..."
