"""The keys that are pressed in a call: one after the other, by whichever way the far end takes.

A key has a length and a gap behind it, and goes as a telephone event (RFC 4733), as an INFO
request, or as two tones in the sound. Which of them is decided when its turn comes, so that what
was agreed anew in the meantime counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from spech.audio.tones import digit_samples
from spech.codecs.base import Samples
from spech.errors import LocalProtocolError
from spech.rtp.dtmf import DIGITS, DigitSender, EventPacket
from spech.rtp.session import RtpSession

Method = Literal["auto", "rfc4733", "info", "inband"]
"""How digits are sent; "auto" is the first of the other three that the far end takes."""

_TICK_MS = 20
# RFC 4733 section 2.5.1.4: the end goes out three times, the last two of them in the gap.
_SHORTEST_GAP_TICKS = 2
_PAUSES: Final = {",": 2000, "P": 2000, "W": 500}


@dataclass(slots=True)
class Key:
    """A key, or with an empty ``digit`` a pause. Lengths are in ticks of 20 ms."""

    digit: str
    method: Method
    ticks: int
    gap_ticks: int
    #: Whether it stays down, however long it has been; let up, it lasts ``ticks`` at least.
    held: bool = False


def read_keys(digits: str, method: Method, duration_ms: int, gap_ms: int) -> list[Key]:
    """The keys that a dial string stands for.

    Raises:
        LocalProtocolError: a character is no digit and no pause.
        ValueError: the length of a key is not above 0, or that of a gap below it; or there is no
            such method.
    """
    if method not in get_args(Method):
        raise ValueError(f"no method {method!r}: it is one of {', '.join(get_args(Method))}")
    if duration_ms <= 0 or gap_ms < 0:
        raise ValueError(f"no key can last {duration_ms} ms with a gap of {gap_ms} ms")
    ticks = max(1, round(duration_ms / _TICK_MS))
    gap_ticks = max(_SHORTEST_GAP_TICKS, round(gap_ms / _TICK_MS))
    keys = []
    for character in digits.upper():
        if character in DIGITS:
            keys.append(Key(character, method, ticks, gap_ticks))
        elif character in _PAUSES:
            keys.append(Key("", method, _PAUSES[character] // _TICK_MS, 0))
        else:
            raise LocalProtocolError(f"{character!r} is no DTMF digit")
    return keys


class Keypad:
    """Presses keys in turn, tick by tick.

    Attributes:
        signal: sends a digit and its length in milliseconds beside the sound (INFO); None where
            there is no way to.
        signals: whether the far end says that it takes such requests.
    """

    def __init__(self, session: RtpSession) -> None:
        self.signal: Callable[[str, int], None] | None = None
        self.signals = False
        self._session = session
        self._queue: deque[Key] = deque()
        self._key: Key | None = None
        self._method: Method = "auto"
        self._elapsed = 0
        self._gap_left = 0
        self._events = DigitSender()

    @property
    def busy(self) -> bool:
        """Whether a key is down or waits."""
        return self._key is not None or bool(self._queue)

    def queue(self, keys: list[Key]) -> None:
        """Press ``keys`` after those that wait already.

        Raises:
            LocalProtocolError: they insist on a way that there is not.
        """
        for key in keys:
            if key.method == "rfc4733" and not self._session.can_send_events:
                raise LocalProtocolError("no telephone-event was agreed")
            if key.method == "info" and self.signal is None:
                raise LocalProtocolError("there is no dialog in which INFO could be sent")
        self._queue.extend(keys)

    def clear(self) -> None:
        """Forget the keys that wait; the present one is let up, and still gets its end."""
        self._queue.clear()
        if self._key is not None:
            self._key.held = False
            self._key.ticks = min(self._key.ticks, self._elapsed + 1)

    def next(self, units: int, rate: int) -> tuple[EventPacket, ...] | Samples | None:
        """Advance one tick: event packets or sound to send in place of everything else, or None.

        Args:
            units: clock units in a tick.
            rate: of the sound, in Hz.
        """
        if self._key is None:
            if not self._queue:
                return None
            self._begin(self._queue.popleft())
        key = self._key
        assert key is not None
        if self._gap_left >= 0:
            return self._gap(rate)
        self._elapsed += 1
        last = self._elapsed >= key.ticks and not key.held
        if last:
            self._gap_left = key.gap_ticks
            if not self._gap_left:
                self._key = None
        if not key.digit:
            return None
        match self._method:
            case "rfc4733":
                if not self._session.can_send_events:
                    return ()
                return self._events.next(self._session.timestamp, units, last=last)
            case "inband":
                samples = rate * _TICK_MS // 1000
                start = (self._elapsed - 1) * samples
                return digit_samples(key.digit, start, samples, rate)
        if last and self.signal is not None:
            self.signal(key.digit, self._elapsed * _TICK_MS)
        return None

    def _begin(self, key: Key) -> None:
        self._key = key
        self._elapsed = 0
        self._gap_left = -1
        if key.digit:
            self._method = self._way() if key.method == "auto" else key.method
            if self._method == "rfc4733":
                self._events.begin(key.digit)

    def _way(self) -> Method:
        if self._session.can_send_events:
            return "rfc4733"
        return "info" if self.signals and self.signal is not None else "inband"

    def _gap(self, rate: int) -> tuple[EventPacket, ...] | Samples | None:
        self._gap_left -= 1
        if self._gap_left <= 0:
            self._key = None
        match self._method:
            case "rfc4733":
                return self._events.after() if self._session.can_send_events else ()
            case "inband":
                return np.zeros(rate * _TICK_MS // 1000, np.int16)
        return None
