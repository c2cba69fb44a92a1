"""Two phones on loopback, in virtual time, and a call in each codec."""

from __future__ import annotations

import numpy as np
import pytest
import trio
import trio.testing

from spech import CodecUnavailable, IncomingCall, Phone, PortRange, codecs, open_phone
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
async def test_a_call_carries_a_tone_in_both_directions(
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
            # GSM 06.10 is made for speech; it keeps the pitch of a tone, but not its purity.
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


@pytest.mark.parametrize(
    ("ours", "theirs", "sent", "received"),
    [
        ("PCMU", "PCMU;ptime=40", 40, 20),
        ("PCMU;ptime=60", "PCMU", 20, 60),
        ("G729;ptime=10", "G729;ptime=30", 30, 10),
        ("iLBC/30", "iLBC/30", 30, 30),
        ("L16/48000", "L16/48000", 10, 10),
        ("L16/44100;ptime=20", "L16/44100", 10, 20),
        ("iLBC/30;ptime=60", "iLBC/20", 30, 60),
        ("opus;ptime=10;bitrate=12000", "opus;bitrate=32000;ptime=60;complexity=0", 60, 10),
    ],
)
async def test_each_side_sends_packets_of_the_length_that_the_other_requests(
    ours: str, theirs: str, sent: int, received: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS, codecs=[theirs]) as bob,
        open_phone(listen=LOOPBACK, ports=PORTS, codecs=[ours]) as alice,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(echo, bob)
        async with alice.call(f"sip:bob@127.0.0.1:{bob.address[1]}") as call:
            await call.answered()
            assert call.codec == ours.partition(";")[0]
            with call.open_audio(16000) as port:
                before = call.statistics
                heard = await talk(port, sine(700, 16000, 1, level=-18), 3)
                after = call.statistics
            assert_tone(heard[-16000:], 16000, 700, level=-18, level_tolerance=3, purity=0.8)
        nursery.cancel_scope.cancel()
    assert after.sent - before.sent == pytest.approx(3000 / sent, abs=3)
    assert after.received - before.received == pytest.approx(3000 / received, abs=12)
    if ours.startswith("opus"):
        # Slightly less for a tone; redundancy is part of the same bitrate.
        bits = 8 * (after.sent_octets - before.sent_octets) / 3
        assert 6000 < bits < 14000
    assert after.lost == after.dropped_invalid == 0


async def test_all_codecs_are_offered_and_the_first_is_used(
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


async def test_a_phone_needs_a_codec() -> None:
    with pytest.raises(CodecUnavailable, match="none is named"):
        async with open_phone(listen=LOOPBACK, codecs=[]):
            pass
