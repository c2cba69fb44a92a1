"""The documents lead somewhere: their links, the site's navigation and its reference.

`make docs` checks the same while it builds the site, which takes longer.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import spech

from .blocks import DOCUMENTS, ROOT

SITE = ROOT / "tools/site"
PAGES = [*DOCUMENTS, *ROOT.glob("*.md"), *ROOT.glob("examples/**/*.md")]


def anchors(document: Path) -> set[str]:
    """What its headings are called in a URL, as repository pages and the site do it."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize(
    "document", sorted(set(PAGES)), ids=lambda path: str(path.relative_to(ROOT))
)
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_each_public_name_is_in_the_reference() -> None:
    pages = (SITE / "pages/reference").glob("*.md")
    names = [
        name for page in pages for name in re.findall(r"^::: spech\.(\w+)$", page.read_text(), re.M)
    ]
    assert sorted(set(names) - {"aio"}) == sorted(spech.__all__)
    assert len(names) == len(set(names))


def test_each_document_is_in_the_navigation() -> None:
    navigation = (SITE / "mkdocs.yml").read_text()
    for page in (SITE / "pages").rglob("*.md"):
        assert f" {page.relative_to(SITE / 'pages')}\n" in navigation
    for document in sorted(set(PAGES)):
        assert f" {document.relative_to(ROOT)}\n" in navigation
