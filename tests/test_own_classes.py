"""What a program may inherit from, pass in and derive, on the pure and on the compiled build.

mypyc's classes cannot be bases of interpreted ones, and compiled functions check the types of their
arguments. So public classes are final where they are compiled.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys

import numpy as np
import pytest
import trio
import trio.testing

import spech
from spech.audio.source import Source
from spech.codecs.base import Samples
from spech.testing.audio import assert_tone, sine
from spech.testing.talk import listen

PUBLIC = {name: getattr(spech, name) for name in spech.__all__}
CLASSES = {name: one for name, one in PUBLIC.items() if inspect.isclass(one)}


#: Classes whose objects only Spech makes, in modules that mypyc compiles.
FINAL = {
    "AudioPort",
    "Mark",
    "Mailbox",
    "MediaStatistics",
    "MessageCount",
    "Playback",
    "QualitySample",
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_class_is_final_or_can_be_inherited_from(name: str) -> None:
    base = CLASSES[name]
    compiled = not (sys.modules[base.__module__].__file__ or "").endswith(".py")
    # mypyc keeps no mark of the decorator.
    assert (getattr(base, "__final__", False) or compiled) == (name in FINAL)


class Tone(Source):
    """A source of a program's own, which inherits from the protocol."""

    def __init__(self) -> None:
        self.closed = 0
        self._position = 0

    def read(self, samples: int, rate: int) -> Samples:
        times = np.arange(self._position, self._position + samples) / rate
        self._position += samples
        return (8000 * np.sin(2 * np.pi * 600 * times)).astype(np.int16)

    def close(self) -> None:
        self.closed += 1


class Party(spech.Room):
    """A room that knows its name."""

    name = "party"


class Pcm(bytes):
    """PCM of a program's own type."""


class Rules(spech.CallRules):
    """Rules of a program's own type."""


async def answer_all(phone: spech.Phone, source: Tone) -> None:
    async for incoming in phone.incoming_calls():
        async with incoming.answer() as call:
            call.play(source)
            await call.ended()


async def test_a_call_with_classes_of_a_program_on_all_sides(
    autojump_clock: trio.testing.MockClock,
) -> None:
    source, party = Tone(), Party()
    async with (
        spech.open_phone(listen=("127.0.0.1", 0)) as bob,
        spech.open_phone(listen=("127.0.0.1", 0)) as alice,
        trio.open_nursery() as nursery,
    ):
        bob.rules = Rules()
        nursery.start_soon(answer_all, bob, source)
        async with alice.call(f"sip:bob@127.0.0.1:{bob.address[1]}") as call:
            await call.answered()
            with call.open_audio(8000) as port:
                heard = await listen(port, 1.0)
                port.send(Pcm(port.frame_samples * 2))
                await port.play(Pcm(sine(500, 8000, 0.2).tobytes())).played()
            member = call.join(party)
            await trio.sleep(1.0)
            assert member.room is party
            assert party.members == (member,)
            counted = dataclasses.replace(call.statistics, lost=7)
            assert (counted.lost, counted.received) == (7, call.statistics.received)
        nursery.cancel_scope.cancel()
    assert_tone(heard[-4000:], 8000, 600, purity=0.99)
    assert source.closed
