"""Two phones on loopback, in virtual time, and a call in each codec."""

from __future__ import annotations

import numpy as np
import pytest
import trio
import trio.testing

from spech import IncomingCall, Phone, PortRange, codecs, open_phone
from spech.testing.audio import assert_tone, sine
from spech.testing.talk import talk

LOOPBACK = ("127.0.0.1", 0)
PORTS = PortRange(37_240, 37_279)


async def echo(phone: Phone) -> None:
    async def serve(incoming: IncomingCall) -> None:
        async with incoming.answer() as call:
            with call.open_audio() as port:
                async for frame in port:
                    port.send(frame)

    async with trio.open_nursery() as nursery:
        async for incoming in phone.incoming_calls():
            nursery.start_soon(serve, incoming)


@pytest.mark.parametrize("name", codecs.names())
async def test_a_call_carries_a_tone_there_and_back(
    name: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS, codecs=codecs.names()) as bob,
        open_phone(listen=LOOPBACK, ports=PORTS) as alice,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(echo, bob)
        target = f"sip:bob@127.0.0.1:{bob.address[1]}"
        async with alice.call(target, codecs=[name]) as call:
            await call.answered()
            assert call.codec == name
            with call.open_audio(16000) as port:
                heard = await talk(port, sine(700, 16000, 1, level=-18), 2)
            # GSM 06.10 is made for speech; of a tone it keeps the pitch, and less of the purity.
            assert_tone(
                heard[-12800:-3200],
                16000,
                700,
                tolerance=5,
                level=-18,
                level_tolerance=3,
                purity=0.8,
            )
            assert call.statistics.lost == call.statistics.dropped_invalid == 0
        nursery.cancel_scope.cancel()


async def test_everything_at_once_is_offered_and_the_first_one_taken(
    autojump_clock: trio.testing.MockClock,
) -> None:
    names = codecs.names()
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS, codecs=names) as bob,
        open_phone(listen=LOOPBACK, ports=PORTS, codecs=names[::-1]) as alice,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(echo, bob)
        async with alice.call(f"sip:bob@127.0.0.1:{bob.address[1]}") as call:
            await call.answered()
            assert call.codec == names[-1]
            assert np.isfinite(call.levels).all()
        nursery.cancel_scope.cancel()
