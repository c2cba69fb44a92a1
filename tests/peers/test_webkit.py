"""The web phone in WebKit."""

from __future__ import annotations

from pathlib import Path

import trio

from spech.testing.plugin import unavailable

from .soundcard import sound_card
from .webkit import TONE, available, webkit
from .webphone import converse, look_around, web_phone


async def test_calls_in_webkit(tmp_path: Path) -> None:
    """Sign-in, dial, ring, answer, hold, keypad, hang-up, and sound both ways."""
    if not available():
        unavailable("peers", "WebKitGTK, Xvfb or PulseAudio is missing; `make test-peers` has them")
    with trio.fail_after(120):
        async with (
            sound_card(tmp_path) as card,
            web_phone(tmp_path) as phone,
            webkit(tmp_path, card) as page,
        ):
            await page.open(f"{phone.url}#link={phone.token()}")
            await converse(page, phone, TONE)
            await look_around(page, phone)
