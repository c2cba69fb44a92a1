"""Decides whether a regular expression takes linear time, from the expression alone.

Python's matcher tries one path after another. On a text that does not match it tries all of them,
so its time is the number of paths. That number grows linearly with the text for every text exactly
when the expression, as an automaton of positions (Glushkov), has no two states p and q and no word
w that leads from p to p, from p to q and from q to q (Weber and Seidl, 1991; for matchers that
backtrack: Weideman and others, 2016). A search tries the expression again from each character: that
is one more state in front, which loops on everything.

What cannot fail costs nothing: once a path has reached an accepting state, the matcher stops there
at the latest. So accepting states are omitted, unless the end of the text must be reached
(``fullmatch``).

Simplified, on the safe side: an assertion counts as text that is read, but for one in front, and
anchors are ignored, but for ``^`` at the beginning of a search, which then begins at lines only.
Repetitions with a large limit count as endless: ``{1,256}`` may make a text 256 times as expensive.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from re import _compiler, _constants, _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

_LETTERS = (*map(chr, range(128)), "\x85", "é", "\u0660", "\u2028", "\ud800", "\U0001f600")
_LEAVES = (_constants.LITERAL, _constants.NOT_LITERAL, _constants.ANY, _constants.IN)
_ASSERTIONS = (_constants.ASSERT, _constants.ASSERT_NOT)
_COPIES = 2
#: A repetition with a higher limit counts as endless.
_SMALL = 8


class _Part(NamedTuple):
    """Positions of one part of an expression that can begin and end it."""

    nullable: bool
    first: frozenset[int]
    last: frozenset[int]


_EMPTY = _Part(True, frozenset(), frozenset())


class Automaton:
    """The positions of an expression, the letters that they read, and what may follow each."""

    def __init__(self, pattern: re.Pattern[str] | re.Pattern[bytes]) -> None:
        text = pattern.pattern
        shown = text if isinstance(text, str) else text.decode("latin-1")
        self._tree = _parser.parse(shown, pattern.flags & ~re.ASCII & ~re.LOCALE)
        self.letters: list[frozenset[str]] = []
        self.follow: dict[int, set[int]] = defaultdict(set)
        #: Whether two paths of the expression are one path of the automaton, as in ``(a*)*``.
        self.doubled = False
        self.whole = self._with_assertions_in_front(tuple(self._tree))
        self.accepting = self.whole.last
        #: Whether a search tries it at the beginnings of lines only.
        self.of_lines = len(self._tree) > 0 and self._tree[0][0] is _constants.AT

    def _with_assertions_in_front(self, nodes: tuple[Any, ...]) -> _Part:
        """The text is read by these assertions first, and then once more."""
        ahead: frozenset[int] = frozenset()
        while nodes and nodes[0][0] in _ASSERTIONS:
            ahead |= self._part(nodes[0]).first
            nodes = nodes[1:]
        whole = self._sequence(nodes)
        return whole._replace(first=whole.first | ahead)

    def _sequence(self, nodes: Iterable[Any]) -> _Part:
        whole = _EMPTY
        for node in nodes:
            whole = self._joined(whole, self._part(node))
        return whole

    def _joined(self, left: _Part, right: _Part) -> _Part:
        self._connect(left.last, right.first)
        return _Part(
            left.nullable and right.nullable,
            left.first | right.first if left.nullable else left.first,
            left.last | right.last if right.nullable else right.last,
        )

    def _connect(self, sources: Iterable[int], targets: Iterable[int]) -> None:
        targets = frozenset(targets)
        for source in sources:
            self.doubled |= bool(self.follow[source] & targets)
            self.follow[source] |= targets

    def _part(self, node: tuple[Any, Any]) -> _Part:
        kind, value = node
        if kind in _LEAVES:
            return self._leaf(node)
        if kind is _constants.SUBPATTERN:
            return self._sequence(value[3])
        if kind in _ASSERTIONS:
            return self._sequence(value[1])
        if kind is _constants.BRANCH:
            parts = [self._sequence(branch) for branch in value[1]]
            return _Part(
                any(part.nullable for part in parts),
                frozenset().union(*(part.first for part in parts)),
                frozenset().union(*(part.last for part in parts)),
            )
        if kind in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            return self._repeated(*value)
        if kind is _constants.AT:
            return _EMPTY
        raise NotImplementedError(f"{kind} in {self._tree}")

    def _leaf(self, node: tuple[Any, Any]) -> _Part:
        single = _compiler.compile(_parser.SubPattern(self._tree.state, [node]))
        position = len(self.letters)
        self.letters.append(frozenset(one for one in _LETTERS if single.fullmatch(one)))
        here = frozenset({position})
        return _Part(False, here, here)

    def _repeated(self, least: int, most: int, nodes: Any) -> _Part:
        whole = _EMPTY
        for _ in range(min(least, _COPIES)):
            whole = self._joined(whole, self._sequence(nodes))
        if most > _SMALL:
            part = self._sequence(nodes)
            self._connect(part.last, part.first)
            return self._joined(whole, part._replace(nullable=True))
        for _ in range(min(most - least, _COPIES)):
            part = self._sequence(nodes)
            whole = self._joined(whole, part._replace(nullable=True))
        return whole


def superlinear(
    pattern: re.Pattern[str] | re.Pattern[bytes],
    *,
    whole: bool = False,
    searches: bool = False,
    repeats: bool = False,
) -> str | None:
    """Why some text takes more than linear time, or None.

    Args:
        whole: the expression must match to the end of the text (``fullmatch``).
        searches: it is tried from each character on (``search``, ``sub``, ``split``).
        repeats: it is applied again from the end of each match on, so that nothing behind a match
            may be read in vain.
    """
    automaton = Automaton(pattern)
    if automaton.doubled:
        return "two ways through one repetition"
    letters, follow = automaton.letters, automaton.follow
    if whole:  # What accepts any text cannot fail either.
        harmless = {
            one
            for one in automaton.accepting
            if one in follow[one] and len(letters[one]) >= len(_LETTERS) - 1
        }
    else:
        harmless = set(automaton.accepting)
    states = {one for one in range(len(letters)) if one not in harmless}
    edges = {one: {other for other in follow[one] if other in states} for one in states}
    if repeats:
        behind = _reachable(automaton.accepting, {**follow, **edges}) & states
        looping = [one for one in behind if one in _reachable(edges[one], edges)]
        if looping:
            return "what follows a match is read in vain"
    reads = {one: letters[one] for one in states}
    if searches:
        begin, line_end = -1, -2
        first = {one for one in automaton.whole.first if one in states}
        states |= {begin, line_end}
        reads |= {begin: frozenset(_LETTERS), line_end: frozenset("\n")}
        edges |= {begin: {begin, line_end}, line_end: first}
        if not automaton.of_lines:
            edges[begin] |= first
    return _ambiguous(states, edges, reads)


def _reachable(sources: Iterable[int], edges: dict[int, set[int]]) -> set[int]:
    found, waiting = set(sources), list(sources)
    while waiting:
        for other in edges.get(waiting.pop(), ()):
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found


def _ambiguous(
    states: set[int], edges: dict[int, set[int]], reads: dict[int, frozenset[str]]
) -> str | None:
    reached = {one: _reachable(edges[one], edges) for one in states}
    loops = [one for one in states if one in reached[one]]
    circle = {one: {other for other in reached[one] if one in reached[other]} for one in loops}
    kinds = _kinds(states, reads)
    for one in loops:
        if _meets((one, one), (one, one), edges, kinds, [circle[one]] * 2, distinct=True):
            return "a repetition with two ways to read the same text"
        for other in loops:
            if one == other or other not in reached[one]:
                continue
            between = reached[one] & {*circle[other], *(s for s in states if other in reached[s])}
            within = [circle[one], between | {one}, circle[other]]
            if _meets((one, one, other), (one, other, other), edges, kinds, within):
                return f"repetitions that share a text: {sorted(reads[one] & reads[other])[:8]}"
    return None


def _kinds(states: set[int], reads: dict[int, frozenset[str]]) -> dict[int, frozenset[int]]:
    """The letters by kind: those that no state tells apart are one."""
    known: dict[frozenset[int], int] = {}
    kinds: dict[int, set[int]] = {one: set() for one in states}
    for letter in _LETTERS:
        readers = frozenset(one for one in states if letter in reads[one])
        number = known.setdefault(readers, len(known))
        for one in readers:
            kinds[one].add(number)
    return {one: frozenset(numbers) for one, numbers in kinds.items()}


def _meets(
    source: tuple[int, ...],
    target: tuple[int, ...],
    edges: dict[int, set[int]],
    kinds: dict[int, frozenset[int]],
    within: list[set[int]],
    *,
    distinct: bool = False,
) -> bool:
    """Whether one word leads each state of ``source`` to that of ``target``.

    Args:
        within: the states that each path may pass.
        distinct: the paths must part on the way.
    """
    begin = (source, not distinct)
    found, waiting = {begin}, [begin]
    while waiting:
        at, parted = waiting.pop()
        for after in _steps(at, edges, kinds, within):
            now = parted or len(set(after)) > 1
            if after == target and now:
                return True
            if (after, now) not in found:
                found.add((after, now))
                waiting.append((after, now))
    return False


def _steps(
    at: tuple[int, ...],
    edges: dict[int, set[int]],
    kinds: dict[int, frozenset[int]],
    within: list[set[int]],
) -> Iterator[tuple[int, ...]]:
    """The states that one letter leads to."""
    partial: list[tuple[tuple[int, ...], frozenset[int] | None]] = [((), None)]
    for state, allowed in zip(at, within, strict=True):
        partial = [
            ((*path, after), common)
            for path, shared in partial
            for after in edges[state] & allowed
            if (common := kinds[after] if shared is None else shared & kinds[after])
        ]
    for path, _ in partial:
        yield path
