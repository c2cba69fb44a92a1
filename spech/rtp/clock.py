"""The one media clock: a single task that ticks every stream each 20 ms.

Many streams are spread over phases of the period, so that their work is not done all at once; few
share a phase, so that the process wakes less often. Deadlines are absolute: a late tick does not
move the next one. A short stall (a collection, a busy core) is caught up; after a long one (a
suspended machine) the missed ticks are dropped, because a burst of stale sound is of no use.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import trio

from spech.errors import SpechError
from spech.rtp.alarm import open_alarm

_log: Final = logging.getLogger(__name__)

PERIOD = 0.020
"""Seconds between two ticks of a stream."""

# Each wake-up costs more than a tick, because caches are cold. Two phases spread the
# packets enough for the far end's jitter buffer, and cost a fifth less than four.
_PHASES = 2
#: Streams that one phase takes before another one is used: a millisecond or two of work.
_TOGETHER = 16
_SLOT = PERIOD / _PHASES
_LATE_AFTER = 0.005
_CATCH_UP = 0.1

#: What a tick leaves for half a period later.
Rest = Callable[[], None]
Tick = Callable[[float], Rest | None]


@dataclass(slots=True)
class ClockStatistics:
    """Counters of the clock since it was made.

    ``ticks``: slots worked through. ``late``: slots begun more than 5 ms after their deadline.
    ``missed``: slots dropped after a stall of more than 100 ms. ``worst`` is the
    longest delay of one, in seconds.
    """

    ticks: int = 0
    late: int = 0
    missed: int = 0
    worst: float = 0.0


@dataclass(slots=True, eq=False)
class _Attachment:
    tick: Tick
    on_error: Callable[[Exception], None]
    attached: bool = True


class MediaClock:
    """Ticks whatever is attached. Run :meth:`run` once, in a nursery that outlives the calls."""

    def __init__(self) -> None:
        self.statistics = ClockStatistics()
        self._phases: list[list[_Attachment]] = [[] for _ in range(_PHASES)]
        self._rests: list[tuple[_Attachment, Rest]] = []
        self._awake = trio.Event()

    @contextlib.contextmanager
    def attach(self, tick: Tick, on_error: Callable[[Exception], None]) -> Iterator[None]:
        """Call ``tick(now)`` every 20 ms for the time of a ``with`` block.

        ``now`` is :func:`trio.current_time`. What ``tick`` returns is called 10 ms later, unless it
        is None or the block has ended. If either raises, ``tick`` is detached and ``on_error`` gets
        the error; no other stream notices. ``on_error`` must not raise.
        """
        attachment = _Attachment(tick, on_error)
        phase = self._choose_phase()
        phase.append(attachment)
        self._awake.set()
        try:
            yield
        finally:
            attachment.attached = False
            phase.remove(attachment)

    def _choose_phase(self) -> list[_Attachment]:
        """The fullest of the phases that have room for some more, else the emptiest of all."""
        started = [phase for phase in self._phases if 0 < len(phase) < _TOGETHER]
        return max(started, key=len) if started else min(self._phases, key=len)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tick until cancelled; sleeps without waking while nothing is attached."""
        slot = 0
        deadline = trio.current_time()
        with open_alarm() as sleep_until:
            task_status.started()
            while True:
                if not any(self._phases):
                    self._awake = trio.Event()
                    await self._awake.wait()
                    deadline = trio.current_time() + PERIOD
                    continue
                while not self._phases[slot % _PHASES] and not self._rests:
                    slot += 1
                    deadline += _SLOT
                await sleep_until(deadline)
                now = trio.current_time()
                lateness = now - deadline
                if lateness > _CATCH_UP:
                    # Whole slots are dropped, so the grid and the phases stay where they were.
                    missed = int(lateness / _SLOT)
                    self.statistics.missed += missed
                    slot += missed
                    deadline += missed * _SLOT
                    lateness = now - deadline
                self._work(slot % _PHASES, now, lateness)
                slot += 1
                deadline += _SLOT

    def _work(self, phase: int, now: float, lateness: float) -> None:
        statistics = self.statistics
        statistics.ticks += 1
        if lateness > statistics.worst:
            statistics.worst = lateness
        if lateness > _LATE_AFTER:
            statistics.late += 1
        if self._rests:
            self._work_rests()
        for attachment in tuple(self._phases[phase]):
            if not attachment.attached:
                continue
            try:
                rest = attachment.tick(now)
            except Exception as error:  # one stream's error is its own
                self._fail(attachment, error)
            else:
                if rest is not None:
                    self._rests.append((attachment, rest))

    def _work_rests(self) -> None:
        rests, self._rests = self._rests, []
        for attachment, rest in rests:
            if attachment.attached:
                try:
                    rest()
                except Exception as error:  # as in a tick
                    self._fail(attachment, error)

    def _fail(self, attachment: _Attachment, error: Exception) -> None:
        attachment.attached = False
        if isinstance(error, SpechError):  # Meant for people; nothing is broken here.
            _log.warning("a media stream ends: %s", error)
        else:
            _log.error("a media stream failed and was detached", exc_info=error)
        attachment.on_error(error)
