"""The parts of ``make bench``: each measures one thing, and writes its piece of the document.

A part has sides, which are measured in turns: one turn of each in every round. A turn yields cases
with their values, such as ``("50 calls", {"cpu": 4.1})``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from bench.machine import Window
from bench.results import Figures, Values


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        seconds: length of one measurement.
        calls: calls at once, at most.
    """

    seconds: float = 3.0
    calls: int = 400


Side = Callable[[Scale], Iterator[tuple[str, Values]]]


def _no_plots(_: Figures) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Part:
    """A part.

    Attributes:
        name: as in ``make bench ARGS=name``, and in the document.
        title: what is measured, for the progress bar.
        seconds: how long a turn takes, about.
        sides: what is compared; what this machine lacks is left out.
        text: writes the tables, in Markdown.
        plots: draws pictures, by name.
    """

    name: str
    title: str
    seconds: float
    sides: Callable[[], Mapping[str, Side]]
    text: Callable[[Figures], str]
    plots: Callable[[Figures], Mapping[str, str]] = field(default=_no_plots)


def cpu_per_call(window: Window, calls: int) -> Values:
    """The cost of a second of a call in ms, memory in MB, and how quiet the machine was."""
    cost = window.cpu / window.seconds / calls * 1000
    return {"cpu": cost, "memory": window.memory, **window.values()}
