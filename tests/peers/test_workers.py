"""SIPp calls `spech bridge --workers 2`: RTP of both workers, many calls at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio_websocket import WebSocketConnection

from spech.testing.audio import assert_tone
from spech.testing.plugin import unavailable
from spech.testing.waiting import until

from .. import ports
from ..bridge.workers import udp_sockets, worker_processes, workers_bridge
from . import sipp

PORT = ports.reserve(4)
RATE = 8000
CALLS = 20


async def test_many_calls_of_sipp_are_carried_by_both_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not sipp.available():
        unavailable("peers", "SIPp is not installed; `make test-peers` installs it")
    heard: list[bytearray] = []

    async def bot(connection: WebSocketConnection) -> None:
        sound = bytearray()
        heard.append(sound)
        while True:
            message = await connection.get_message()
            if isinstance(message, bytes):
                sound += message
                await connection.send_message(message)

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    async with (
        workers_bridge("--listen", "127.0.0.1:0", "--rate", str(RATE), program=bot) as bridge,
        trio.open_nursery() as nursery,
    ):
        scenario = sipp.caller(seconds=3)

        async def call() -> None:
            await sipp.run(scenario, tmp_path, PORT, bridge.address, calls=CALLS, rate=20)

        nursery.start_soon(call)
        pids = worker_processes(bridge.process)
        await until(lambda: sum(map(udp_sockets, pids)) == 2 * CALLS, within=10)
        assert [udp_sockets(pid) for pid in pids] == [CALLS, CALLS]
    assert len(heard) == CALLS
    for sound in heard:
        assert_tone(bytes(sound[RATE : 3 * RATE]), RATE, sipp.TONE_FREQUENCY, tolerance=2)
