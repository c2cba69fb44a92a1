"""The cost of every parser grows at most linearly with its input.

Nothing here looks at a clock. Two things together show it:

- Each regular expression takes linear time for every text: that is decided from the expression
  and from how the code uses it (``ambiguity.py``).
- All else is counted while a parser reads repeated characters: each call of a Python function or of
  a built-in one, and for a regular expression the characters that it was given to read. For single
  characters each line that runs is counted as well, and for methods of strings and bytes their
  length, because they may read all of it. Twice the input may cost about twice as much.

What libraries in C do inside one call (expat, msgspec, OpenSSL) is not seen here: the script
``bench/parser_cost.py`` measures the time of each parser on the largest input.
"""

from __future__ import annotations

import ast
import cProfile
import importlib
import inspect
import pkgutil
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any

import pytest

import spech.rtp
import spech.sip
import spech.web
import spech.websocket

from .ambiguity import superlinear
from .parsers import PARSERS, SPECIAL, Parser, pairs, repeated

_SHORT, _LONG = 4_000, 8_000
#: Twice the input may cost this much more; four times would be quadratic. What is above two leaves
#: room for a longer way that begins at some length.
_FACTOR = 2.6
#: Work that does not depend on the input.
_CONSTANT = 6_000

_SIZED = (str, bytes, bytearray, memoryview)
_REPEATING = frozenset({"sub", "subn", "split", "finditer", "findall"})
_SEARCHING = _REPEATING | {"search"}


def modules() -> Iterator[ModuleType]:
    """The modules that read what strangers send."""
    for package in (spech.sip, spech.rtp, spech.web, spech.websocket):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


def uses() -> dict[tuple[str, str], set[str]]:
    """The methods that are called on each regular expression, by module and name."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for module in modules():
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                name = node.value.id
                if isinstance(getattr(module, name, None), re.Pattern):
                    found[module.__name__, name].add(node.attr)
    return found


USES = uses()


def test_every_used_expression_is_found() -> None:
    assert len(USES) > 50
    assert "sub" in USES["spech.sip.message.grammar", "_QUOTED_PAIR"]


@pytest.mark.parametrize(("module", "name"), USES, ids=[".".join(use) for use in USES])
def test_every_expression_takes_linear_time(module: str, name: str) -> None:
    pattern = getattr(sys.modules[module], name)
    methods = USES[module, name]
    for method in methods & {"match", "fullmatch", *_SEARCHING}:
        assert None is superlinear(
            pattern,
            whole=method == "fullmatch",
            searches=method in _SEARCHING,
            repeats=method in _REPEATING,
        )


@pytest.mark.parametrize(
    ("expression", "options"),
    [
        (r"(a*)*b", {}),
        (r"(?:a|ab|b)*c", {}),
        (r"a*a*b", {}),
        (r"[a:]*:[a:]*", {"whole": True}),
        (r"\s*a?\s*$", {"whole": True}),
        (r"a*b", {"searches": True}),
        (r'"[^"\\]*(?:\\.[^"\\]*)*"', {"searches": True}),
        (r"a(?:[ab]*c)?", {"searches": True, "repeats": True}),
    ],
)
def test_superlinear_expressions_are_recognized(expression: str, options: dict[str, bool]) -> None:
    assert superlinear(re.compile(expression), **options) is not None


# Counting.


class Work:
    """Counts what a parser does."""

    def __init__(self) -> None:
        self.units = 0

    def closely(self, parser: Parser, data: bytes) -> int:
        """The calls and lines of one run, and what methods of text were given to read."""
        self.units = 0
        sys.setprofile(self._profile)
        sys.settrace(self._trace)
        try:
            parser(data)
        finally:
            sys.settrace(None)
            sys.setprofile(None)
        return self.units

    def quickly(self, parser: Parser, data: bytes) -> int:
        """The calls of one run: less, but in a fraction of the time."""
        self.units = 0
        profiler = cProfile.Profile()
        profiler.enable()
        try:
            parser(data)
        finally:
            profiler.disable()
        return self.units + sum(entry.callcount for entry in profiler.getstats())

    def _profile(self, frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call":
            owner = called.__self__
            self.units += 1 + (len(owner) if isinstance(owner, _SIZED) else 0)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.units += 1
        return self._trace


class Counted:
    """A regular expression that counts what it is given to read."""

    def __init__(self, pattern: re.Pattern[Any], work: Work) -> None:
        self._pattern = pattern
        self._work = work

    def _one(self, method: str, text: Any, position: int) -> Any:
        found = getattr(self._pattern, method)(text, position)
        self._work.units += (found.end() if found else len(text)) - position
        return found

    def match(self, text: Any, position: int = 0) -> Any:
        return self._one("match", text, position)

    def fullmatch(self, text: Any, position: int = 0) -> Any:
        return self._one("fullmatch", text, position)

    def search(self, text: Any, position: int = 0) -> Any:
        return self._one("search", text, position)

    def sub(self, replacement: Any, text: Any) -> Any:
        self._work.units += len(text)
        return self._pattern.sub(replacement, text)

    def split(self, text: Any) -> Any:
        self._work.units += len(text)
        return self._pattern.split(text)

    def finditer(self, text: Any) -> Any:
        self._work.units += len(text)
        return self._pattern.finditer(text)


@pytest.fixture(scope="module")
def work() -> Iterator[Work]:
    """Counts, with every regular expression of the parsers replaced by one that counts."""
    counter = Work()
    with pytest.MonkeyPatch.context() as patch:
        for module in modules():
            for name, value in tuple(vars(module).items()):
                if isinstance(value, re.Pattern):
                    patch.setattr(module, name, Counted(value, counter))
        yield counter


@contextmanager
def coverage_kept() -> Iterator[None]:
    """Restores other tracers and profilers afterwards."""
    tracing, profiling = sys.gettrace(), sys.getprofile()
    try:
        yield
    finally:
        sys.settrace(tracing)
        sys.setprofile(profiling)


def growing(
    parser: Parser, chosen: Iterable[bytes], count: Callable[[Parser, bytes], int]
) -> list[tuple[bytes, bytes, int, int]]:
    """The places and texts for which twice the input costs far more than twice."""
    found = []
    texts = tuple(chosen)
    with coverage_kept():
        for place in parser.places:
            for unit in texts:
                short = count(parser, repeated(place, unit, _SHORT))
                long = count(parser, repeated(place, unit, _LONG))
                if long > _FACTOR * short + _CONSTANT:
                    found.append((place[0][-20:], unit, short, long))
    return found


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_repeated_characters_cost_linear_time(work: Work, parser: Parser) -> None:
    assert growing(parser, SPECIAL, work.closely) == []


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_repeated_pairs_cost_linear_time(work: Work, parser: Parser) -> None:
    """In one order: repeated, the other order is the same text but for its first character."""
    chosen = [pair for pair in pairs() if pair[:1] < pair[1:]]
    assert growing(parser, chosen, work.quickly) == []


def test_superlinear_parsers_are_recognized(work: Work) -> None:
    def slices(data: bytes) -> None:
        while data:
            data = data.removeprefix(b"a")

    def searches(data: bytes) -> None:
        for position in range(len(data)):
            pattern.search(data, position)

    pattern = Counted(re.compile(b"x"), work)
    assert growing(Parser("slices", slices), [b"a"], work.closely) != []
    assert growing(Parser("searches", searches), [b"a"], work.closely) != []
    assert growing(Parser("searches", searches), [b"a"], work.quickly) != []
