"""The cost of every parser grows at most linearly with its input.

Nothing here looks at a clock. Two things together show it:

- Each regular expression takes linear time for every text: that is decided from the expression
  and from how the code uses it (``ambiguity.py``).
- All else is counted while a parser reads repeated characters: each call of a Python function or of
  a built-in one, and for a regular expression the characters that it was given to read. For single
  characters each line that runs is counted as well, and for methods of strings and bytes their
  length, because they may read all of it. Twice the input may cost about twice as much.

The texts are every special character and every two of them in both orders, 4,000 and 8,000 times.
Counting all of these takes twenty minutes, so they are repeated 32 times first: those that make the
parser call the same functions equally often, and read as much with regular expressions, are one
kind, and one of each kind is repeated more often.

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any

import pytest

import spech

from .ambiguity import superlinear
from .parsers import PAIRS, PARSERS, SPECIAL, USERS, Parser, repeated

_SCREENED, _SHORT, _LONG = 32, 4_000, 8_000
#: Twice the input may cost this much more; four times would be quadratic.
_FACTOR = 2.6
#: Work that does not depend on the input.
_CONSTANT = 6_000

_SIZED = (str, bytes, bytearray, memoryview)
#: Methods of a bytearray that read what is added to it, and none of what it holds.
_ADDING = frozenset({"append", "extend"})
_MAKING = frozenset(
    f"re.{name}" for name in ("compile", "match", "fullmatch", "search", "sub", "split", "findall")
)
_REPEATING = frozenset({"sub", "subn", "split", "finditer", "findall"})
_SEARCHING = _REPEATING | {"search"}


def modules() -> Iterator[ModuleType]:
    """All modules but those for tests, the command itself, and those that need a framework."""
    for found in pkgutil.walk_packages(spech.__path__, "spech."):
        if not found.name.startswith(("spech.testing", "spech.__main__", "spech.contrib.")):
            yield importlib.import_module(found.name)


def uses() -> tuple[dict[tuple[str, str], set[str]], list[str]]:
    """The methods that are called on each regular expression, by module and name.

    The second value lists what is not seen: an expression that does not have a name in its module,
    and one that is used in another way than by calling its methods.
    """
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    hidden = []
    for module in modules():
        tree = ast.parse(inspect.getsource(module))
        named = {node.value for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)}
        methods = {node.value: node for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Name | ast.Call):
                continue
            if isinstance(node, ast.Call):
                if ast.unparse(node.func) in _MAKING and node not in named:
                    hidden.append(f"{module.__name__}:{node.lineno}")
            elif isinstance(getattr(module, node.id, None), re.Pattern):
                if node in methods:
                    found[module.__name__, node.id].add(methods[node].attr)
                elif isinstance(node.ctx, ast.Load):
                    hidden.append(f"{module.__name__}:{node.lineno}")
    return found, hidden


USES, HIDDEN = uses()


def test_every_used_expression_is_found() -> None:
    assert len(USES) > 50
    assert "sub" in USES["spech.sip.message.grammar", "_QUOTED_PAIR"]
    assert HIDDEN == []


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
        (r"a{1,256}b", {"searches": True}),
        (r"(?=a*a*b)a", {}),
        (r"a*a*(?=b)", {}),
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

    def calls(self, parser: Parser, data: bytes) -> tuple[frozenset[tuple[object, int]], int]:
        """How often each function was called in one run, and what expressions were given to read.

        This takes a fraction of the time of counting closely.
        """
        self.units = 0
        profiler = cProfile.Profile(subcalls=False)
        profiler.enable()
        try:
            parser(data)
        finally:
            profiler.disable()
        called = frozenset((entry.code, entry.callcount) for entry in profiler.getstats())
        return called, self.units

    def quickly(self, parser: Parser, data: bytes) -> int:
        """The calls of one run, and what expressions were given to read."""
        called, units = self.calls(parser, data)
        return units + sum(count for _, count in called)

    def _profile(self, frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call":
            owner = called.__self__
            reads = isinstance(owner, _SIZED) and called.__name__ not in _ADDING
            self.units += 1 + (len(owner) if reads else 0)

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
    work: Work, parser: Parser, texts: Sequence[bytes], count: Callable[[Parser, bytes], int]
) -> list[tuple[bytes, bytes, tuple[int, ...]]]:
    """The places and texts whose cost grows faster than they do, and the counts."""
    found = []
    with coverage_kept():
        for place in parser.places:
            kinds: dict[object, bytes] = {}
            for unit in texts:
                kinds.setdefault(work.calls(parser, repeated(place, unit, _SCREENED)), unit)
            for unit in kinds.values():
                counts = tuple(
                    count(parser, repeated(place, unit, times)) for times in (_SHORT, _LONG)
                )
                if too_much(*counts):
                    # A longer way may begin at this length, so it is doubled once more.
                    counts += (count(parser, repeated(place, unit, 2 * _LONG)),)
                    if too_much(*counts[1:]):
                        found.append((place[0][-20:], unit, counts))
    return found


def too_much(short: int, long: int) -> bool:
    """Whether twice the input costs far more than twice."""
    return long > _FACTOR * short + _CONSTANT


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_repeated_characters_cost_linear_time(work: Work, parser: Parser) -> None:
    assert growing(work, parser, SPECIAL, work.closely) == []


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_repeated_pairs_cost_linear_time(work: Work, parser: Parser) -> None:
    assert growing(work, parser, PAIRS, work.quickly) == []


@pytest.mark.parametrize("parser", USERS, ids=lambda parser: parser.name)
def test_users_of_parsers_take_linear_time(work: Work, parser: Parser) -> None:
    """The parsers that they use have been given all pairs of characters already."""
    assert growing(work, parser, SPECIAL, work.closely) == []


def test_superlinear_parsers_are_recognized(work: Work) -> None:
    def slices(data: bytes) -> None:
        while data:
            data = data.removeprefix(b"a")

    def searches(data: bytes) -> None:
        for position in range(len(data)):
            pattern.search(data, position)

    pattern = Counted(re.compile(b"x"), work)
    assert growing(work, Parser("slices", slices), [b"a"], work.closely) != []
    assert growing(work, Parser("searches", searches), [b"a"], work.closely) != []
    assert growing(work, Parser("searches", searches), [b"a"], work.quickly) != []
