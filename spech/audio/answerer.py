"""Tells whether a person or an answering machine has answered a call.

A person says a word or two, and waits. A machine goes on. So three times decide: how long the
greeting lasts, how many words it has, and how long the silence after it is. Words are what short
pauses divide.

- A greeting of 2 s, or of six words, is that of a machine.
- A shorter one, with 0.8 s of silence after it, is that of a person.
- Where nobody has spoken for 4 s, or 6 s have not decided it, it stays unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from spech.audio.activity import VoiceActivity
from spech.codecs.base import Samples

AnswererName = Literal["human", "machine", "unknown"]

_PER_SECOND: Final = 50
#: Ticks of 20 ms.
_LONGEST_GREETING: Final = 2 * _PER_SECOND
_SILENCE: Final = 8 * _PER_SECOND // 10
_NOBODY: Final = 4 * _PER_SECOND
_UNDECIDED: Final = 6 * _PER_SECOND
_SHORTEST_WORD: Final = 5
_SHORTEST_PAUSE: Final = 3
_MOST_WORDS: Final = 5


@dataclass(frozen=True, slots=True)
class Greeting:
    """What was said at the beginning of a call.

    Attributes:
        answerer: who said it.
        seconds: how long it had lasted when that was decided.
        words: how many there were by then.
    """

    answerer: AnswererName
    seconds: float
    words: int


class AnswererDetector:
    """Judges the first seconds after the answer, in ticks of 20 ms."""

    def __init__(self) -> None:
        self._activity = VoiceActivity()
        self._ticks = self._words = 0
        self._began = self._last = 0
        self._loud = self._quiet = 0

    def feed(self, pcm: Samples) -> Greeting | None:
        """Take the next tick; return the greeting once it is judged."""
        self._activity.hear(pcm)
        self._ticks += 1
        if self._activity.noisy:
            self._quiet += 1
            if self._quiet >= _SHORTEST_PAUSE:
                self._loud = 0
        else:
            self._quiet = 0
            self._hear_word()
        return self._judge()

    def _hear_word(self) -> None:
        self._loud += 1
        if self._loud == _SHORTEST_WORD:
            self._words += 1
            if self._words == 1:
                self._began = self._ticks - _SHORTEST_WORD
        if self._loud >= _SHORTEST_WORD:
            self._last = self._ticks

    def _judge(self) -> Greeting | None:
        if not self._words:
            return self._decide("unknown") if self._ticks >= _NOBODY else None
        if self._last - self._began >= _LONGEST_GREETING or self._words > _MOST_WORDS:
            return self._decide("machine")
        if self._quiet >= _SILENCE:
            return self._decide("human")
        return self._decide("unknown") if self._ticks >= _UNDECIDED else None

    def _decide(self, answerer: AnswererName) -> Greeting:
        return Greeting(answerer, (self._last - self._began) / _PER_SECOND, self._words)
