"""What the bench is measured against: the project's aims, and whether the results meet them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from bench.results import Figures, Run, spread

_PURE: Final = "Spech"
_COMPILED: Final = "Spech, compiled"
_OTHER: Final = "Asterisk"

#: The values of a side in the rounds of a part.
Reading = Callable[[Figures, str], list[float]]


@dataclass(frozen=True)
class Aim:
    """A value that should be at most so much, in the compiled build and in the pure one."""

    title: str
    part: str
    read: Reading
    compiled: float
    pure: float


def _ratio(case: str, value: str = "cpu") -> Reading:
    return lambda figures, side: figures.ratios(side, _OTHER, case, value)


def _plain(case: str, value: str) -> Reading:
    return lambda figures, side: figures.values(side, case, value)


def _growth(case: str, before: str) -> Reading:
    """The ratio of the CPU of two cases of the same round."""

    def read(figures: Figures, side: str) -> list[float]:
        return [
            cases[case]["cpu"] / cases[before]["cpu"]
            for cases in figures.rounds_of(side)
            if case in cases and before in cases
        ]

    return read


def _beyond(case: str) -> Reading:
    """By how much the median of a delay is longer than Asterisk's."""

    def read(figures: Figures, side: str) -> list[float]:
        theirs = figures.values(_OTHER, case, "median")
        if not theirs:
            return []
        usual = statistics.median(theirs)
        return [value - usual for value in figures.values(side, case, "median")]

    return read


AIMS: Final = (
    Aim("CPU at 10 calls, of Asterisk's", "bridge", _ratio("10"), 0.8, 1.3),
    Aim("CPU at 50 calls, of Asterisk's", "bridge", _ratio("50"), 0.5, 1.0),
    Aim(
        "the same with digits in the sound, which both look for",
        "formats",
        _ratio("digits in the sound, 50 calls"),
        0.6,
        1.2,
    ),
    Aim("CPU per call at 200 calls, of that at 50", "bridge", _growth("200", "50"), 1.0, 1.0),
    Aim("CPU of a call set up and ended, of Asterisk's", "setup", _ratio("answered"), 1.0, 1.4),
    Aim("the same with its WebSocket", "setup", _ratio("with WebSocket"), 1.0, 1.4),
    Aim("RTP off its grid at 50 calls, 99th percentile, ms", "bridge", _plain("50", "p99"), 2, 2),
    Aim("the same at 100 calls, ms", "bridge", _plain("100", "p99"), 2, 2),
    Aim("mouth to ear beyond Asterisk's, ms", "delay", _beyond("mouth to ear"), 20, 20),
    Aim("barge-in by voice, ms", "delay", _plain("barge-in by voice", "median"), 60, 60),
    Aim("barge-in by digit, ms", "delay", _plain("barge-in by digit", "median"), 60, 60),
)


def table(stored: Iterable[Run]) -> str:
    """The aims in Markdown, "" if none was measured."""
    stored = list(stored)
    lines = []
    for aim in AIMS:
        figures = Figures(aim.part, stored)
        cells = [
            cell
            for side, limit in ((_COMPILED, aim.compiled), (_PURE, aim.pure))
            for cell in (f"{limit:g}", _judged(aim.read(figures, side), limit))
        ]
        if any(not cell.startswith("–") for cell in cells[1::2]):
            lines.append(f"| {aim.title} | {' | '.join(cells)} |\n")
    if not lines:
        return ""
    heads = (
        "| at most | compiled: aim | measured | pure: aim | measured |\n|---|---:|---:|---:|---:|\n"
    )
    return heads + "".join(lines)


def _judged(values: list[float], limit: float) -> str:
    if not values:
        return "–"
    met = statistics.median(values) <= limit
    return f"{spread(values)}, {'met' if met else '**not met**'}"
