"""Writes the measured part of docs/performance.md, and its plots, from stored results.

    python -m bench.report

Between ``<!-- bench: NAME -->`` and ``<!-- end -->`` the document is written by this program; the
rest is written by hand.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Final

from bench import aims
from bench.parts import Part
from bench.parts.all import PARTS
from bench.results import FOLDER, Figures, Run, runs

DOCUMENT: Final = Path(__file__).parents[1] / "docs" / "performance.md"
_PLACE: Final = re.compile(r"(<!-- bench: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def write(document: Path = DOCUMENT, folder: Path = FOLDER) -> None:
    """Replace what is between the marks, and write the plots beside the document."""
    stored = runs(folder)
    plots: dict[str, str] = {}

    def fill(found: re.Match[str]) -> str:
        name = found[2]
        if name == "machines":
            return f"{found[1]}{_machines(stored)}{found[3]}"
        if name == "aims":
            table = aims.table(stored) or "_Not measured yet: `make bench`._\n"
            return f"{found[1]}\n{table}\n{found[3]}"
        part = PARTS[name]
        figures = Figures(name, stored)
        if not figures:
            return f"{found[1]}\n_Not measured yet: `make bench ARGS={name}`._\n\n{found[3]}"
        plots.update(part.plots(figures))
        return f"{found[1]}\n{part.text(figures)}\n{_origin(part, figures)}\n\n{found[3]}"

    written = _PLACE.sub(fill, document.read_text())
    document.write_text(written)
    pictures = document.parent / "pictures"
    for left in pictures.glob("bench-*.svg"):
        left.unlink()
    for name, drawn in plots.items():
        (pictures / f"bench-{name}.svg").write_text(drawn)


def _origin(part: Part, figures: Figures) -> str:
    names = ", ".join(run.name for run in figures.runs)
    rounds = f"{figures.rounds} round{'s' if figures.rounds != 1 else ''}"
    origin = f"`make bench ARGS={part.name}`: run {names} UTC, {rounds}. {figures.beside()}"
    return textwrap.fill(origin, 100, break_long_words=False, break_on_hyphens=False)


def _machines(stored: list[Run]) -> str:
    """What each run that the document uses was made on."""
    used = {run.name: run for name in PARTS for run in Figures(name, stored).runs}
    if not used:
        return ""
    heads = "| run (UTC) | machine | interpreter and packages | Spech | Asterisk | other programs |"
    lines = [f"\n{heads}\n|---|---|---|---|---|---|\n"]
    for name in sorted(used):
        about = used[name].about
        lines.append(
            f"| {name} | {about['machine']} | {about['python']}; {about['packages']} "
            f"| {about['commit']} | {about.get('asterisk', '–')} | {about.get('others', '–')} |\n"
        )
    return "".join([*lines, "\n"])


if __name__ == "__main__":
    write()
