"""The document that is written from stored results."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bench.aims import table
from bench.parts.all import PARTS
from bench.parts.bridge import LEVELS
from bench.plot import rows
from bench.report import DOCUMENT, write
from bench.results import Figures, Measurement, Run, runs

ABOUT = {
    "machine": "a machine", "python": "CPython 3.11", "packages": "trio 1", "commit": "abc",
    "sources": "1", "asterisk": "22",
}  # fmt: skip

QUIET = {"others": 0.0, "steal": 0.0, "wait": 0.0}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three rounds in which Spech costs twice as much as Asterisk and is even up to 100 calls."""
    run = Run.begin(tmp_path / "results", ABOUT)
    for number in range(1, 4):
        for side, cost in (("Spech", 8.0), ("Asterisk", 4.0)):
            run.add(
                [
                    Measurement(
                        "bridge", number, side, str(level),
                        {
                            "cpu": cost + number / 10,
                            "p99": 20.0 if side == "Spech" and level > 100 else 1.0,
                            "lost": 0.0, "late": 0.1, "memory": 50.0, **QUIET,
                        },
                    )
                    for level in LEVELS
                ]
            )  # fmt: skip
    return tmp_path / "results"


@pytest.fixture
def document(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    path = tmp_path / "performance.md"
    path.write_text(
        "# Performance\n<!-- bench: machines -->\n<!-- end -->\nby hand\n"
        "<!-- bench: bridge -->\nold\n<!-- end -->\n<!-- bench: setup -->\n<!-- end -->\nlast\n"
    )
    return path


def test_tables_and_plots_are_written_between_the_marks(document: Path, results: Path) -> None:
    write(document, results)
    written = document.read_text()
    assert "| 50 | 8.20 (8.10–8.30) | 4.20 (4.10–4.30) | 1.95 (1.93–1.98) |" in written
    assert "- Spech: 100 (100–100)" in written
    assert "- Asterisk: 400 (400–400)" in written
    assert "3 rounds." in written
    assert "a machine | CPython 3.11; trio 1 | abc | 22 | – |" in written
    assert "by hand" in written
    assert written.endswith("last\n")
    assert "old" not in written
    assert "`make bench ARGS=setup`" in written
    for picture in ("bridge", "pacing"):
        drawn = ElementTree.parse(document.parent / "pictures" / f"bench-{picture}.svg")
        texts = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
        assert {"Spech", "Asterisk", "calls at once", "10", "400"} <= set(texts)


def test_aims_are_judged_by_the_median(results: Path) -> None:
    written = table(runs(results))
    assert (
        "| CPU at 50 calls, of Asterisk's | 0.5 | – | 1 | 1.95 (1.93–1.98), **not met** |"
        in written
    )
    assert "| the same at 100 calls, ms | 2 | – | 2 | 1.00 (1.00–1.00), met |" in written
    assert (
        "CPU per call at 200 calls, of that at 50 | 1 | – | 1 | 1.00 (1.00–1.00), met |" in written
    )
    assert "mouth to ear" not in written
    assert table([]) == ""


def test_writing_again_changes_nothing(document: Path, results: Path) -> None:
    write(document, results)
    once = document.read_text()
    write(document, results)
    assert document.read_text() == once


def test_without_results_the_document_says_how_to_get_them(document: Path, results: Path) -> None:
    write(document, results)
    write(document, document.parent / "none")
    assert "`make bench ARGS=bridge`" in document.read_text()
    assert "8.20" not in document.read_text()
    assert list((document.parent / "pictures").iterdir()) == []


def test_the_document_has_a_place_for_each_part() -> None:
    text = DOCUMENT.read_text()
    assert [name for name in PARTS if f"<!-- bench: {name} -->" not in text] == []


def test_the_document_is_what_the_stored_results_say(tmp_path: Path) -> None:
    """Its tables are not written by hand, and its plots belong to them."""
    (tmp_path / "pictures").mkdir()
    copy = tmp_path / "performance.md"
    copy.write_text(DOCUMENT.read_text())
    write(copy)
    assert copy.read_text() == DOCUMENT.read_text()
    drawn = {path.name: path.read_text() for path in (tmp_path / "pictures").iterdir()}
    stored = DOCUMENT.parent / "pictures"
    assert drawn == {path.name: path.read_text() for path in stored.glob("bench-*.svg")}


def test_a_plot_in_rows_has_each_case_and_side_with_its_median(results: Path) -> None:
    drawn = ElementTree.fromstring(rows(Figures("bridge", runs(results)), "cpu", "a & b"))
    texts = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a & b", "Spech", "Asterisk", "50", "8.2", "4.2"} <= set(texts)
