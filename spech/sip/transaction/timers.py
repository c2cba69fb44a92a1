"""Deadlines, kept by the pure stack and served by whoever owns a clock.

A :class:`TimerSet` never looks at a clock: it is told when, and asked what is due. Times are
seconds on any monotonic scale, as ``float``.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final, Protocol

#: Round-trip time estimate in seconds (RFC 3261 17.1.1.1, table 4).
T1: Final = 0.5
#: The longest retransmission interval for non-INVITE requests and INVITE responses, in seconds.
T2: Final = 4.0
#: How long a message may stay in the network, in seconds.
T4: Final = 5.0
#: The patience of a transaction: timers B, F, H, J, L and M.
TRANSACTION_TIMEOUT: Final = 64 * T1


class TimerOwner(Protocol):
    """Sets timers, and serves them when they are due. ``str()`` names it in the timeline."""

    @property
    def call_id(self) -> str:
        """The Call-ID of the call or registration that it belongs to."""

    def handle_timer(self, name: str, now: float) -> None:
        """Serve the timer ``name``, which is due."""


@dataclass(slots=True)
class _Timer:
    """One timer; its owner is None once it is disarmed."""

    owner: TimerOwner | None
    name: str


class TimerSet:
    """Timers named by their owner and a word. Setting one again replaces it."""

    def __init__(self) -> None:
        self._armed: dict[TimerOwner, dict[str, _Timer]] = {}
        self._heap: list[tuple[float, int, _Timer]] = []
        self._serial = 0
        self._sweep_above = 64

    def set(self, owner: TimerOwner, name: str, at: float) -> None:
        """Arm (or re-arm) the timer ``name`` of ``owner`` to be due at ``at``."""
        self._serial += 1
        names = self._armed.setdefault(owner, {})
        if name in names:
            names[name].owner = None
        timer = names[name] = _Timer(owner, name)
        heapq.heappush(self._heap, (at, self._serial, timer))
        if len(self._heap) > self._sweep_above:
            # What was disarmed would stay until its time came.
            self._heap = [entry for entry in self._heap if entry[2].owner is not None]
            heapq.heapify(self._heap)
            self._sweep_above = 64 + 2 * len(self._heap)

    def clear(self, owner: TimerOwner, *names: str) -> None:
        """Disarm timers of ``owner``; nothing happens to those that are not armed."""
        armed = self._armed.get(owner)
        if armed is None:
            return
        for name in names:
            timer = armed.pop(name, None)
            if timer is not None:
                timer.owner = None
        if not armed:
            del self._armed[owner]

    def clear_all(self, owner: TimerOwner) -> None:
        """Disarm every timer of ``owner``."""
        for timer in self._armed.pop(owner, {}).values():
            timer.owner = None

    def next_at(self) -> float | None:
        """The earliest deadline, or None when nothing is armed."""
        while self._heap:
            at, _, timer = self._heap[0]
            if timer.owner is not None:
                return at
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now: float) -> tuple[TimerOwner, str] | None:
        """Disarm and return the earliest timer that is due, as (owner, name), or None.

        One at a time, because serving a timer may clear the next.
        """
        at = self.next_at()
        if at is None or at > now:
            return None
        timer = heapq.heappop(self._heap)[2]
        owner = timer.owner
        assert owner is not None
        self.clear(owner, timer.name)
        return owner, timer.name

    def __len__(self) -> int:
        return sum(len(names) for names in self._armed.values())
