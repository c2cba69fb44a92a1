"""Packets are sent at even intervals, whatever length the peer requests."""

from __future__ import annotations

import itertools

import pytest
import trio
import trio.testing

from spech import codecs
from spech.rtp.clock import MediaClock

from .conftest import Call


@pytest.mark.parametrize("ptime", [20, 30, 50, 70, 110, 150, 200])
@pytest.mark.parametrize("codec", ["PCMU", "G722", "L16/16000", "L16/11025", "G729", "opus"])
async def test_packets_of_any_length_are_sent_evenly(call: Call, codec: str, ptime: int) -> None:
    if codec not in codecs.names():
        pytest.skip(f"{codec} is not available")
    call.configure(codec, ptime=ptime)
    left = []
    for tick in range(120):
        before = len(call.left.rtp.sent)
        call.tick()
        left += [tick] * (len(call.left.rtp.sent) - before)
    distances = {later - earlier for earlier, later in itertools.pairwise(left)}
    assert len(distances) == 1, distances
    packets = call.left.packets()
    steps = {later.timestamp - earlier.timestamp for earlier, later in itertools.pairwise(packets)}
    clock = codecs.create(codec).clock_rate
    (distance,) = distances
    assert steps <= {distance * clock // 50, distance * clock // 50 + 1}


@pytest.mark.parametrize(
    ("codec", "length"),
    [("PCMU", 20), ("L16/16000", 20), ("G729", 20), ("opus", 20), ("iLBC/30", 30)],
)
async def test_a_requested_length_of_30_ms_becomes_20_ms(
    call: Call, codec: str, length: int
) -> None:
    if codec not in codecs.names():
        pytest.skip(f"{codec} is not available")
    call.configure(codec, ptime=30)
    call.tick(60)
    one, other = call.left.packets()[3:5]
    assert (other.timestamp - one.timestamp) * 1000 == length * codecs.create(codec).clock_rate


@pytest.mark.parametrize(
    ("codec", "ptime", "distances"),
    [
        ("PCMU", 30, {20}),
        ("PCMU", 40, {40}),
        ("PCMU", 60, {60}),
        # Its frames last 30 ms, and the clock ticks each 20 ms: the one length that is not even.
        ("iLBC/30", 30, {20, 40}),
        ("iLBC/30", 60, {60}),
    ],
)
async def test_the_media_clock_sends_packets_of_any_length_evenly(
    codec: str,
    ptime: int,
    distances: set[int],
    call: Call,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Measured at the socket, in virtual time: the milliseconds between two packets."""
    call.configure(codec, ptime=ptime)
    left: list[float] = []

    def note(datagram: bytes) -> list[bytes]:
        left.append(trio.current_time())
        return []

    def fail(error: Exception) -> None:
        raise error

    call.left.rtp.judge = note
    clock = MediaClock()
    await nursery.start(clock.run)
    with clock.attach(call.left.media.tick, fail):
        await trio.sleep(6)
    measured = [round((b - a) * 1000) for a, b in itertools.pairwise(left)]
    assert set(measured) == distances
    # How far packets leave from an even grid.
    even = sum(distances) / len(distances) / 1000
    offsets = [at - left[0] - number * even for number, at in enumerate(left)]
    assert max(offsets) - min(offsets) <= (0.0105 if len(distances) > 1 else 0.0005)
