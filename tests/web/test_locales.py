"""The texts of the page: every requested text exists in every language, and none is unused."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import spech
from spech.web.app import frontend_folder

FRONTEND = frontend_folder()
SCRIPTS = "".join(path.read_text() for path in sorted(FRONTEND.rglob("*.js")))
PACKAGE = Path(spech.__file__).parent
CHECKUP = PACKAGE / "phone" / "checkup.py"
SERVER = "".join(
    # A long sentence is written as several strings.
    re.sub(r'"\s*\n\s*"', "", path.read_text())
    for path in (*sorted((PACKAGE / "web").rglob("*.py")), CHECKUP)
)
#: Why a call ended or an account was refused, for people.
REASONS = set(
    re.findall(
        r'(?<!")"([A-Z][^"{}]*\.)"(?!")', (Path(spech.__file__).parent / "web/texts.py").read_text()
    )
)


def sentences_of(path: Path) -> set[str]:
    """The strings of a module that are sentences; what documents it is left out."""
    tree = ast.parse(path.read_text())
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in statements
        and re.search(r"[a-z]+ | [a-z]", re.sub(r"{\w+}", "", node.value))
    }


def refusals() -> Iterator[tuple[str, str | None]]:
    """The key of each message and hint of a refusal, and its sentence if that is fixed."""
    for path in sorted((PACKAGE / "web").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(ast.Name("Refused"), [ast.Constant(str(code)), *sentences]):
                    for kind, sentence in zip(("error", "hint"), sentences, strict=False):
                        if isinstance(sentence, ast.Constant):
                            yield f"{kind}.{code}", str(sentence.value)
                        elif isinstance(sentence, ast.JoinedStr):
                            yield f"{kind}.{code}", None


#: What a check-up finds and recommends.
FINDINGS = sentences_of(CHECKUP)
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
    assert (REASONS | FINDINGS) - sentences == set()


@pytest.mark.parametrize("language", OTHERS)
def test_every_refusal_is_translated(language: str) -> None:
    """By its sentence, or by its code; a sentence with a value in it has its code only."""
    texts: dict[str, str] = json.loads((FRONTEND / "locales" / f"{language}.json").read_text())
    found = set(refusals())
    assert ("hint.favourite_limit", None) in found
    assert [
        (key, sentence) for key, sentence in found if not {key, f"={sentence}"} & set(texts)
    ] == []


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
