"""The keys that are pressed in a call: one after the other, by a method that the peer accepts.

A key has a length and a gap after it. It is sent as a telephone event (RFC 4733), as an INFO
request, or as two tones in the sound. The method is chosen when the turn of the key comes, because
a re-INVITE may have changed what the peer accepts.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from spech.audio.tones import digit_samples
from spech.codecs.base import Samples
from spech.errors import CallEnded, LocalProtocolError
from spech.media.events import InfoDigit, MediaEvent
from spech.rtp.dtmf import DIGITS, DigitSender, EventPacket
from spech.rtp.session import RtpSession

Method = Literal["auto", "rfc4733", "info", "inband"]
"""How digits are sent; "auto" is the first of the other three that the peer accepts."""

#: Keys that wait at most: three minutes of them.
_MOST_KEYS: Final = 1000
_TICK_MS = 20
# RFC 4733 section 2.5.1.4: the end is sent three times, the last two of them in the gap.
_SHORTEST_GAP_TICKS = 2
_PAUSES: Final = {",": 2000, "P": 2000, "W": 500}

KEY_MS: Final = 100
"""Default length of a digit."""

GAP_MS: Final = 60
"""Default silence after a digit."""


@dataclass(slots=True)
class Key:
    """A key, or a pause where ``digit`` is empty. Lengths are in ticks of 20 ms."""

    digit: str
    method: Method
    ticks: int
    gap_ticks: int
    #: Whether it is held down. After its release it still lasts ``ticks`` at least.
    held: bool = False


def read_keys(digits: str, method: Method, duration_ms: int, gap_ms: int) -> list[Key]:
    """Parse a dial string into keys.

    Raises:
        LocalProtocolError: a character is neither a digit nor a pause.
        ValueError: a key is not longer than 0 ms, a gap is shorter than 0 ms, or there is no such
            method.
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
            raise LocalProtocolError(f"{character!r} is not a DTMF digit")
    return keys


class Keypad:
    """Presses keys in turn, tick by tick.

    Args:
        session: numbers telephone events and knows whether the peer accepts them.
        emit: takes an :class:`~spech.media.events.InfoDigit` where a digit goes as INFO.

    Attributes:
        ready: whether a codec has been agreed on; before that no key can be pressed.
        has_dialog: whether there is a dialog in which INFO can be sent.
        accepts_info: whether the peer says that it accepts INFO requests.
        event_clock: the clock of telephone events in Hz, None where it is that of the sound.
        busy: whether a key is down or waits.
    """

    def __init__(self, session: RtpSession, emit: Callable[[MediaEvent], None]) -> None:
        self.ready = False
        self.has_dialog = False
        self.accepts_info = False
        self.event_clock: int | None = None
        self.busy = False
        self._session = session
        self._emit = emit
        self._closed = False
        self._queue: deque[Key] = deque()
        self._key: Key | None = None
        self._method: Method = "auto"
        self._elapsed = 0
        self._gap_left = 0
        self._events = DigitSender()

    def send(
        self,
        digits: str,
        *,
        duration_ms: int = KEY_MS,
        gap_ms: int = GAP_MS,
        method: Method = "auto",
    ) -> None:
        """Queue digits after those that wait already; see :meth:`Call.send_dtmf`.

        Raises:
            LocalProtocolError: a character is neither a digit nor a pause, the peer does not
                accept ``method``, or no codec has been agreed on yet.
            ValueError: a length makes no sense.
            CallEnded: the call is over.
        """
        self.queue(read_keys(digits, method, duration_ms, gap_ms))

    @contextlib.contextmanager
    def press(self, digit: str, *, method: Method = "auto") -> Iterator[None]:
        """Hold a key down for the time of a ``with`` block; see :meth:`Call.press`.

        Raises:
            LocalProtocolError: ``digit`` is not one digit; or as for :meth:`send`.
            CallEnded: the call is over.
        """
        keys = read_keys(digit, method, KEY_MS, GAP_MS)
        if len(keys) != 1 or not keys[0].digit:
            raise LocalProtocolError(f"{digit!r} is not one key")
        keys[0].held = True
        self.queue(keys)
        try:
            yield
        finally:
            keys[0].held = False

    def queue(self, keys: list[Key]) -> None:
        """Press ``keys`` after those that wait already.

        Raises:
            LocalProtocolError, CallEnded: as for :meth:`send`.
        """
        if len(self._queue) + len(keys) > _MOST_KEYS:
            raise LocalProtocolError(f"{len(self._queue)} digits wait already")
        if self._closed:
            raise CallEnded("the call has ended")
        if not self.ready:
            raise LocalProtocolError("no codec has been agreed on yet, digits cannot be sent")
        for key in keys:
            if key.method == "rfc4733" and not self._session.can_send_events:
                raise LocalProtocolError("telephone-event was not agreed on")
            if key.method == "info" and not self.has_dialog:
                raise LocalProtocolError("there is no dialog in which INFO can be sent")
        self._queue.extend(keys)
        self._note_busy()

    def close(self) -> None:
        """Forget all keys and accept no more."""
        self._closed = True
        self.clear()

    def clear(self) -> None:
        """Forget the keys that wait; the one that is down is released and still gets its end."""
        self._queue.clear()
        if self._key is not None:
            self._key.held = False
            self._key.ticks = min(self._key.ticks, self._elapsed + 1)
        self._note_busy()

    def _note_busy(self) -> None:
        self.busy = self._key is not None or bool(self._queue)

    def next(self, units: int, rate: int) -> tuple[EventPacket, ...] | Samples | None:
        """Advance one tick.

        Args:
            units: RTP clock units in a tick.
            rate: sampling rate of the sound in Hz.

        Returns:
            Event packets or sound to send in place of all other sound, or None.
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
                self._note_busy()
        if not key.digit:
            return None
        match self._method:
            case "rfc4733":
                if not self._session.can_send_events:
                    return ()
                if self.event_clock is not None:
                    units = self.event_clock * _TICK_MS // 1000
                return self._events.next(self._session.timestamp, units, last=last)
            case "inband":
                samples = rate * _TICK_MS // 1000
                start = (self._elapsed - 1) * samples
                return digit_samples(key.digit, start, samples, rate)
        if last and self.has_dialog:
            self._emit(InfoDigit(key.digit, self._elapsed * _TICK_MS))
        return None

    def _begin(self, key: Key) -> None:
        self._key = key
        self._elapsed = 0
        self._gap_left = -1
        if key.digit:
            self._method = self._best_method() if key.method == "auto" else key.method
            if self._method == "rfc4733":
                self._events.begin(key.digit)

    def _best_method(self) -> Method:
        if self._session.can_send_events:
            return "rfc4733"
        return "info" if self.accepts_info and self.has_dialog else "inband"

    def _gap(self, rate: int) -> tuple[EventPacket, ...] | Samples | None:
        self._gap_left -= 1
        if self._gap_left <= 0:
            self._key = None
            self._note_busy()
        match self._method:
            case "rfc4733":
                return self._events.after() if self._session.can_send_events else ()
            case "inband":
                return np.zeros(rate * _TICK_MS // 1000, np.int16)
        return None
