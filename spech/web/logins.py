"""Limits how often a source may guess the password."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Final

from spech.shares import source_of

_log: Final = logging.getLogger(__name__)

#: Failures that a source may have in a minute before it has to wait.
FAILURES = 5
_MINUTE = 60.0
#: The first wait after that, doubled by each further failure, and the longest one, in seconds.
_FIRST_DELAY = 2.0
_LONGEST_DELAY = 600.0
_MOST_DOUBLINGS = 16
#: Sources that are remembered; beyond it the one that failed least recently is forgotten.
_SOURCES = 10_000


class LoginLimiter:
    """Remembers failed logins for each source. ``now`` is in seconds, of any clock.

    A source is an IPv4 address or an IPv6 network of 64 bits. After five failures in a minute it
    has to wait, at first 2 s, twice as long after each further failure, up to 10 minutes. Its
    passwords are not compared during the wait. A source starts afresh when it has not failed for
    a minute after its last wait, or after a successful login under the one name that failed: who
    has an account cannot wipe out guesses at another's password.
    """

    def __init__(self) -> None:
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def wait(self, host: str, now: float) -> float:
        """Seconds that the source still has to wait; 0 where it may try a password."""
        failures = self._failures.get(source_of(host))
        return 0.0 if failures is None else max(0.0, failures.blocked_until - now)

    def fail(self, host: str, name: str, now: float) -> None:
        """Note and log a failed attempt to sign in under a name."""
        source = source_of(host)
        failures = self._failures.pop(source, None)
        if failures is None or now - failures.forgotten_from >= _MINUTE:
            failures = _Failures(_folded(name), now)
        if failures.name != _folded(name):
            failures.name = None
        failures.count += 1
        failures.forgotten_from = now
        if failures.count >= FAILURES:
            doublings = min(failures.count - FAILURES, _MOST_DOUBLINGS)
            delay = min(_FIRST_DELAY * 2.0**doublings, _LONGEST_DELAY)
            failures.blocked_until = failures.forgotten_from = now + delay
        self._failures[source] = failures
        if len(self._failures) > _SOURCES:
            self._failures.popitem(last=False)
        # One line in a fixed form, which docs/security.md gives to fail2ban.
        _log.warning("login failed from %s: wrong password", host)

    def succeed(self, host: str, name: str) -> None:
        """Forget the failures of the source if all were under this name."""
        source = source_of(host)
        failures = self._failures.get(source)
        if failures is not None and failures.name == _folded(name):
            del self._failures[source]


def _folded(name: str) -> str:
    return name.casefold()[:64]  # The longest that a person has.


class _Failures:
    """``name`` is the one that all were under, None if there were several. ``forgotten_from`` is
    the end of the last wait, or the last failure where there was none."""

    def __init__(self, name: str, now: float) -> None:
        self.name: str | None = name
        self.count = 0
        self.blocked_until = now
        self.forgotten_from = now
