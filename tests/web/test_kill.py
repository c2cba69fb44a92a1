"""``spech serve`` is killed with SIGKILL; the next one sends the farewells of its calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from spech import CallFailed

from .conftest import Exchange, Page, ServeProcess, open_page


@asynccontextmanager
async def killed_within(exchange: Exchange, data_folder: Path) -> AsyncIterator[Page]:
    """The page of a server that is killed at the end of the block."""
    with ServeProcess(data_folder) as server:
        async with open_page(server.url) as page:
            settings = {"server": "127.0.0.1", "port": exchange.port, "transport": "udp"}
            settings |= {"user": "alice", "password": "open-sesame-42", "codecs": ["PCMU"]}
            await page.ask("save_account", **settings)
            await page.registered()
            yield page
            server.process.kill()


@pytest.mark.parametrize(("number", "state"), [("602", "ringing"), ("600", "answered")])
async def test_the_far_end_of_a_call_from_the_page_is_told(
    exchange: Exchange, data_folder: Path, number: str, state: str
) -> None:
    async with killed_within(exchange, data_folder) as page:
        await page.ask("dial", target=number)
        await page.call_in_state(state)
    with ServeProcess(data_folder), trio.fail_after(5):
        await exchange.quiet()
        await trio.testing.wait_all_tasks_blocked()
    assert exchange.heard == (["gave up"] if state == "ringing" else [])


async def test_the_caller_of_a_page_that_rings_gets_480(
    exchange: Exchange, data_folder: Path
) -> None:
    async with trio.open_nursery() as nursery:
        failed: list[int] = []
        ringing, over = trio.Event(), trio.Event()

        async def call() -> None:
            assert exchange.contact is not None
            async with exchange.phone.call(exchange.contact) as call:
                while call.state != "ringing":
                    await call.changed()
                ringing.set()
                try:
                    await call.answered()
                except CallFailed as error:
                    failed.append(error.status)
            over.set()

        async with killed_within(exchange, data_folder):
            nursery.start_soon(call)
            await ringing.wait()
        with ServeProcess(data_folder), trio.fail_after(5):
            await over.wait()
    assert failed == [480]


async def test_the_caller_whom_the_page_answered_is_told(
    exchange: Exchange, data_folder: Path
) -> None:
    async with trio.open_nursery() as nursery:
        up, over = trio.Event(), trio.Event()

        async def call() -> None:
            assert exchange.contact is not None
            async with exchange.phone.call(exchange.contact) as call:
                await call.answered()
                up.set()
                await call.ended()
                assert call.ended_by == "remote"
            over.set()

        async with killed_within(exchange, data_folder) as page:
            nursery.start_soon(call)
            ringing = await page.call_in_state("ringing")
            await page.ask("answer", call=ringing["id"])
            await up.wait()
        with ServeProcess(data_folder), trio.fail_after(5):
            await over.wait()
