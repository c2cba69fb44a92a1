"""How long callers who interrupt a bot wait for its silence."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from spech.errors import CallEnded
from spech.media.playback import Playback
from spech.phone.call import Call
from spech.phone.heard import DigitHeard, SpeechBegan

#: Seconds of speech until it is noticed; see :class:`spech.SpeechBegan`.
_ONSET_SECONDS: Final = 0.06
#: Seconds after which a bot's `clear` has another reason.
_LONGEST: Final = 5.0


class BargeInWatch:
    """Measures one call: from the first voiced 20 ms or the digit, to the bot's ``clear``.

    From then on silence is sent. Only what comes while the bot speaks counts.

    Args:
        call: the call.
        playback: what the bot says.
        note: takes each time, in seconds.
    """

    def __init__(self, call: Call, playback: Playback, note: Callable[[float], object]) -> None:
        self._call = call
        self._playback = playback
        self._note = note
        self._since: float | None = None
        self._cleared_at: float | None = None

    async def run(self) -> None:
        """Listen to the caller until the call ends."""
        with suppress(CallEnded):
            async for event in self._call.heard():
                if isinstance(event, SpeechBegan):
                    self._begin(event.at - _ONSET_SECONDS)
                elif isinstance(event, DigitHeard):
                    self._begin(event.at)

    def _begin(self, since: float) -> None:
        """The caller has begun to speak, or pressed a key."""
        cleared_at, self._cleared_at = self._cleared_at, None
        if cleared_at is not None and cleared_at >= since:
            self._note(cleared_at - since)  # The bot was quicker than our detector.
        elif self._playback.queued_ms:
            self._since = since

    def cleared(self) -> None:
        """The bot empties the queue now."""
        if not self._playback.queued_ms:
            return
        self._cleared_at = trio.current_time()
        since, self._since = self._since, None
        if since is not None and self._cleared_at - since <= _LONGEST:
            self._note(self._cleared_at - since)
            self._cleared_at = None
