"""The smallest parts, for a moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.__main__ import main
from bench.results import runs

QUICK = ("--rounds", "1", "--seconds", "0.02")


def test_a_part_is_measured_stored_and_not_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["parsing", *QUICK, "--results", str(tmp_path)]
    main(arguments)
    (run,) = runs(tmp_path)
    cases = {one.case: one.values["time"] for one in run.measurements if one.side == "Spech"}
    assert set(cases) == {"read", "read and use", "write", "judge"}
    assert min(cases.values()) > 0
    assert f"run {run.name} UTC" in capsys.readouterr().out

    main(arguments)
    assert [one.measurements for one in runs(tmp_path)] == [run.measurements]


def test_a_part_that_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    main(["conference", *QUICK, "--results", str(tmp_path)])
    (run,) = runs(tmp_path)
    ticks = [one.values["tick"] for one in run.measurements if one.side == "Spech"]
    assert len(ticks) == 3
    assert min(ticks) > 0


def test_a_further_run_begins_when_asked_for(tmp_path: Path) -> None:
    arguments = ["parsing", *QUICK, "--results", str(tmp_path)]
    main(arguments)
    (run,) = runs(tmp_path)
    assert run.path is not None
    run.path.rename(tmp_path / "2000-01-01.jsonl")
    main([*arguments, "--new"])
    assert len(runs(tmp_path)) == 2


def test_an_unknown_part_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bridges", "--results", str(tmp_path)])
    assert "no part is called bridges" in capsys.readouterr().err
