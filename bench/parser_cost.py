"""The longest time that each parser takes for the largest input that strangers can send.

    python -m bench.parser_cost [--pairs] [PARSER ...]

Every special character, with ``--pairs`` also every pair of them, fills each place of each parser's
input (``tests/cost/parsers.py``), up to 65,535 bytes, and up to smaller limits of some parsers:
32,768 bytes of a body, 8,192 characters of a line. The script prints the longest time of each
parser with the input that caused it: the best of three runs, in process time. The exit status is 1
if one takes longer than 20 ms, unless it reads our own files, which no stranger writes.
``tests/cost`` finds superlinear growth by counting; this script shows how long the counted work
takes, including libraries in C.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import time
from typing import Final

from tests.cost.parsers import KINDS, PAIRS, PARSERS, SPECIAL, USERS, Parser

_SIZES: Final = (65_535, 32_768, 8_192)
_LIMIT: Final = 0.020
_RUNS: Final = 3


def seconds(parser: Parser, data: bytes) -> float:
    """The shortest time of a run; a single run is enough if it is far below the limit."""
    best = float("inf")
    for _ in range(_RUNS):
        begun = time.process_time()
        parser(data)
        best = min(best, time.process_time() - begun)
        if best < _LIMIT / 4:
            break
    return best


def slowest(parser: Parser, texts: list[bytes]) -> tuple[float, bytes, bytes]:
    """The longest time, and the place and the text that caused it."""
    found = (0.0, b"", b"")
    for (before, after), text, size in itertools.product(parser.places, texts, _SIZES):
        room = size - len(before) - len(after)
        data = before + (text * room)[:room] + after
        found = max(found, (seconds(parser, data), before, text))
    return found


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--pairs", action="store_true", help="repeat pairs of characters too")
    arguments.add_argument("parsers", nargs="*", help="names of parsers; all without any")
    asked = arguments.parse_args()
    texts = [*SPECIAL, *PAIRS] if asked.pairs else SPECIAL
    logging.disable()
    slow = 0
    for parser in (*PARSERS, *USERS):
        if asked.parsers and parser.name not in asked.parsers:
            continue
        took, before, text = slowest(parser, texts)
        too_long = took > _LIMIT and parser not in KINDS["files"]
        slow += too_long
        mark = "  TOO LONG" if too_long else ""
        print(
            f"{parser.name:>20} {took * 1e3:7.2f} ms  {before[-32:]!r} {text!r}{mark}", flush=True
        )
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
