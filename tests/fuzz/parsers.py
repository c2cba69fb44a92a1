"""Feeds the parsers of one kind with coverage-guided mutations. Not a test: run it manually.

    pip install '.[dev]'
    python -m tests.fuzz.parsers --seeds FOLDER
    python -m tests.fuzz.parsers KIND -max_total_time=600 FOLDER/KIND

The kinds and their parsers are those of ``tests/cost/parsers.py``; ``all`` is every parser. The
first command writes input for each place of each parser into a folder for each kind, where mutation
begins. The second one collects the inputs there that reach new code, so that another run continues
from them. The options are those of libFuzzer. An input that makes a parser fail is written to a
file, and is run again with ``python -m tests.fuzz.parsers KIND FILE``.

The first byte of an input chooses the parser, and the rest is what it reads.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["spech"]):
    from tests.cost.parsers import KINDS, Parser

_TORTURE = Path(__file__).parents[1] / "sip/data"


def parsers_of(kind: str) -> tuple[Parser, ...]:
    """The parsers of a kind, of which the first byte of an input chooses one."""
    return tuple(chain(*KINDS.values())) if kind == "all" else KINDS[kind]


def seeds(parsers: tuple[Parser, ...]) -> Iterator[bytes]:
    """Input for each place of each parser."""
    for number, parser in enumerate(parsers):
        for before, after in parser.places:
            yield bytes((number,)) + before + b"1" + after
        if parser.name in ("message", "salvage", "stream"):
            for path in sorted(_TORTURE.glob("*.dat")):
                yield bytes((number,)) + path.read_bytes()


def write_seeds(folder: Path) -> None:
    for kind in ("all", *KINDS):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds(parsers_of(kind))):
            (folder / kind / f"seed-{number:03}").write_bytes(seed)


def fuzz(kind: str) -> None:
    parsers = parsers_of(kind)

    def one_input(data: bytes) -> None:
        if data:
            parsers[data[0] % len(parsers)](data[1:])

    logging.disable()
    atheris.Setup([sys.argv[0], *sys.argv[2:]], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1] == "--seeds":
        write_seeds(Path(sys.argv[2]))
    else:
        fuzz(sys.argv[1])
