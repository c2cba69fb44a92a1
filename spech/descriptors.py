"""Limits on connections from outside, derived from the limit on open files.

A call needs descriptors too: two UDP sockets, a connection to its peer, a file that it records to.
So a quarter of ``RLIMIT_NOFILE`` is reserved for calls, and :data:`_OWN_USE` for the process.
SIP and the web (page, control and audio together) get half of the rest each, so that neither can
starve the other.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from types import TracebackType
from typing import Final, Literal

from spech.shares import source_of

try:
    import resource
except ImportError:  # Windows, where sockets are not files.
    resource = None  # type: ignore[assignment]

#: Connections that one source may have open while they are not trusted.
PER_SOURCE: Final = 32
#: Descriptors of the process itself: listeners, the event loop, logs, name servers.
_OWN_USE: Final = 32
#: Upper limit, because more connections need too much memory.
_MOST: Final = 1000
#: Lower limit, however few files the process may open.
_LEAST: Final = 8


class ConnectionBudget:
    """Counts the open connections of one kind against a limit, and against one for each source.

    Args:
        limit: connections at once.
        per_source: connections at once of one source that are not trusted. A source is an IPv4
            address or an IPv6 network of 64 bits.
    """

    def __init__(self, limit: int, per_source: int = PER_SOURCE) -> None:
        self.limit = limit
        self.per_source = per_source
        self.count = 0
        self._held: Counter[str] = Counter()

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self.count >= self.limit

    def room_for(self, host: str) -> bool:
        """Whether the source of ``host`` is below its own limit."""
        return self._held[source_of(host)] < self.per_source

    def admit(self, host: str) -> Admission | None:
        """Count a connection from the numeric address ``host``; None if a limit is reached."""
        if self.full or not self.room_for(host):
            return None
        return Admission(self, source_of(host))

    def _add(self, source: str, step: int) -> None:
        self._held[source] += step
        if not self._held[source]:
            del self._held[source]


class Admission:
    """One connection that :meth:`ConnectionBudget.admit` counted. A context manager.

    Leaving the block, or :meth:`release`, returns it to the budget.
    """

    def __init__(self, budget: ConnectionBudget, source: str) -> None:
        self._budget = budget
        self._source: str | None = source
        self._open = True
        budget.count += 1
        budget._add(source, 1)

    def trust(self) -> None:
        """Stop counting it against its source, because the peer is trusted. Idempotent."""
        if self._source is not None:
            self._budget._add(self._source, -1)
            self._source = None

    def release(self) -> None:
        """Stop counting it. Idempotent."""
        self.trust()
        if self._open:
            self._open = False
            self._budget.count -= 1

    def __enter__(self) -> Admission:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


@cache
def connection_budget(kind: Literal["sip", "web"]) -> ConnectionBudget:
    """The budget of this process for connections of one kind, made at the first call.

    All endpoints and servers of the process share it, because they share the descriptors.
    """
    return ConnectionBudget(connection_limit(_open_files()))


def _open_files() -> int:
    """How many files this process may open; -1 is no limit."""
    return -1 if resource is None else resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def connection_limit(descriptors: int) -> int:
    """The limit for connections of one kind, given that on open files; -1 is no limit."""
    if descriptors == -1:
        return _MOST
    share = (descriptors - descriptors // 4 - _OWN_USE) // 2
    return min(max(share, _LEAST), _MOST)
