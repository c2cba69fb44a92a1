"""What a far end does that a program reacts to: it presses keys, speaks, and stops speaking."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from spech.audio.answerer import AnswererName
from spech.audio.cadence import HeardTone
from spech.errors import CallEnded

#: Events that wait for a program; the oldest are dropped.
_MOST_EVENTS: Final = 1000


@dataclass(frozen=True, slots=True)
class DigitHeard:
    """A digit came: as a telephone event, in INFO, or as tones.

    Attributes:
        digit: one of ``0-9 * # A-D``.
        at: when, in seconds of :func:`trio.current_time`.
    """

    digit: str
    at: float


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    """The far end has been speaking for 60 ms.

    Attributes:
        at: as in :class:`DigitHeard`.
    """

    at: float


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The far end has not spoken for 240 ms.

    Attributes:
        at: as in :class:`DigitHeard`.
    """

    at: float


@dataclass(frozen=True, slots=True)
class ToneHeard:
    """The network, or an answering machine, sounds a tone (ITU-T E.180).

    Attributes:
        tone: "ringback", "busy", "congestion" or "beep". Some countries use the cadence of busy
            for congestion, or the other way round.
        at: as in :class:`DigitHeard`. A tone is recognized after its second repetition, ringing
            1.5 s after a ring, and a beep 0.3 s after its end.
    """

    tone: HeardTone
    at: float


@dataclass(frozen=True, slots=True)
class AnswererHeard:
    """Who has answered, by the greeting (see :mod:`spech.audio.answerer`).

    Attributes:
        answerer: "human", "machine", or "unknown" where the greeting did not decide it. It is a
            guess: some companies greet like a machine.
        seconds: how long the greeting had lasted when that was decided.
        words: how many words it had by then.
        at: as in :class:`DigitHeard`.
    """

    answerer: AnswererName
    seconds: float
    words: int
    at: float


HeardEvent = DigitHeard | SpeechBegan | SpeechEnded | ToneHeard | AnswererHeard


class HeardEvents(AsyncIterator[HeardEvent]):
    """The events of one call; see :meth:`Call.heard`. It may be left at any time.

    Args:
        changed: waits for the next change of the call.
        require_up: raises :class:`~spech.CallEnded` once the call is over.
        tones: whether :class:`ToneHeard` is among them.
        answerer: whether :class:`AnswererHeard` is.
    """

    def __init__(
        self,
        changed: Callable[[], Awaitable[None]],
        require_up: Callable[[], None],
        *,
        tones: bool = False,
        answerer: bool = False,
    ) -> None:
        self._changed = changed
        self._require_up = require_up
        on_request = {ToneHeard: tones, AnswererHeard: answerer}
        self._left_out = tuple(kind for kind, asked in on_request.items() if not asked)
        self._waiting: deque[HeardEvent] = deque(maxlen=_MOST_EVENTS)

    def add(self, event: HeardEvent) -> None:
        """Something happened."""
        if not isinstance(event, self._left_out):
            self._waiting.append(event)

    async def __anext__(self) -> HeardEvent:
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            try:
                self._require_up()
            except CallEnded:
                raise StopAsyncIteration from None
            await self._changed()
        return self._waiting.popleft()
