"""Packets are sent at even intervals, whatever length the peer requests."""

from __future__ import annotations

import itertools

import pytest
import trio
import trio.testing

from spech import codecs
from spech.rtp.clock import MediaClock

from .conftest import Call, fail


@pytest.mark.parametrize("low_latency", [False, True])
@pytest.mark.parametrize(
    ("codec", "ptime", "length"),
    [
        *itertools.product(["PCMU", "G722", "L16/16000", "G729"], [20, 30, 110], [0]),
        ("L16/11025", 20, 20),
        ("L16/11025", 30, 20),  # Half a tick has no whole number of samples.
        ("L16/11025", 200, 200),
        *itertools.product(["PCMU", "G729", "opus"], [10, 40, 60, 200], [0]),
        ("iLBC/30", 20, 30),
        ("iLBC/30", 30, 30),
        ("iLBC/30", 60, 60),
        ("iLBC/30", 90, 90),
        ("opus", 30, 20),
        ("speex/8000", 30, 20),
        ("PCMU", 25, 20),
        ("PCMU", 35, 30),
    ],
)
async def test_packets_of_any_length_are_sent_evenly(
    codec: str,
    ptime: int,
    length: int,
    low_latency: bool,
    call: Call,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Measured at the socket, in virtual time; ``length`` is 0 where it equals ``ptime``."""
    if codec not in codecs.names():
        pytest.skip(f"{codec} is not available")
    call.configure(codec, ptime=ptime)
    call.left.media.low_latency = low_latency
    left: list[float] = []

    def note(datagram: bytes) -> list[bytes]:
        left.append(trio.current_time())
        return []

    call.left.rtp.judge = note
    clock = MediaClock()
    await nursery.start(clock.run)
    with clock.attach(call.left.media.tick, fail):
        await trio.sleep(3)
    length = min(length or ptime, 120 if codec == "opus" else 200)
    distances = {round((after - before) * 1000) for before, after in itertools.pairwise(left)}
    assert distances == {length}
    packets = call.left.packets()
    assert [packet.sequence - packets[0].sequence for packet in packets] == list(range(len(left)))
    units = length * codecs.clock_rate(codec) / 1000
    for before, after in itertools.pairwise(packets):
        assert after.timestamp - before.timestamp == pytest.approx(units, abs=0.5)


async def test_a_packet_that_was_held_leaves_before_what_follows_it(call: Call) -> None:
    """A tick that comes before its time, as after a stall, and a change of the codec."""
    media = call.left.media
    call.configure("iLBC/30", ptime=30)
    assert [media.tick(0.02 * number) is None for number in (1, 2)] == [True, True]
    assert media.tick(0.06) is not None  # The second packet is complete with the third tick.
    assert len(call.left.packets()) == 1
    for number in (4, 5, 6):
        media.tick(0.02 * number)
    assert len(call.left.packets()) == 3
    call.configure("PCMU", ptime=20)
    media.tick(0.14)
    sent = call.left.packets()
    assert [packet.payload_type for packet in sent] == [97, 97, 97, 97, 0]
    assert [packet.sequence - sent[0].sequence for packet in sent] == [0, 1, 2, 3, 4]
