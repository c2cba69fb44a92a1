"""The jitter buffer, in virtual time: a sender, a bad network, and a player."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from spech.rtp.jitter import JitterBuffer, PacketVerdict
from spech.rtp.packet import RtpPacket

RATE = 8000
UNITS = 160
TICK = 0.02


def numbered(number: int, timestamp: int | None = None, *, marker: bool = False) -> RtpPacket:
    stamp = number * UNITS if timestamp is None else timestamp
    payload = number.to_bytes(4, "big")
    return RtpPacket(0, marker, number & 0xFFFF, stamp & 0xFFFFFFFF, 1, payload)


def number_of(packet: RtpPacket) -> int:
    return int.from_bytes(packet.payload, "big")


class Line:
    """A sender of 20 ms packets and a player of one packet a tick, which conceals missing ones.

    Sequence numbers and timestamps wrap within the first seconds.
    """

    def __init__(self, delay: Callable[[int], float | None]) -> None:
        self.buffer = JitterBuffer(RATE)
        self.delay = delay
        self.played: list[int] = []
        self.waits: list[float] = []
        self.verdicts: list[PacketVerdict] = []
        self.bridged: list[int] = []

    def run(self, count: int, *, begin: float = 1000.0) -> Line:
        flying = []
        for number in range(count):
            delay = self.delay(number)
            if delay is not None:
                flying.append((begin + number * TICK + delay, number))
        flying.sort()
        now = begin + 0.003
        for tick in range(count):
            while flying and flying[0][0] <= now:
                arrival, number = flying.pop(0)
                packet = numbered(number)._replace(
                    sequence=(number + 65500) & 0xFFFF,
                    timestamp=(number * UNITS - 3000) & 0xFFFFFFFF,
                )
                self.verdicts.append(self.buffer.push(packet, arrival))
            self.play(tick, now, begin)
            now += TICK
        return self

    def play(self, tick: int, now: float, begin: float) -> None:
        taken = self.buffer.take(now)
        if taken is None:
            self.buffer.bridged(UNITS)
            self.bridged.append(tick)
            return
        self.buffer.played(UNITS)
        self.played.append(number_of(taken))
        self.waits.append(now - begin - number_of(taken) * TICK)


def test_a_perfect_network_plays_everything_in_order_after_the_initial_delay() -> None:
    line = Line(lambda _: 0.0).run(200)
    assert line.played == list(range(len(line.played)))
    assert len(line.played) > 195
    assert set(line.verdicts) == {PacketVerdict.ACCEPTED}
    assert 0.04 <= line.waits[0] <= 0.065
    assert line.buffer.target == pytest.approx(0.01)
    # Nothing is stretched here, so the excess delay is reported.
    assert line.buffer.spare / RATE == pytest.approx(line.waits[-1] - 0.01, abs=0.001)


def test_reordering_within_the_delay_is_inaudible() -> None:
    line = Line(lambda number: 0.03 if number % 5 == 0 else 0.0).run(300)
    assert line.played == list(range(len(line.played)))
    assert set(line.verdicts) == {PacketVerdict.ACCEPTED}
    assert len(line.bridged) <= 3


def test_lost_packets_leave_gaps_of_their_own_length() -> None:
    line = Line(lambda number: None if number % 10 == 7 else 0.0).run(300)
    lost = [number for number in range(290) if number % 10 == 7]
    assert [number for number in range(290) if number not in line.played] == lost
    assert PacketVerdict.LATE not in line.verdicts
    assert len(line.bridged) - 2 <= len(lost) + 1
    assert max(line.waits) - min(line.waits) < 0.001


@pytest.mark.parametrize(
    "delay",
    [
        lambda rng: rng.uniform(0, 0.1),
        lambda rng: min(0.25, rng.expovariate(1 / 0.02)),
        lambda rng: abs(rng.gauss(0, 0.03)),
    ],
    ids=["uniform", "exponential", "normal"],
)
def test_at_most_one_percent_of_packets_are_late(delay: Callable[[random.Random], float]) -> None:
    rng = random.Random(1)
    slow = {number: delay(rng) for number in range(6000)}
    line = Line(lambda number: slow[number]).run(6000)
    # After the network is known; a little above, because the future differs from the past.
    late = sum(slow[number] > line.buffer.target for number in range(400, 6000))
    assert late / 5600 < 0.02
    assert len([tick for tick in line.bridged if tick > 400]) / 5600 < 0.01
    assert line.played == sorted(line.played)


def test_the_target_follows_the_jitter_and_forgets_it() -> None:
    rng = random.Random(1)
    line = Line(lambda number: rng.uniform(0, 0.1) if number < 1000 else 0.0)
    line.run(1000)
    assert 0.09 <= line.buffer.target <= 0.101
    for number in range(1000, 1450):
        line.buffer.push(
            numbered(number)._replace(
                sequence=(number + 65500) & 0xFFFF, timestamp=(number * UNITS - 3000) & 0xFFFFFFFF
            ),
            1000.0 + number * TICK,
        )
        line.play(number, 1000.003 + number * TICK, 1000.0)
    assert line.buffer.target == pytest.approx(0.01)
    assert line.buffer.spare > 0.05 * RATE


def test_a_step_in_delay_loses_nothing() -> None:
    line = Line(lambda number: 0.0 if number < 200 else 0.15).run(600)
    assert line.played == list(range(len(line.played)))
    assert len(line.bridged) <= 9


def test_a_pause_of_the_peer_corrects_the_delay_at_once() -> None:
    def delay(number: int) -> float | None:
        return 0.0 if number // 100 % 2 == 0 else None

    line = Line(lambda number: 0.12 if number == 0 else delay(number))
    line.buffer._target = line.buffer._assumed = int(0.15 * RATE)
    line.run(900)
    assert set(line.verdicts) == {PacketVerdict.ACCEPTED}
    waits = dict(zip(line.played, line.waits, strict=True))
    assert waits[99] > 0.14
    assert 0.01 <= waits[899 - 90] <= 0.035


def test_silence_of_the_peer_is_not_loss() -> None:
    buffer = JitterBuffer(RATE)
    buffer.push(numbered(0, 0), 0.0)
    assert buffer.take(0.045) is not None
    buffer.played(UNITS)
    buffer.push(numbered(1, 10 * UNITS), 0.2)
    assert buffer.missing() == (0, None)
    assert buffer.take(0.22) is None
    assert buffer.take(0.241) is not None


def test_a_marker_starts_a_talkspurt_even_after_a_loss() -> None:
    buffer = JitterBuffer(RATE)
    for number in (0, 2):
        buffer.push(numbered(number, 4 * number * UNITS, marker=True), 0.08 * number)
    assert buffer.take(0.045) is not None
    buffer.played(UNITS)
    assert buffer.missing() == (0, None)
    assert buffer.take(0.19) is None
    assert buffer.take(0.201) is not None


def test_the_length_of_a_loss_is_known_from_the_next_packet() -> None:
    buffer = JitterBuffer(RATE)
    for number in (0, 3):
        buffer.push(numbered(number), number * TICK)
    assert buffer.take(0.061) is not None
    buffer.played(UNITS)
    missing, following = buffer.missing()
    assert missing == 2 * UNITS
    assert following is not None
    assert number_of(following) == 3
    buffer.bridged(UNITS)
    assert buffer.take(0.08) is None
    assert buffer.missing()[0] == UNITS
    buffer.bridged(UNITS)
    assert buffer.take(0.1) == following


def test_a_packet_after_its_concealment_is_late() -> None:
    line = Line(lambda number: 0.3 if number == 50 else 0.0).run(100)
    assert line.verdicts.count(PacketVerdict.LATE) == 1
    assert 50 not in line.played


@pytest.mark.parametrize("jump", [0x7000_0000, 20 * UNITS, 400 * UNITS, -4 * UNITS, -40000])
def test_a_timestamp_jump_restarts_playout(jump: int) -> None:
    buffer = JitterBuffer(RATE)
    now = 0.0
    played: list[int] = []
    verdicts = []
    for number in range(60):
        stamp = 90000 + number * UNITS + (jump if number >= 30 else 0)
        verdicts.append(buffer.push(numbered(number, stamp), now))
        taken = buffer.take(now)
        if taken is None:
            buffer.bridged(UNITS)
        else:
            buffer.played(UNITS)
            played.append(number_of(taken))
        now += TICK
    # A small step back may be network delay.
    assert verdicts.count(PacketVerdict.RESYNCHRONISED) == (abs(jump) > 10 * UNITS)
    assert played[-1] >= 56
    assert len(played) >= 53


def test_a_stream_is_heard_again_after_its_timestamps_paused() -> None:
    buffer = JitterBuffer(RATE)
    played = number = 0
    for tick in range(200):
        if not 50 <= tick < 150:
            buffer.push(numbered(number), tick * TICK)
            number += 1
        taken = buffer.take(tick * TICK)
        buffer.bridged(UNITS) if taken is None else buffer.played(UNITS)
        played += taken is not None
    assert played >= 94


def test_it_never_holds_more_than_its_capacity() -> None:
    buffer = JitterBuffer(RATE)
    verdicts = {buffer.push(numbered(index), 0.0) for index in range(1000)}
    assert len(buffer) == 100
    assert verdicts == {PacketVerdict.ACCEPTED, PacketVerdict.OVERFLOWED}


def test_playout_continues_with_what_is_due_after_a_suspend() -> None:
    buffer = JitterBuffer(RATE)
    for number in range(80):
        buffer.push(numbered(number), number * TICK)
    taken = buffer.take(80 * TICK)
    assert taken is not None
    assert number_of(taken) >= 76
    assert buffer.discarded == number_of(taken)
    buffer.played(UNITS)
    assert buffer.spare < 2 * UNITS


def test_a_packet_longer_than_its_timestamps_indicate_is_played() -> None:
    buffer = JitterBuffer(RATE)
    played = 0
    for number in range(100):
        buffer.push(numbered(number, number * UNITS // 2), number * TICK)
        if buffer.take(number * TICK) is not None:
            buffer.played(UNITS)
            played += 1
    assert played > 90


def test_a_repeatedly_stopping_clock_does_not_look_like_delay() -> None:
    """Its timestamps fall behind by 100 ms at a time: no delay accumulates."""
    line = Line(lambda number: 0.001 + 0.1 * min(max(0, number - 200) // 20, 20))
    line.run(700)
    assert line.buffer.delay < 0.7
    assert line.verdicts.count(PacketVerdict.LATE) == 0
    assert line.buffer.discarded == 0


def resume(hold: float, ppm: int, spread: float) -> list[int]:
    """The excess delay (units) of packets after a hold in which the peer's clock drifted."""
    buffer = JitterBuffer(RATE)
    rng = random.Random(1)
    delays = [rng.uniform(0, spread) for _ in range(900)]
    for number in range(400):
        buffer.push(numbered(number), number * TICK + delays[number])
        if buffer.take(number * TICK + 0.1) is not None:
            buffer.played(UNITS)
    for _ in range(400):
        if buffer.take(8.5) is not None:
            buffer.played(UNITS)
    drift = 1 + ppm * 1e-6
    begin = 8.0 + hold
    stamp = int(begin * RATE * drift)
    waits = []
    waiting: dict[int, float] = {}
    for tick in range(500):
        now = begin + tick * TICK
        arrival = now + delays[400 + tick]
        packet = numbered(400 + tick, stamp + tick * UNITS, marker=tick == 0)
        waiting[400 + tick] = arrival
        buffer.push(packet, arrival)
        # Ticks are finer than packets, so that the delay can be measured.
        for part in range(8):
            taken = buffer.take(now + TICK * (1 + part / 8))
            if taken is not None:
                buffer.played(UNITS)
                waits.append(int((now + TICK * (1 + part / 8) - waiting[number_of(taken)]) * 1000))
    return waits


@pytest.mark.parametrize("spread", [0.0, 0.03])
@pytest.mark.parametrize(("hold", "ppm"), [(300, 100), (2400, 100), (900, -100), (2400, 20)])
def test_clock_drift_during_a_hold_adds_no_delay(hold: float, ppm: int, spread: float) -> None:
    without = resume(hold, 0, spread)
    drifted = resume(hold, ppm, spread)
    assert len(drifted) > 480
    assert abs(max(drifted) - max(without)) <= 10
    assert max(drifted[50:]) <= spread * 1000 + 45
