"""Results of ``make bench``: a file of JSON lines for each run, in ``bench/results``.

The first line describes the run. Each other line is one measurement: the part and its round, the
side (Spech, Asterisk, …), the case (50 calls, G722, …) and the values by name. A turn, which is one
side in one round of a part, is written whole or not at all, so that a run that was interrupted can
go on.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).with_name("results")
#: Seconds a second beyond which a run is marked: CPU of other programs, and processors stolen.
_LOUD: Final = 0.1
_STOLEN: Final = 0.02

#: What is the same in runs that belong together.
_SAME: Final = ("machine", "sources", "measured")

Values = dict[str, float]


@dataclass(frozen=True, slots=True)
class Measurement:
    part: str
    round: int
    side: str
    case: str
    values: Values


@dataclass
class Run:
    """One sitting on one machine.

    Attributes:
        name: when it began, in UTC.
        about: the machine and the versions, by name.
    """

    name: str
    about: dict[str, str]
    measurements: list[Measurement] = field(default_factory=list)
    path: Path | None = None

    @classmethod
    def begin(cls, folder: Path, about: dict[str, str]) -> Run:
        now = datetime.now(UTC)
        folder.mkdir(parents=True, exist_ok=True)
        run = cls(f"{now:%Y-%m-%d %H:%M}", about, path=folder / f"{now:%Y-%m-%d-%H%M%S}.jsonl")
        run._write([{"run": run.name, **about}])
        return run

    @classmethod
    def read(cls, path: Path) -> Run:
        head, *lines = (json.loads(line) for line in path.read_text().splitlines())
        return cls(head.pop("run"), head, [Measurement(**line) for line in lines], path)

    def add(self, turn: list[Measurement]) -> None:
        """Store a turn."""
        self.measurements += turn
        self._write(
            [
                {
                    "part": one.part,
                    "round": one.round,
                    "side": one.side,
                    "case": one.case,
                    "values": {name: float(f"{value:.4g}") for name, value in one.values.items()},
                }
                for one in turn
            ]
        )

    def has(self, part: str, round: int, side: str) -> bool:
        """Whether this turn is stored."""
        return any(
            (one.part, one.round, one.side) == (part, round, side) for one in self.measurements
        )

    def _write(self, lines: list[dict[str, Any]]) -> None:
        assert self.path is not None
        with self.path.open("a") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def runs(folder: Path = FOLDER) -> list[Run]:
    """The stored runs, the oldest first."""
    return [Run.read(path) for path in sorted(folder.glob("*.jsonl"))]


class Figures:
    """The measurements of one part, over all rounds of the runs that belong together.

    These are the newest run that has the part, and earlier ones that were made in the same way on
    the same machine, with the same sources.
    """

    def __init__(self, part: str, of: Iterable[Run]) -> None:
        having = [run for run in of if any(one.part == part for one in run.measurements)]
        self.runs = [
            run
            for run in having
            if all(run.about.get(key) == having[-1].about.get(key) for key in _SAME)
        ]
        self._values: dict[tuple[str, str], list[tuple[tuple[str, int], Values]]] = {}
        for run in self.runs:
            for one in run.measurements:
                if one.part == part:
                    taken = self._values.setdefault((one.side, one.case), [])
                    taken.append(((run.name, one.round), one.values))
        self.sides = list(dict.fromkeys(side for side, _ in self._values))
        self.cases = list(dict.fromkeys(case for _, case in self._values))

    def __bool__(self) -> bool:
        return bool(self._values)

    @property
    def rounds(self) -> int:
        return max((len(taken) for taken in self._values.values()), default=0)

    def values(self, side: str, case: str, name: str) -> list[float]:
        """A value in each round, in no order."""
        return [values[name] for _, values in self._values.get((side, case), ()) if name in values]

    def ratios(self, side: str, other: str, case: str, name: str) -> list[float]:
        """The ratio of two sides, in each round that has both."""
        theirs = dict(self._values.get((other, case), ()))
        return [
            values[name] / theirs[when][name]
            for when, values in self._values.get((side, case), ())
            if name in values and theirs.get(when, {}).get(name)
        ]

    def rounds_of(self, side: str) -> Iterator[dict[str, Values]]:
        """The cases of each round of a side."""
        by_round: dict[tuple[str, int], dict[str, Values]] = {}
        for (one, case), taken in self._values.items():
            if one == side:
                for when, values in taken:
                    by_round.setdefault(when, {})[case] = values
        yield from by_round.values()

    def beside(self) -> str:
        """How quiet the machine was, "" if that was not measured; a loud one is marked."""
        every = [values for taken in self._values.values() for _, values in taken]
        seen = [values for values in every if "others" in values]
        if not seen:
            return ""
        others, wait, steal = (
            statistics.median(values[name] for values in seen)
            for name in ("others", "wait", "steal")
        )
        loud = others > _LOUD or steal > _STOLEN
        return (
            f"{'**Beside other load.** ' if loud else ''}Other programs used {others:.0%} of a "
            f"processor, the threads of the measured one waited {wait:.3f} s a second for a "
            f"processor, and {steal:.1%} of one was stolen."
        )


def spread(values: list[float], digits: int = 2) -> str:
    """The median, and in parentheses the least and the greatest."""
    if not values:
        return "–"
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"
