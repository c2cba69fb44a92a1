"""Processes of workers that cannot be started, or end at once."""

from __future__ import annotations

import sys

import pytest
import trio
import trio.testing

from spech import LocalProtocolError
from spech.front.front import open_front
from spech.front.processes import open_workers

#: A program that says that it is ready, and ends; its argument is the descriptor of its channel.
SHORT_LIVED = """
import socket, sys
from spech.front.channel import Channel
from spech.front.messages import ToWorker, WorkerReady
Channel(socket.socket(fileno=int(sys.argv[1])), ToWorker).send(WorkerReady())
"""


async def test_a_program_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(LocalProtocolError, match="cannot be started: No such file"):
        async with (
            open_front(None, workers=1, listen=("127.0.0.1", 0), callers=()) as front,
            open_workers(front, ["/nonexistent/spech"]),
        ):
            await trio.sleep_forever()


async def test_a_worker_that_ends_soon_is_started_again_after_a_pause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        open_front(None, workers=1, listen=("127.0.0.1", 0), callers=()) as front,
        open_workers(front, [sys.executable, "-c", SHORT_LIVED]),
    ):
        for _ in range(2):
            with trio.fail_after(30):
                await front.started()
                while front.seats[0].ready:
                    await front.changed()
    assert "worker 0 ended with status 0; it is started again" in caplog.text
