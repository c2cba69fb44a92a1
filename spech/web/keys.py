"""Keys that are held down in a page, and let up again."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from spech.errors import LocalProtocolError

if TYPE_CHECKING:
    from spech import Call

#: Keys that wait for their turn; more are lost.
_WAITING = 64
#: How long a key is held at the most, seconds: its page may be gone.
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
        """A key is let up; nothing happens when it is not down."""
        up = self._down.pop(digit, None)
        if up is not None:
            up.set()

    async def run(self, call: Call) -> None:
        """Send what is pressed, for as long as it is held, until cancelled."""
        async for digit, up in self._pressed:
            # Where the far end takes no keys there is nobody to tell.
            with suppress(LocalProtocolError), call.press(digit), trio.move_on_after(_LONGEST):
                await up.wait()
