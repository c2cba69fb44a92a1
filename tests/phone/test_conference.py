"""Conferences of phones on loopback, in virtual time, each with its own tone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing
from numpy.typing import NDArray

from spech import (
    AudioPort,
    Call,
    CallEnded,
    IncomingCall,
    Phone,
    PortRange,
    open_conference,
    open_phone,
)
from spech.media.playback import Pcm
from spech.testing.audio import assert_silence, assert_tone, read_wav, samples, sine
from spech.testing.talk import listen, talk

LOOPBACK = ("127.0.0.1", 0)
PORTS = PortRange(36_000, 36_079)
#: Whole periods in 20 ms, so that samples removed by a jitter buffer do not shift the phase.
TONES = {"anna": 550, "ben": 900, "carla": 1300}


def level_of(pcm: Pcm, hertz: float, rate: int) -> float:
    """How loud one tone is in a sound, dBFS."""
    sound = samples(pcm)
    window = np.hanning(len(sound))
    turns = np.exp(-2j * np.pi * hertz * np.arange(len(sound)) / rate)
    return float(20 * np.log10(abs(np.sum(sound * window * turns)) / window.sum() + 1e-9)) + 3


class Guests:
    """A phone whose users each send a tone, and keep the last half second of received sound."""

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self.heard: dict[str, NDArray[np.int16]] = {}
        self.calls: dict[str, Call] = {}

    async def serve(self) -> None:
        async with trio.open_nursery() as nursery:
            async for incoming in self.phone.incoming_calls():
                nursery.start_soon(self._talk, incoming)

    async def _talk(self, incoming: IncomingCall) -> None:
        name = incoming.called
        async with incoming.answer() as call:
            self.calls[name] = call
            with call.open_audio(16000) as port:
                while call.state != "ended":
                    try:
                        self.heard[name] = await talk(port, sine(TONES[name], 16000, 1), 0.5)
                    except CallEnded:
                        return

    def level(self, listener: str, hertz: float) -> float:
        return level_of(self.heard[listener], hertz, 16000)


@asynccontextmanager
async def three_calls(*codecs: str) -> AsyncIterator[tuple[Guests, dict[str, Call]]]:
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS, codecs=["PCMU", "G722", "opus"]) as theirs,
        open_phone(listen=LOOPBACK, ports=PORTS) as ours,
        trio.open_nursery() as nursery,
        AsyncExitStack() as stack,
    ):
        guests = Guests(theirs)
        nursery.start_soon(guests.serve)
        calls = {}
        for name, codec in zip(TONES, codecs, strict=True):
            target = f"sip:{name}@127.0.0.1:{theirs.address[1]}"
            calls[name] = await stack.enter_async_context(ours.call(target, codecs=[codec]))
            await calls[name].answered(timeout=5)
        yield guests, calls
        nursery.cancel_scope.cancel()


async def talk_until(port: AudioPort, check: Callable[[NDArray[np.int16]], None]) -> None:
    """Send 2100 Hz until ``check`` of the last second of received sound holds.

    Datagrams travel in real time and all else in virtual time, so jitter buffers take a while to
    settle, and longer on a busy machine.
    """
    failure: AssertionError | None = None
    for _ in range(20):
        heard = await talk(port, sine(2100, port.rate, 1), 1)
        try:
            check(heard)
            return
        except AssertionError as error:
            failure = error
    assert failure is not None
    raise failure


@pytest.mark.parametrize("codecs", [("PCMU", "PCMU", "PCMU"), ("PCMU", "G722", "opus")])
async def test_each_member_hears_all_others_but_not_itself(
    codecs: tuple[str, ...], autojump_clock: trio.testing.MockClock
) -> None:
    async with three_calls(*codecs) as (guests, calls), open_conference() as conference:
        members = [conference.add(call) for call in calls.values()]
        assert tuple(members) == conference.members

        def check(heard: NDArray[np.int16]) -> None:
            for other in TONES.values():
                assert level_of(heard, other, 16000) == pytest.approx(-15, abs=1)
            assert level_of(heard, 2100, 16000) < -56
            for listener in TONES:
                for speaker, each in (TONES | {"we": 2100}).items():
                    if speaker == listener:
                        assert guests.level(listener, each) < -56
                    else:
                        assert guests.level(listener, each) == pytest.approx(-15, abs=1.5)

        with conference.open_audio(16000) as (port, ours):
            await talk_until(port, check)
            assert conference.members == (*members, ours)


async def test_two_calls_and_their_near_ends_are_merged_and_split(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with three_calls("PCMU", "PCMU", "PCMU") as (guests, calls):

        def merged(heard: NDArray[np.int16]) -> None:
            assert level_of(heard, 550, 8000) == pytest.approx(-21, abs=0.5)
            assert level_of(heard, 900, 8000) == pytest.approx(-15, abs=0.5)
            assert level_of(heard, 2100, 8000) < -56
            assert guests.level("ben", 550) == pytest.approx(-21, abs=1)
            assert guests.level("ben", 2100) == pytest.approx(-15, abs=1)
            assert guests.level("anna", 900) == pytest.approx(-15, abs=1)
            assert_silence(guests.heard["carla"])

        def split(heard: NDArray[np.int16]) -> None:
            assert_silence(guests.heard["ben"])
            assert level_of(heard, 900, 8000) < -56

        def alone(heard: NDArray[np.int16]) -> None:
            assert_tone(heard, 8000, 550, level=-15)

        with calls["anna"].open_audio(8000) as port:
            async with open_conference() as conference:
                conference.add(calls["anna"], gain=-6)
                conference.add(calls["ben"])
                await talk_until(port, merged)
                conference.remove(calls["ben"])
                conference.remove(calls["ben"])
                assert calls["ben"].member is None
                await talk_until(port, split)
            assert calls["anna"].member is None
            await talk_until(port, alone)
            assert all(call.state == "answered" for call in calls.values())


async def test_a_conference_continues_when_a_member_hangs_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        three_calls("PCMU", "PCMU", "PCMU") as (guests, calls),
        open_conference() as conference,
    ):
        for call in calls.values():
            conference.add(call)
        await trio.sleep(1)
        guests.calls["carla"].hang_up()
        await calls["carla"].ended()
        assert len(conference.members) == 2
        assert calls["carla"].member is None

        def check(heard: NDArray[np.int16]) -> None:
            assert guests.level("anna", 900) == pytest.approx(-15, abs=1)
            assert guests.level("anna", 1300) < -56

        with conference.open_audio(8000) as (port, _):
            await talk_until(port, check)
        with pytest.raises(CallEnded):
            conference.add(calls["carla"])


async def test_a_call_is_in_one_conference_at_a_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        three_calls("PCMU", "PCMU", "PCMU") as (_, calls),
        open_conference() as first,
        open_conference() as second,
    ):
        before = first.add(calls["anna"])
        after = second.add(calls["anna"])
        first.remove(calls["anna"])
        assert (before.room, after.room) == (None, second)
        assert (first.members, second.members) == ((), (after,))


async def test_two_programs_can_talk_without_a_call(autojump_clock: trio.testing.MockClock) -> None:
    async def say(port: AudioPort) -> None:
        await talk(port, sine(600, 8000, 1), 60)

    async with open_conference() as conference:
        with (
            conference.open_audio(8000) as (ours, member),
            conference.open_audio(48000) as (theirs, _),
        ):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(say, ours)
                heard = await listen(theirs, 1.5)
                assert_tone(heard[-24000:], 48000, 600, level=-15)
                assert member.level == pytest.approx(-15, abs=0.5)
                nursery.cancel_scope.cancel()


async def test_an_error_in_a_member_ends_the_block(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        async with open_conference() as conference:
            with conference.open_audio(8000) as (port, _), port.driven(fail, lambda pcm: None):
                await trio.sleep(5)


async def test_a_conference_recording_contains_all_members(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with three_calls("PCMU", "G722", "PCMU") as (_, calls), open_conference() as conference:
        for call in calls.values():
            conference.add(call)
        await trio.sleep(3)
        with conference.record(tmp_path / "room.wav"):
            assert len(conference.members) == 3
            await trio.sleep(10)
    sound, rate = read_wav(tmp_path / "room.wav")
    assert len(sound) / rate == pytest.approx(10, abs=0.1)
    for hertz in TONES.values():
        seconds = [level_of(sound[at * rate : (at + 1) * rate], hertz, rate) for at in range(9)]
        assert np.median(seconds) == pytest.approx(-15, abs=1)
