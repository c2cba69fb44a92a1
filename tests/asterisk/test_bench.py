"""Parts of the bench, for a moment: both servers carry calls, and the sound comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.__main__ import main
from bench.results import Values, runs


def measured(part: str, folder: Path) -> dict[tuple[str, str], Values]:
    """The values by side and case."""
    main([part, "--rounds", "1", "--seconds", "0.5", "--calls", "2", "--results", str(folder)])
    (run,) = runs(folder)
    return {(one.side, one.case): one.values for one in run.measurements}


@pytest.mark.usefixtures("asterisk")
def test_calls_are_carried_beside_asterisk(tmp_path: Path) -> None:
    values = measured("bridge", tmp_path)
    for side in ("Spech", "Asterisk"):
        assert values[side, "1"]["cpu"] > 0
        assert values[side, "1"]["memory"] > 0
        assert values[side, "1"]["lost"] < 1


@pytest.mark.usefixtures("asterisk")
def test_calls_are_set_up_beside_asterisk(tmp_path: Path) -> None:
    values = measured("setup", tmp_path)
    for case in ("answered", "with WebSocket"):
        for side in ("Spech", "Asterisk"):
            assert values[side, case]["cpu"] > 0
            assert values[side, case]["answer"] > 0


def test_pages_have_calls(tmp_path: Path) -> None:
    assert measured("page", tmp_path)["Spech", "5 calls"]["cpu"] > 0
