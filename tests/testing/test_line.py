"""A line with faults between a phone and a real Asterisk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from spech import Call, PortRange, open_phone
from spech.testing.asterisk import Asterisk
from spech.testing.audio import sine
from spech.testing.line import DEAD, FaultyLine, open_line
from spech.testing.relay import Network
from spech.testing.talk import hear_tone, listen
from spech.testing.waiting import first, until

PORTS = PortRange(34_720, 34_759)
SAID = sine(700, 8000, 1)


@asynccontextmanager
async def call_over(line: FaultyLine, number: str = "600") -> AsyncIterator[Call]:
    async with open_phone(
        line.account, listen=("127.0.0.1", 0), ports=PORTS, no_sound_after=1
    ) as phone:
        await phone.registered(timeout=20)
        async with phone.call(number) as call:
            await call.answered(timeout=20)
            yield call


async def test_a_line_without_faults_changes_nothing(pbx: Asterisk) -> None:
    async with open_line(pbx.account()) as line, call_over(line) as call:
        with call.open_audio(8000) as port:
            await hear_tone(port, 700, say=SAID)
        call.send_dtmf("1")
        await call.played()
        assert call.statistics.lost == 0
        call.hold()
        call.resume()
        await trio.sleep(0.3)
        with call.open_audio(8000) as port:
            await hear_tone(port, 700, say=SAID)
    assert line.lost == {"phone": 0, "pbx": 0}
    pbx.await_channels(0)


async def test_the_pbx_calls_over_the_line(pbx: Asterisk) -> None:
    async with (
        open_line(pbx.account()) as line,
        open_phone(line.account, listen=("127.0.0.1", 0), ports=PORTS) as phone,
    ):
        arrivals = phone.incoming_calls()
        await phone.registered(timeout=5)
        pbx.originate("alice", "Echo")
        async with (await first(arrivals)).answer() as call:
            with call.open_audio(8000) as port:
                await hear_tone(port, 700, say=SAID)
    pbx.await_channels(0)


async def test_losses_and_delay_are_measured(pbx: Asterisk) -> None:
    async with open_line(pbx.account()) as line, call_over(line, "608") as call:
        line.network = Network(loss=0.1, delay=0.1)
        with call.open_audio(8000) as port:
            await listen(port, 6)
        seen = call.statistics
        line.network = Network()
    assert seen.loss_percent == pytest.approx(10, abs=6)
    assert line.lost["pbx"] == pytest.approx(seen.lost, abs=6)


async def test_signalling_survives_heavy_losses(pbx: Asterisk) -> None:
    async with open_line(pbx.account(), loss=0.3, seed=3) as line, call_over(line):
        pass
    assert line.lost["phone"] > 0
    pbx.await_channels(0)


async def test_a_line_that_dies_is_noticed(pbx: Asterisk) -> None:
    async with open_line(pbx.account()) as line, call_over(line) as call:
        with call.open_audio(8000) as port:
            await hear_tone(port, 700, say=SAID)
        assert not call.no_sound
        line.network = DEAD
        await until(lambda: call.no_sound)
        line.network = Network()
        await until(lambda: not call.no_sound)
