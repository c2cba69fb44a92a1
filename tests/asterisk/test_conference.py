"""A conference of two calls through a real PBX and our own microphone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import trio
from numpy.typing import NDArray

from spech import AudioPort, CallEnded, Phone, open_conference
from spech.testing.asterisk import Asterisk
from spech.testing.audio import samples, sine
from spech.testing.talk import talk
from spech.testing.waiting import first

RATE = 8000


def level(pcm: NDArray[np.int16], hertz: float) -> float:
    """The level of one tone in the sound, in dBFS."""
    sound = samples(pcm)
    window = np.hanning(len(sound))
    turns = np.exp(-2j * np.pi * hertz * np.arange(len(sound)) / RATE)
    return float(20 * np.log10(abs(np.sum(sound * window * turns)) / window.sum() + 1e-9)) + 3


async def talk_until(port: AudioPort, check: Callable[[NDArray[np.int16]], None]) -> None:
    """Send 400 Hz until ``check`` of the last second of received sound holds; at most 10 s."""
    failure: AssertionError | None = None
    for _ in range(10):
        heard = await talk(port, sine(400, RATE, 1, level=-18), 1)
        try:
            check(heard)
            return
        except (AssertionError, IndexError) as error:
            failure = AssertionError(error)
    assert failure is not None
    raise failure


async def test_a_conference_of_bob_a_tone_and_our_microphone(
    phones: tuple[Phone, Phone], pbx: Asterisk
) -> None:
    """Bob hears the tone of 1004 Hz from the other call and us, but not himself."""
    alice, bob = phones
    heard: list[NDArray[np.int16]] = []

    arrivals = bob.incoming_calls()  # Before the command, because the call may arrive at once.

    async def answer() -> None:
        incoming = await first(arrivals)
        with suppress(CallEnded):
            async with incoming.answer() as call:
                with call.open_audio(RATE) as port:
                    while True:
                        heard.append(await talk(port, sine(700, RATE, 1, level=-18), 1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        async with (
            alice.call("bob") as one,
            alice.call("601") as other,
            open_conference() as conference,
        ):
            await one.answered(timeout=5)
            await other.answered(timeout=5)
            conference.add(one)
            member = conference.add(other)

            def all_together(ours: NDArray[np.int16]) -> None:
                theirs = heard[-1]
                assert level(theirs, 400) > -21
                assert level(theirs, 1004) > member.level - 3 > -40
                assert level(theirs, 700) < -56
                assert level(ours, 700) > -21
                assert level(ours, 1004) > -40
                assert level(ours, 400) < -56

            def without_the_tone(ours: NDArray[np.int16]) -> None:
                assert level(heard[-1], 1004) < -56
                assert level(heard[-1], 400) > -21

            with conference.open_audio(RATE) as (port, _):
                await talk_until(port, all_together)
                member.muted = True
                await talk_until(port, without_the_tone)
