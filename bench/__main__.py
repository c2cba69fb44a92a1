"""Measures Spech beside other programs on this machine, in turns; see bench/README.md.

    make bench                        all parts, 40 minutes on two cores; then docs/performance.md
    make bench ARGS="bridge setup"    these parts
    make bench ARGS="--list"          the parts, and how long each takes

Results go to a file of bench/results for each run. A run that was interrupted goes on where it
stopped, if the sources are the same; ``--new`` begins another one.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench import machine, report, servers
from bench.parts import Part, Scale, Side
from bench.parts.all import PARTS
from bench.results import FOLDER, Measurement, Run, runs


def turns(parts: list[Part], rounds: int) -> Iterator[tuple[Part, int, str, Side]]:
    """Everything to measure: the sides of a part in turns, round by round."""
    for part in parts:
        sides = part.sides()
        for number in range(1, rounds + 1):
            for name, side in sides.items():
                yield part, number, name, side


def current(folder: Path, scale: Scale, *, new: bool) -> Run:
    """The newest run, if it was made here in the same way from the same sources; else a new one."""
    measured = f"{scale.seconds:g} s each, up to {scale.calls} calls"
    about = machine.describe() | {"measured": measured}
    stored = runs(folder)
    if stored and stored[-1].about == about and not new:
        return stored[-1]
    return Run.begin(folder, about)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all without")
    parser.add_argument("--list", action="store_true", help="list the parts and how long they take")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a measurement (3)")
    parser.add_argument("--calls", type=int, default=400, help="calls at once at most (400)")
    parser.add_argument("--new", action="store_true", help="begin a new run")
    parser.add_argument("--results", type=Path, default=FOLDER, metavar="FOLDER")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    parts = [part for name, part in PARTS.items() if not options.parts or name in options.parts]
    if options.list:
        for part in parts:
            minutes = part.seconds * len(part.sides()) * options.rounds / 60
            print(f"{part.name:12} {minutes:5.1f} minutes  {part.title}")
        return
    if "Spech, compiled" not in servers.builds():
        print("dist/ has no compiled wheel of these sources (`make wheel`): measuring without it")
    scale = Scale(options.seconds, options.calls)
    run = current(options.results, scale, new=options.new)
    left = [turn for turn in turns(parts, options.rounds) if not run.has(turn[0].name, *turn[1:3])]
    failed = measure(run, left, scale)
    print(f"run {run.name} UTC, in {os.path.relpath(run.path or '')}")
    if options.results == FOLDER:
        report.write()
    if failed:
        sys.exit(f"{failed} turns failed; the next run tries them again")


def measure(run: Run, left: list[tuple[Part, int, str, Side]], scale: Scale) -> int:
    """Measure what is left, and store each turn; return how many failed."""
    failed = 0
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    ) as progress:
        task = progress.add_task("", total=sum(int(part.seconds) for part, *_ in left))
        for part, number, name, side in left:
            title = f"{part.title}, round {number}: {name}"
            progress.update(task, description=title)
            if not progress.console.is_terminal:
                print(title, flush=True)
            try:
                with machine.watching(os.getpid()) as window:
                    measured = list(side(scale))
            except Exception as error:  # The other turns are worth their time.
                progress.print(f"{part.name}, round {number}, {name} failed: {error!r}")
                failed += 1
            else:
                # Most parts know better what happened during their own measurements.
                beside = window.values()
                run.add(
                    [
                        Measurement(part.name, number, name, case, {**beside, **values})
                        for case, values in measured
                    ]
                )
            progress.advance(task, int(part.seconds))
    return failed


if __name__ == "__main__":
    # Not in main(), which tests call: they read warnings of Spech afterwards.
    logging.getLogger("spech").setLevel(logging.ERROR)
    main()
