"""Counts faults of peers, and logs each kind once for each source."""

from __future__ import annotations

import logging
from typing import Final

from spech.shares import source_of

#: Sources and messages that are logged separately. Further incidents are only counted.
_MOST_SOURCES: Final = 1000


class Incidents:
    """Counts incidents in total, and by source and message.

    Args:
        log: logs the first incident of each source and message.
        milestones: also log the 10th, 100th, 1000th ... of them, with the number.
    """

    def __init__(self, log: logging.Logger, *, milestones: bool = False) -> None:
        self.count = 0
        self._log = log
        self._milestones = milestones
        self._counts: dict[tuple[str, str], int] = {}

    def note(self, host: str, message: str, *arguments: object, traceback: bool = False) -> None:
        """Count an incident that the numeric address ``host`` caused, and log it if it is due.

        ``message`` and ``arguments`` are those of a logging call; ``traceback`` adds the exception
        that is being handled.
        """
        self.count += 1
        source = source_of(host), message
        if source not in self._counts and len(self._counts) >= _MOST_SOURCES:
            return
        count = self._counts[source] = self._counts.get(source, 0) + 1
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
