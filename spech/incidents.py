"""Counts faults of peers, and logs them once for each source."""

from __future__ import annotations

import logging
from typing import Final

from spech.shares import source_of

#: Sources that are logged separately. Incidents of further ones are only counted.
_MOST_SOURCES: Final = 1000


class Incidents:
    """Counts incidents of one kind, in total and by source.

    Args:
        log: logs the first incident of each source.
        milestones: also log the 10th, 100th, 1000th ... incident of a source, with the number.
    """

    def __init__(self, log: logging.Logger, *, milestones: bool = False) -> None:
        self.count = 0
        self._log = log
        self._milestones = milestones
        self._by_source: dict[str, int] = {}

    def note(self, host: str, message: str, *arguments: object, traceback: bool = False) -> None:
        """Count an incident that the numeric address ``host`` caused, and log it if it is due.

        ``message`` and ``arguments`` are those of a logging call; ``traceback`` adds the exception
        that is being handled.
        """
        self.count += 1
        source = source_of(host)
        if source not in self._by_source and len(self._by_source) >= _MOST_SOURCES:
            return
        count = self._by_source[source] = self._by_source.get(source, 0) + 1
        if self._milestones:
            if not _is_power_of_ten(count):
                return
            message += f" (number {count} from there)"
        elif count == 1:
            message += " (logged once)"
        else:
            return
        self._log.warning(message, *arguments, exc_info=traceback)


def _is_power_of_ten(number: int) -> bool:
    return str(number).rstrip("0") == "1"
