"""Keys that are pressed and released in a page."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from spech.errors import LocalProtocolError

if TYPE_CHECKING:
    from spech import Call

#: Keys that wait for their turn; more are lost.
_WAITING = 64
#: The longest time that a key is held, seconds: its page may be gone.
_LONGEST = 10.0


class Keys:
    """The keys of one call, one after the other."""

    def __init__(self) -> None:
        self._presses, self._pressed = trio.open_memory_channel[tuple[str, trio.Event]](_WAITING)
        self._down: dict[str, trio.Event] = {}

    def press(self, digit: str) -> None:
        """A key goes down."""
        self.release(digit)
        up = self._down[digit] = trio.Event()
        with suppress(trio.WouldBlock):
            self._presses.send_nowait((digit, up))

    def release(self, digit: str) -> None:
        """A key goes up. Does nothing when it is not down."""
        up = self._down.pop(digit, None)
        if up is not None:
            up.set()

    async def run(self, call: Call) -> None:
        """Send the keys, each for as long as it is held, until cancelled."""
        async for digit, up in self._pressed:
            # The far end may not take digits at all.
            with suppress(LocalProtocolError), call.press(digit), trio.move_on_after(_LONGEST):
                await up.wait()
