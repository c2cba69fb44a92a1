"""The jitter buffer, in virtual time: a sender, a network that plays tricks, and a player."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from spech.rtp.jitter import JitterBuffer, Verdict
from spech.rtp.packet import RtpPacket

RATE = 8000
UNITS = 160
TICK = 0.02


def numbered(timestamp: int, payload: bytes = b"") -> RtpPacket:
    return RtpPacket(0, False, 0, timestamp & 0xFFFFFFFF, 1, payload)


class Line:
    """A sender of 20 ms packets, numbered by their payload, and a player of one tick at a time."""

    def __init__(self, delay: Callable[[int], float | None], start: int = 0xFFFFFE00) -> None:
        self.buffer = JitterBuffer(RATE)
        self.delay = delay
        self.start = start
        self.played: list[int] = []
        self.waits: list[float] = []
        self.verdicts: list[Verdict] = []
        self.silent = 0
        self.skips = 0

    def run(self, count: int, *, sender_tick: float = TICK, begin: float = 1000.0) -> Line:
        flying = []
        for number in range(count):
            delay = self.delay(number)
            if delay is not None:
                flying.append((begin + number * sender_tick + delay, number))
        flying.sort()
        now = begin + 0.003
        while now < begin + count * sender_tick:
            while flying and flying[0][0] <= now:
                arrival, number = flying.pop(0)
                packet = numbered(self.start + number * UNITS, number.to_bytes(4, "big"))
                self.verdicts.append(self.buffer.push(packet, arrival))
            playout = self.buffer.pop(UNITS, now)
            numbers = [int.from_bytes(packet.payload, "big") for packet in playout.packets]
            self.played += numbers
            self.waits += [now - begin - number * sender_tick for number in numbers]
            self.silent += not numbers
            self.skips += playout.skipped
            now += TICK
        return self


def test_a_perfect_line_plays_all_in_order_after_the_initial_delay() -> None:
    line = Line(lambda _: 0.0).run(200)
    assert line.played == list(range(len(line.played)))
    assert len(line.played) > 195
    assert set(line.verdicts) == {Verdict.ACCEPTED}
    assert 0.02 <= line.waits[0] <= 0.065
    # A line without jitter needs only the minimum.
    assert line.waits[-1] <= 0.045


def test_reordering_within_the_delay_is_not_heard() -> None:
    line = Line(lambda number: 0.03 if number % 5 == 0 else 0.0).run(300)
    assert line.played == sorted(line.played)
    assert len(line.played) >= 290
    assert line.verdicts.count(Verdict.LATE) <= 2


def test_lost_packets_leave_holes_of_their_own_length() -> None:
    line = Line(lambda number: None if number % 10 == 7 else 0.0).run(300)
    assert [number for number in range(290) if number not in line.played] == [
        number for number in range(290) if number % 10 == 7
    ]
    assert Verdict.LATE not in line.verdicts


def test_the_delay_follows_the_jitter() -> None:
    rng = random.Random(1)
    line = Line(lambda _: rng.uniform(0, 0.1)).run(1000)
    assert 0.08 <= line.buffer.target <= 0.12
    late = [index for index, verdict in enumerate(line.verdicts) if verdict is Verdict.LATE]
    assert sum(index > 100 for index in late) <= 5
    assert line.played == sorted(line.played)


def test_the_delay_shrinks_when_the_line_gets_better() -> None:
    rng = random.Random(1)
    line = Line(lambda number: rng.uniform(0, 0.12) if number < 300 else 0.0).run(1500)
    assert line.waits[290] > 0.08
    assert line.waits[-1] <= 0.05
    assert line.skips >= 2


def test_a_step_of_the_delay_is_survived() -> None:
    line = Line(lambda number: 0.0 if number < 200 else 0.15).run(600)
    assert line.played[-1] > 580
    assert len(line.played) > 570


@pytest.mark.parametrize("drift", [-0.0005, 0.0005])
def test_clock_drift_never_becomes_delay_or_loss(drift: float) -> None:
    line = Line(lambda _: 0.0).run(10000, sender_tick=TICK * (1 + drift))
    assert max(line.waits[500:]) < 0.1
    assert len(line.played) > 9900
    assert line.played == sorted(line.played)


def test_silence_suppression_is_no_loss() -> None:
    line = Line(lambda number: 0.0 if number // 50 % 2 == 0 else None).run(500)
    assert set(line.verdicts) == {Verdict.ACCEPTED}
    assert max(line.waits) < 0.07


def test_a_late_packet_is_dropped() -> None:
    line = Line(lambda number: 0.3 if number == 50 else 0.0).run(100)
    assert line.verdicts.count(Verdict.LATE) == 1
    assert 50 not in line.played


def test_timestamps_that_jump_align_playout_anew() -> None:
    buffer = JitterBuffer(RATE)
    now = 0.0
    played: list[bytes] = []
    verdicts = []
    for number in range(60):
        base = 1000 if number < 30 else 0x7000_0000
        verdicts.append(buffer.push(numbered(base + number * UNITS, bytes([number])), now))
        played += [packet.payload for packet in buffer.pop(UNITS, now).packets]
        now += TICK
    assert verdicts.count(Verdict.RESYNCHRONISED) == 1
    assert played[-1] == bytes([57])
    assert len(played) >= 54


def test_a_stream_that_paused_its_timestamps_is_heard_again() -> None:
    buffer = JitterBuffer(RATE)
    now, stamp = 0.0, 500
    played = 0
    for number in range(200):
        if not 50 <= number < 150:
            buffer.push(numbered(stamp), now)
            stamp += UNITS
        played += len(buffer.pop(UNITS, now).packets)
        now += TICK
    assert played >= 94


def test_it_never_holds_more_than_its_capacity() -> None:
    buffer = JitterBuffer(RATE)
    verdicts = {buffer.push(numbered(index), 0.0) for index in range(1000)}
    assert len(buffer) == 100
    assert verdicts == {Verdict.ACCEPTED, Verdict.OVERFLOWED}


def test_skipping_leaves_out_what_is_stale() -> None:
    buffer = JitterBuffer(RATE)
    for number in range(20):
        buffer.push(numbered(number * UNITS, bytes([number])), number * TICK)
    buffer.skip(10 * UNITS)
    assert len(buffer) == 12
    assert [packet.payload for packet in buffer.pop(UNITS, 0.4).packets] == [b"\x08"]
