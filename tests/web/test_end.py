"""The web phone ends in bounded time, whatever the far ends of its calls do."""

from __future__ import annotations

import socket
from pathlib import Path

import trio
import trio.testing

from .conftest import Exchange, open_page, run_server


async def test_a_far_end_that_answers_nothing_does_not_delay_the_end(
    exchange: Exchange, data_folder: Path, mock_clock: trio.testing.MockClock
) -> None:
    """Six seconds of virtual time, five of them to repeat the farewell.

    Time is real until then: it would pass the lifetime of a link while a thread signs in.
    """
    mock_clock.rate = 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with run_server(exchange, data_folder, drain=5.0) as installation:
            async with open_page(installation.url) as page:
                await page.ask("save_account", **installation.settings())
                await page.registered()
                await page.ask("dial", target=f"sip:nobody@127.0.0.1:{silent.getsockname()[1]}")
                await page.call_in_state("trying")
                await trio.lowlevel.wait_readable(silent)
                # What the history has noted is written before this: no thread is at work then.
                for _ in range(2):
                    await page.ask("keep_history", days=None)
            mock_clock.autojump_threshold = 0
            began = trio.current_time()
        assert 4 < trio.current_time() - began <= 6
