"""The records of the calls of all workers."""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from spech.bridge.records import CallRecord

#: Records of calls that have ended.
_MOST_KEPT: Final = 1000
#: What the record of a call says whose worker has ended, as after a fault.
_LOST: Final = "its worker has ended"


class CallBoard:
    """The last record of each call, and its worker."""

    def __init__(self) -> None:
        self._present: dict[str, tuple[int, CallRecord]] = {}
        self._ended: dict[str, tuple[int, CallRecord]] = {}
        #: How many present calls each worker has.
        self.counts: Counter[int] = Counter()

    def note(self, worker: int, record: CallRecord) -> None:
        """A call of a worker has got further."""
        if record.state != "ended":
            if record.id not in self._present:
                self.counts[worker] += 1
            self._present[record.id] = worker, record
            return
        if self._present.pop(record.id, None) is not None:
            self.counts[worker] -= 1
        self._ended[record.id] = worker, record
        if len(self._ended) > _MOST_KEPT:
            del self._ended[next(iter(self._ended))]

    def worker_of(self, name: str) -> int | None:
        """The worker that has or had a call, None where there is none of that name."""
        found = self._present.get(name) or self._ended.get(name)
        return None if found is None else found[0]

    def ended(self, name: str) -> CallRecord | None:
        """The record of a call that has ended, None where there is none."""
        found = self._ended.get(name)
        return None if found is None else found[1]

    def latest(self, count: int) -> list[CallRecord]:
        """The last calls that have ended, the oldest first."""
        return [record for _, record in self._ended.values()][-count:]

    def lose(self, worker: int) -> list[CallRecord]:
        """The records of the calls that a worker had when it ended."""
        return [
            msgspec.structs.replace(
                record,
                state="ended",
                cause="error",
                status=500,
                reason=_LOST,
                summary=f"{record.caller} -> {record.called}: {_LOST}",
            )
            for owner, record in self._present.values()
            if owner == worker
        ]
