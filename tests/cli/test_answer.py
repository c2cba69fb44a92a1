"""``spech answer`` and the sound options, against a phone on loopback in virtual time."""

from __future__ import annotations

import io
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from rich.console import Console

from spech import CallFailed, Phone, PortRange, open_phone
from spech.cli.answer import Attendance, take
from spech.cli.output import Output
from spech.cli.plan import Plan
from spech.cli.sound import SoundPlan
from spech.cli.telling import CallResult, panel
from spech.testing.audio import assert_tone, read_wav, sine, sounding, write_wav
from spech.testing.talk import listen, talk

PORTS = PortRange(37_440, 37_479)
ATTENDANCE = Attendance(listen=("127.0.0.1", 0))


class Run(Output):
    """A run of the command: its events, and its result."""

    def __init__(self) -> None:
        super().__init__(as_json=True)
        self.outcome = CallResult()
        self.events: list[dict[str, Any]] = []
        self.waits = trio.Event()

    @property
    def names(self) -> list[str]:
        return [event["event"] for event in self.events]

    def result(self, text: str, /, **fields: object) -> None:
        self.events.append(fields)
        self.waits.set()


async def answered(
    visit: Callable[[Phone, str], Awaitable[None]] | None = None,
    *,
    attendance: Attendance = ATTENDANCE,
    sound: SoundPlan = SoundPlan(),  # noqa: B008, it is frozen
) -> Run:
    """Run the command while ``visit`` calls its address."""
    run = Run()
    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as phone,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(take, attendance, Plan(sound=sound), run.outcome, run)
        await run.waits.wait()
        if visit is not None:
            await visit(phone, f"sip:spech@{run.events[0]['address']}")
    run.outcome.print(run)
    return run


async def test_it_plays_a_file_and_ends_after_it(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    write_wav(tmp_path / "said.wav", sine(700, 8000, 1.0), 8000)

    async def visit(phone: Phone, target: str) -> None:
        async with phone.call(target, caller="sip:bob@127.0.0.1") as call:
            await call.answered()
            with call.open_audio(8000) as port:
                heard = await listen(port, 1.0)
            assert_tone(sounding(heard, 8000)[800:-400], 8000, 700)
            await call.ended()

    run = await answered(visit, sound=SoundPlan(play=tmp_path / "said.wav"))
    assert run.names == ["waiting", "ringing", "answered", "ended"]
    assert run.events[1]["remote"] == run.events[2]["remote"] == "bob"
    assert run.events[1]["called"] == "spech"
    assert run.outcome.answered
    assert run.outcome.ended_by == "local"
    assert 1.2 < run.outcome.duration_s < 1.6


async def test_it_echoes_and_records_both_sides(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async def visit(phone: Phone, target: str) -> None:
        async with phone.call(target) as call:
            await call.answered()
            with call.open_audio(8000) as port:
                heard = await talk(port, sine(900, 8000, 1.0), 1.5)
            assert_tone(sounding(heard, 8000)[800:-400], 8000, 900)
            call.send_dtmf("12#")
            await call.played()

    both = tmp_path / "both.wav"
    run = await answered(visit, sound=SoundPlan(echo=True, record=both))
    assert run.outcome.dtmf_received == "12#"
    assert "".join(e["digits"] for e in run.events if e["event"] == "digits") == "12#"
    assert run.outcome.ended_by == "remote"
    sound, rate = read_wav(both)
    assert_tone(sounding(sound, rate)[800:4800], rate, 900)


async def test_a_caller_who_gives_up_is_not_the_call(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def visit(phone: Phone, target: str) -> None:
        async with phone.call(target) as call:
            with pytest.raises(CallFailed):
                await call.answered(timeout=2)
        async with phone.call(target) as call:
            began = trio.current_time()
            await call.answered()
            assert 4.9 < trio.current_time() - began < 5.2

    run = await answered(visit, attendance=replace(ATTENDANCE, ring=5.0))
    assert run.names == ["waiting", "ringing", "abandoned", "ringing", "answered", "ended"]


async def test_it_gives_up_where_no_call_comes(autojump_clock: trio.testing.MockClock) -> None:
    began = trio.current_time()
    run = await answered(attendance=replace(ATTENDANCE, timeout=30.0))
    assert 30 <= trio.current_time() - began < 36
    assert run.names == ["waiting", "ended"]
    assert not run.outcome.answered


async def test_the_display_shows_levels_and_quality(
    autojump_clock: trio.testing.MockClock,
) -> None:
    console = Console(width=100, record=True, file=io.StringIO())

    async def visit(phone: Phone, target: str) -> None:
        async with phone.call(target) as call:
            await call.answered()
            with call.open_audio(8000) as port:
                await talk(port, sine(900, 8000, 3.0, level=-20), 3.0)
                console.print(panel(call))

    await answered(visit)
    state, ours, theirs, quality = console.export_text().splitlines()
    assert re.search("answered 0:0[23]", state)
    assert "PCMU" in state
    assert "█" in ours
    assert "silent" in theirs
    assert "█" not in theirs
    assert "of 4.5, loss 0.0 %" in quality
