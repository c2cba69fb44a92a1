"""The texts of the page: every requested text exists in every language, and none is unused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import spech
from spech.web.app import frontend_folder

FRONTEND = frontend_folder()
SCRIPTS = "".join(path.read_text() for path in sorted(FRONTEND.rglob("*.js")))
SERVER = "".join(
    path.read_text() for path in sorted((Path(spech.__file__).parent / "web").glob("*.py"))
)
#: Why a call ended or an account was refused, for people.
REASONS = set(
    re.findall(
        r'(?<!")"([A-Z][^"{}]*\.)"(?!")', (Path(spech.__file__).parent / "web/texts.py").read_text()
    )
)
ENGLISH: dict[str, str] = json.loads((FRONTEND / "locales" / "en.json").read_text())
OTHERS = sorted(path.stem for path in (FRONTEND / "locales").glob("*.json") if path.stem != "en")


def asked_for(key: str) -> bool:
    """Whether a script contains the key, or a template of which it is an instance."""
    if f'"{key}"' in SCRIPTS:
        return True
    parts = key.split(".")
    beginnings = [".".join(parts[:count]) + "." for count in range(1, len(parts))]
    return any(f"`{beginning}${{" in SCRIPTS for beginning in beginnings)


def test_every_requested_text_exists() -> None:
    asked = set(re.findall(r'\bt\(\s*"([^"]+)"', SCRIPTS))
    assert asked
    assert asked - set(ENGLISH) == set()


def test_no_text_is_unused() -> None:
    assert [key for key in ENGLISH if not asked_for(key)] == []


@pytest.mark.parametrize("language", OTHERS)
def test_every_language_is_complete(language: str) -> None:
    """The placeholders are the same, and every translated sentence of the server still exists."""
    texts: dict[str, str] = json.loads((FRONTEND / "locales" / f"{language}.json").read_text())
    fields = re.compile(r"\{\w+\}")
    for key, text in ENGLISH.items():
        assert set(fields.findall(texts[key])) == set(fields.findall(text)), key
    sentences = {key[1:] for key in texts if key.startswith("=")}
    assert [sentence for sentence in sentences if sentence not in SERVER] == []
    assert REASONS - sentences == set()


def test_all_languages_translate_the_same_texts() -> None:
    assert {"de", "es", "pt-BR"} <= set(OTHERS)
    first, *others = (
        json.loads((FRONTEND / "locales" / f"{language}.json").read_text()) for language in OTHERS
    )
    for other in others:
        assert set(other) == set(first)


def test_the_page_offers_each_language() -> None:
    offered = re.search(r"LANGUAGES = \{(.*?)\}", (FRONTEND / "i18n.js").read_text(), re.DOTALL)
    assert offered is not None
    names = re.findall(r'"?([\w-]+)"?: "', offered[1])
    assert sorted(names) == sorted(["en", *OTHERS])
