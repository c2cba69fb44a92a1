"""What is stored of a run, and what is computed from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.results import Figures, Measurement, Run, Values, runs, spread

ABOUT = {"machine": "a machine", "sources": "1"}


def run(folder: Path, name: str, about: dict[str, str] = ABOUT) -> Run:
    begun = Run.begin(folder, about)
    assert begun.path is not None
    begun.path.unlink()
    begun.name, begun.path = name, folder / f"{name}.jsonl"
    begun._write([{"run": name, **about}])
    return begun


def turn(number: int, side: str, **cpu: float) -> list[Measurement]:
    return [Measurement("bridge", number, side, case, {"cpu": cost}) for case, cost in cpu.items()]


def test_what_was_stored_is_read_again(tmp_path: Path) -> None:
    begun = Run.begin(tmp_path, ABOUT)
    begun.add(turn(1, "Spech", ten=4.56789, one=9.0))
    (stored,) = runs(tmp_path)
    assert (stored.name, stored.about) == (begun.name, ABOUT)
    assert stored.measurements == [
        Measurement("bridge", 1, "Spech", "ten", {"cpu": 4.568}),
        Measurement("bridge", 1, "Spech", "one", {"cpu": 9.0}),
    ]
    assert stored.has("bridge", 1, "Spech")
    assert not stored.has("bridge", 2, "Spech")
    assert not stored.has("bridge", 1, "Asterisk")


def test_a_ratio_is_that_of_two_turns_of_the_same_round(tmp_path: Path) -> None:
    one = run(tmp_path, "1")
    one.add(turn(1, "Spech", ten=4.0))
    one.add(turn(1, "Asterisk", ten=2.0))
    one.add(turn(2, "Asterisk", ten=10.0))
    one.add(turn(2, "Spech", ten=10.0))
    figures = Figures("bridge", [one])
    assert sorted(figures.ratios("Spech", "Asterisk", "ten", "cpu")) == [1.0, 2.0]
    assert figures.rounds == 2


def test_runs_of_other_sources_or_machines_are_not_mixed(tmp_path: Path) -> None:
    for name, about in (
        ("1", ABOUT | {"sources": "0"}),
        ("2", ABOUT),
        ("3", ABOUT | {"machine": "another"}),
        ("4", ABOUT),
    ):
        run(tmp_path, name, about).add(turn(1, "Spech", ten=float(name)))
    figures = Figures("bridge", runs(tmp_path))
    assert [one.name for one in figures.runs] == ["2", "4"]
    assert figures.values("Spech", "ten", "cpu") == [2.0, 4.0]


@pytest.mark.parametrize(
    ("beside", "marked"),
    [
        ({"others": 0.02, "steal": 0.0, "wait": 0.0}, False),
        ({"others": 0.9, "steal": 0.0, "wait": 0.2}, True),
        ({"others": 0.0, "steal": 0.1, "wait": 0.0}, True),
        ({}, False),
    ],
)
def test_a_run_beside_other_load_is_marked(tmp_path: Path, beside: Values, marked: bool) -> None:
    one = run(tmp_path, "1")
    one.add([Measurement("bridge", 1, "Spech", "10", {"cpu": 4.0, **beside})])
    assert ("Beside other load" in Figures("bridge", [one]).beside()) is marked


def test_a_number_is_shown_with_its_spread() -> None:
    assert spread([]) == "–"
    assert spread([4.0]) == "4.00"
    assert spread([1200.0, 4.0, 5.0], 1) == "5.0 (4.0–1,200.0)"
