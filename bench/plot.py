"""Plots as SVG, which follow the reader's light or dark colors."""

from __future__ import annotations

import itertools
import math
import statistics
from html import escape
from typing import Final

from bench.results import Figures

_WIDTH, _HEIGHT = 760, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 208, 44, 48
#: Of the plots in rows: where values begin and end, and the height of a row.
_ACROSS: Final = (236.0, 650.0)
_ROW: Final = 18.0
_OURS: Final = {"Spech": 0, "Spech, compiled": 1}
#: A color for each side, in light and in dark; the shapes of points differ as well.
_COLOURS: Final = (
    ("#0b6e4f", "#4cc38a"),
    ("#1f5fbf", "#79aef7"),
    ("#c2571a", "#f2a36b"),
    ("#7d3c98", "#c99be0"),
)
_SHAPES: Final = (
    '<circle r="4.5"/>',
    '<path d="M0-5.5 5 4H-5z"/>',
    '<path d="M-4-4h8v8h-8z"/>',
    '<path d="M0-5.5 5.5 0 0 5.5-5.5 0z"/>',
)
#: What is the same in both.
_SHAPE: Final = (
    "text { stroke: none } .title { font-weight: 600 } .tick { font-size: 12px } "
    ".end { text-anchor: end } .middle { text-anchor: middle } path { fill: none } "
    ".mark path { fill: inherit } .limit { stroke-dasharray: 6 4 } .line { stroke-width: 2 } "
    ".range { stroke-width: 1.5; opacity: .55 } .lead { opacity: .4 }"
)
_LIGHT: Final = (
    "rect { fill: #fff } text, .side text { fill: #1f2328 } .tick { fill: #57606a } "
    ".grid { stroke: #d8dee4 } .limit { stroke: #8694a6 }"
)
_DARK: Final = (
    "rect { fill: #0d1117 } text, .side text { fill: #e6edf3 } .tick { fill: #9da7b3 } "
    ".grid { stroke: #30363d } .limit { stroke: #66758a }"
)


def lines(
    figures: Figures,
    value: str,
    title: str,
    across: str,
    *,
    log: bool = False,
    limit: float | None = None,
) -> str:
    """A line for each side: the median of a value at each case, which is a number, and its range.

    Args:
        figures: what was measured.
        value: the name of the value.
        title: of the plot, with the unit.
        across: what the cases are.
        log: whether the upright axis is logarithmic.
        limit: a value to mark.
    """
    series = {
        side: [
            (float(case), sorted(found))
            for case in figures.cases
            if (found := figures.values(side, case, value))
        ]
        for side in figures.sides
    }
    series = {side: points for side, points in series.items() if points}
    every = [one for points in series.values() for _, found in points for one in found]
    every += [limit] if limit is not None else []
    along = _Scale(
        [x for points in series.values() for x, _ in points], (_LEFT, _WIDTH - _RIGHT), log=True
    )
    up = _Scale(every, (_HEIGHT - _BOTTOM, _TOP), log=log)
    drawn = [_axes(along, up, across, sorted({x for p in series.values() for x, _ in p}))]
    if limit is not None:
        y = up.at(limit)
        drawn.append(f'<path class="limit" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
    ends = _spaced([up.at(statistics.median(points[-1][1])) for points in series.values()])
    numbers = _numbers(list(series))
    for (side, points), end in zip(series.items(), ends, strict=True):
        number = numbers[side]
        places = [(along.at(x), up.at(statistics.median(found))) for x, found in points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        ranges = "".join(
            f"M{x:.1f} {up.at(found[0]):.1f}V{up.at(found[-1]):.1f}"
            for (x, _), (_, found) in zip(places, points, strict=True)
        )
        marks = "".join(_point(number, x, y) for x, y in places)
        x, y = places[-1]
        label = (
            f'<path class="lead" d="M{x + 7:.1f} {y:.1f}L{_WIDTH - _RIGHT + 10} {end:.1f}"/>'
            f'<text x="{_WIDTH - _RIGHT + 14}" y="{end + 4:.1f}">{escape(side)}</text>'
        )
        drawn.append(
            f'<g class="side s{number}"><path class="line" d="M{path}"/>'
            f'<path class="range" d="{ranges}"/>{marks}{label}</g>'
        )
    return _document(title, drawn)


def rows(figures: Figures, value: str, title: str) -> str:
    """A row for each case, with a point for each side: the median of a value, and its range."""
    numbers = _numbers(figures.sides)
    found = {
        (case, side): sorted(values)
        for case in figures.cases
        for side in figures.sides
        if (values := figures.values(side, case, value))
    }
    along = _Scale([one for values in found.values() for one in values], _ACROSS, log=False)
    drawn, y = [], _TOP + 4.0
    for side, x in zip(figures.sides, _places(figures.sides), strict=True):
        drawn.append(
            f'<g class="side s{numbers[side]}">{_point(numbers[side], x, y)}'
            f'<text x="{x + 10:.0f}" y="{y + 4:.1f}">{escape(side)}</text></g>'
        )
    y += 26
    begin = y
    for case in figures.cases:
        sides = [side for side in figures.sides if (case, side) in found]
        middle = y + _ROW * (len(sides) - 1) / 2 + 4
        drawn.append(
            f'<text class="end" x="{_ACROSS[0] - 14}" y="{middle:.1f}">{escape(case)}</text>'
        )
        for side in sides:
            values = found[case, side]
            least, most = along.at(values[0]), along.at(values[-1])
            x = along.at(statistics.median(values))
            drawn.append(
                f'<g class="side s{numbers[side]}"><path class="range" d="M{least:.1f} {y:.1f}'
                f'H{most:.1f}"/>{_point(numbers[side], x, y)}<text x="{most + 10:.1f}" '
                f'y="{y + 4:.1f}">{statistics.median(values):.1f}</text></g>'
            )
            y += _ROW
        y += _ROW * 0.6
    grid = "".join(
        f'<path class="grid" d="M{along.at(tick):.1f} {begin - 10:.0f}V{y - 8:.0f}"/>'
        f'<text class="tick middle" x="{along.at(tick):.1f}" y="{y + 8:.0f}">{tick:g}</text>'
        for tick in along.ticks()
    )
    return _document(title, [grid, *drawn], int(y + 20))


def _numbers(sides: list[str]) -> dict[str, int]:
    """The color and the shape of each side; those of Spech are the same in all plots."""
    others = [side for side in sides if side not in _OURS]
    return _OURS | {side: len(_OURS) + number for number, side in enumerate(others)}


def _point(number: int, x: float, y: float) -> str:
    shape = _SHAPES[number % len(_SHAPES)]
    return f'<g class="mark" transform="translate({x:.1f} {y:.1f})">{shape}</g>'


def _places(names: list[str]) -> list[float]:
    """Places side by side for the names of a legend."""
    widths = [30 + 7.2 * len(name) for name in names]
    return [_ACROSS[0] + sum(widths[:number]) for number in range(len(names))]


class _Scale:
    """Places of values on an axis."""

    def __init__(self, values: list[float], places: tuple[float, float], *, log: bool) -> None:
        self._log = log
        self._from, self._to = places
        if log:
            positive = [value for value in values if value > 0] or [1.0]
            self._least, self._most = math.log10(min(positive)), math.log10(max(positive))
            room = 0.06 * (self._most - self._least or 1)
            self._least, self._most = self._least - room, self._most + room
        else:
            self._least, self._most = 0.0, 1.08 * max(values, default=1.0)

    def at(self, value: float) -> float:
        if self._log:
            value = math.log10(value) if value > 0 else self._least
        share = (value - self._least) / (self._most - self._least)
        return self._from + max(0.0, min(1.0, share)) * (self._to - self._from)

    def ticks(self) -> list[float]:
        """Round values within the axis."""
        if self._log:
            decades = range(math.floor(self._least), math.ceil(self._most) + 1)
            every = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
            return [one for one in every if self._least <= math.log10(one) <= self._most]
        rough = self._most / 5
        unit = 10 ** math.floor(math.log10(rough))
        step = next(unit * one for one in (1, 2, 5, 10) if unit * one >= rough)
        return [step * number for number in range(int(self._most / step) + 1)]


def _axes(along: _Scale, up: _Scale, across: str, cases: list[float]) -> str:
    right = _WIDTH - _RIGHT
    drawn = []
    for tick in up.ticks():
        y = up.at(tick)
        drawn.append(
            f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>'
            f'<text class="tick end" x="{_LEFT - 8}" y="{y + 4:.1f}">{tick:g}</text>'
        )
    taken, below = math.inf, _HEIGHT - _BOTTOM + 20
    for case in reversed(cases):  # The last one is labelled in any case.
        x = along.at(case)
        drawn.append(f'<path class="grid" d="M{x:.1f} {_HEIGHT - _BOTTOM}v5"/>')
        if taken - x >= 26:
            drawn.append(f'<text class="tick middle" x="{x:.1f}" y="{below}">{case:g}</text>')
            taken = x
    middle = (_LEFT + right) / 2
    drawn.append(
        f'<text class="tick middle" x="{middle}" y="{_HEIGHT - 8}">{escape(across)}</text>'
    )
    return "".join(drawn)


def _spaced(places: list[float], apart: float = 17.0) -> list[float]:
    """Places of labels near the wanted ones that do not overlap."""
    order = sorted(range(len(places)), key=lambda number: places[number])
    moved = list(places)
    for before, number in itertools.pairwise(order):
        moved[number] = max(moved[number], moved[before] + apart)
    return moved


def _document(title: str, drawn: list[str], height: int = _HEIGHT) -> str:
    body = "\n  ".join(drawn)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" \
font-family="system-ui, sans-serif" font-size="13" role="img" aria-labelledby="title">
  <title id="title">{escape(title)}</title>
  <style>
    {_SHAPE}
    {_style(_LIGHT, 0)}
    @media (prefers-color-scheme: dark) {{
    {_style(_DARK, 1)}
    }}
  </style>
  <rect width="{_WIDTH}" height="{height}" rx="6"/>
  <text class="title" x="16" y="26">{escape(title)}</text>
  {body}
</svg>
"""


def _style(colours: str, kind: int) -> str:
    sides = "".join(
        f" .s{number} {{ fill: {pair[kind]}; stroke: {pair[kind]} }}"
        for number, pair in enumerate(_COLOURS)
    )
    return colours + sides
