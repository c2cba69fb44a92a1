"""Errors at the edge of a connection: counted, and logged once for each source."""

from __future__ import annotations

import logging
from typing import Final

import trio

from spech.web.texts import first_of

_log: Final = logging.getLogger(__name__)

_REMEMBERED_SOURCES = 1000


class ConnectionErrors:
    """What peers broke on one port, where ``port`` is its name in the log.

    ``count`` is how often.
    """

    def __init__(self, port: str) -> None:
        self._port = port
        self._sources: set[str] = set()
        self.count = 0

    def note(self, source: str, error: BaseException) -> None:
        """A connection from ``source`` ended by ``error``."""
        self.count += 1
        _log.debug("a connection to %s broke", self._port, exc_info=error)
        if source in self._sources or len(self._sources) >= _REMEMBERED_SOURCES:
            return
        self._sources.add(source)
        cause = first_of(error)
        _log.warning(
            "a connection from %s to %s broke: %s: %s (further ones are only counted)",
            source,
            self._port,
            type(cause).__name__,
            str(cause)[:200],
        )


def source_of(stream: trio.SocketStream) -> str:
    """The peer's address, for logs."""
    try:
        return str(stream.socket.getpeername()[0])
    except OSError:
        return "a peer that has gone"
