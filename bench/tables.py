"""Tables of results, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from bench.results import Figures, spread


def sides_table(
    figures: Figures,
    rows: str,
    value: str,
    title: str,
    *,
    against: str = "",
    digits: int = 2,
    scale: float = 1.0,
) -> str:
    """One value of all cases and sides; with the ratios to the side ``against``, if it is there."""
    sides = [
        side for side in figures.sides
        if any(figures.values(side, case, value) for case in figures.cases)
    ]  # fmt: skip
    compared = [side for side in sides if side != against] if against in sides else []
    heads = [rows, *sides, *(f"{side} : {against}" for side in compared)]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for case in figures.cases:
        cells = [
            spread([scale * each for each in figures.values(side, case, value)], digits)
            for side in sides
        ]
        ratios = [spread(figures.ratios(side, against, case, value)) for side in compared]
        lines.append([case, *cells, *ratios])
    return f"{title}:\n\n{_drawn(lines)}"


def values_table(figures: Figures, rows: Mapping[str, tuple[str, int]]) -> str:
    """Several values of the one case of a part: a row for each, with its title and digits."""
    heads = ["", *figures.sides]
    lines = [heads, ["---", *["---:"] * len(figures.sides)]]
    for title, (value, digits) in rows.items():
        cells = [
            spread(figures.values(side, figures.cases[0], value), digits) for side in figures.sides
        ]
        lines.append([title, *cells])
    return _drawn(lines)


def _drawn(lines: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
