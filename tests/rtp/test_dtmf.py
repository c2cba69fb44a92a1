"""Telephone events: what is sent, and what is received over a bad network."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spech.errors import RemoteProtocolError
from spech.rtp.dtmf import DIGITS, DigitReceiver, DigitSender, EventPacket

START = 0xFFFFFF00


def send(
    digits: str, *, ticks: int = 5, gap_ticks: int = 3, units: int = 160
) -> list[list[EventPacket]]:
    """All packets of ``digits``, one list for each."""
    sender = DigitSender()
    timestamp = START
    events: list[list[EventPacket]] = []
    for digit in digits:
        sender.begin(digit)
        events.append([])
        for tick in range(ticks + gap_ticks):
            last = tick == ticks - 1
            events[-1] += (
                sender.next(timestamp, units, last=last) if tick < ticks else sender.after()
            )
            timestamp = (timestamp + units) & 0xFFFFFFFF
    return events


def hear(packets: list[EventPacket], *, order: list[int] | None = None) -> str:
    """The digits received from packets in this order; ``order`` are their sequence numbers."""
    receiver = DigitReceiver()
    heard = ""
    latest = -1
    for sequence, packet in zip(order or range(len(packets)), packets, strict=True):
        late = sequence < latest
        latest = max(latest, sequence)
        heard += (
            receiver.receive_telephone_event(
                packet.timestamp, packet.payload, marker=packet.marker, late=late
            )
            or ""
        )
    return heard


def fields(packet: EventPacket) -> tuple[int, bool, int]:
    code, flags, high, low = packet.payload
    return code, flags >= 0x80, high << 8 | low


def test_a_digit_is_sent_packet_by_packet() -> None:
    (event,) = send("#")
    assert [fields(packet) for packet in event] == [
        (11, False, 160),
        (11, False, 320),
        (11, False, 480),
        (11, False, 640),
        (11, True, 800),
        (11, True, 800),
        (11, True, 800),
    ]
    assert {packet.timestamp for packet in event} == {START}
    assert [packet.marker for packet in event] == [True] + [False] * 6


@pytest.mark.parametrize("units", [160, 320, 882, 960])
def test_durations_are_in_units_of_the_clock(units: int) -> None:
    (event,) = send("1", units=units)
    assert [fields(packet)[2] for packet in event][-1] == 5 * units


def test_every_digit_is_received_once() -> None:
    events = send(DIGITS + "1122")
    assert hear(list(itertools.chain(*events))) == DIGITS + "1122"


def test_the_shortest_digit_has_marker_and_end_in_its_first_packet() -> None:
    (event,) = send("1", ticks=1)
    assert [fields(packet) for packet in event] == [(1, True, 160)] * 3
    assert hear(event) == "1"


def test_any_single_packet_of_an_event_is_enough() -> None:
    for kept in range(7):
        events = send("55555")
        assert hear([event[kept] for event in events]) == "55555"


@given(st.integers(0, 2**32), st.text(alphabet=DIGITS, min_size=1, max_size=20))
def test_no_digit_is_lost_or_doubled_if_one_packet_of_each_arrives(seed: int, keys: str) -> None:
    rng = random.Random(seed)
    packets: list[tuple[int, EventPacket]] = []
    numbers = itertools.count()
    for event in send(keys):
        numbered = [(next(numbers), packet) for packet in event]
        kept = rng.sample(numbered, rng.randint(1, len(event)))
        kept += rng.choices(kept, k=2)
        rng.shuffle(kept)
        packets += kept
    assert hear([packet for _, packet in packets], order=[number for number, _ in packets]) == keys


def moving(event: list[EventPacket], *, ends_only: bool = False) -> list[EventPacket]:
    """As some gateways send: each packet, or each repeated end, has a timestamp of its own."""
    moved = []
    for index, packet in enumerate(event):
        offset = max(0, index - 4) if ends_only else index
        timestamp = (packet.timestamp + offset * 160) & 0xFFFFFFFF
        moved.append(EventPacket(packet.marker, timestamp, packet.payload))
    return moved


@pytest.mark.parametrize("ends_only", [False, True])
@pytest.mark.parametrize("marked", [False, True])
def test_timestamps_that_move_within_an_event_do_not_double_it(
    ends_only: bool, marked: bool
) -> None:
    for seed in range(300):
        rng = random.Random(seed)
        keys = "".join(rng.choice("0123456789") * rng.randint(1, 3) for _ in range(8))
        packets = [
            packet._replace(marker=packet.marker and marked)
            for event in send(keys)
            for packet in moving(event, ends_only=ends_only)
        ]
        assert hear(packets) == keys
        # The first two packets of each event reveal this kind of gateway.
        some = [p for p in packets if fields(p)[2] <= 320 or rng.random() < 0.8]
        assert hear(some) == keys


def test_a_clock_that_stops_during_events_loses_no_digit() -> None:
    """All of them have one timestamp, the last one that the sound had."""
    keys = "1223334444*#"
    packets = [packet._replace(timestamp=START) for event in send(keys) for packet in event]
    assert hear(packets) == keys
    for seed in range(100):
        rng = random.Random(seed)
        some = [p for p in packets if fields(p)[1] or rng.random() < 0.5]
        some = [p for p in some if fields(p)[1] or fields(p)[2] < 640]
        heard = hear(some)
        assert set(heard) == set(keys)
        assert len(heard) <= len(keys)


def test_a_long_event_may_start_a_segment_anywhere_in_the_second_half() -> None:
    (event,) = send("9", ticks=500, units=160)
    segment = 250 * 160
    cut = []
    for packet in event:
        elapsed = fields(packet)[2] + ((packet.timestamp - START) & 0xFFFFFFFF)
        begin = (elapsed - 1) // segment * segment
        payload = packet.payload[:2] + (elapsed - begin).to_bytes(2, "big")
        cut.append(EventPacket(packet.marker, (START + begin) & 0xFFFFFFFF, payload))
    assert hear(cut) == "9"
    for seed in range(50):
        kept = [packet for packet in cut if random.Random(f"{seed}{packet}").random() < 0.8]
        assert hear(kept) == "9"


@pytest.mark.parametrize("units", [160, 320, 960])
@pytest.mark.parametrize("burst", [1.0, 2.0])
def test_digits_survive_20_percent_loss(units: int, burst: float) -> None:
    """20 % loss, alone and in bursts, over 100 seeds of 40 digits."""
    for seed in range(100):
        rng = random.Random(seed)
        keys = "".join(rng.choice(DIGITS) * rng.randint(1, 2) for _ in range(40))
        losing = False
        kept = []
        for packet in itertools.chain(*send(keys, ticks=5 if burst == 1 else 14, units=units)):
            losing = rng.random() >= 1 / burst if losing else rng.random() < 0.25 / burst
            if not losing:
                kept.append(packet)
        assert hear(kept) == keys, seed


def test_an_overtaken_event_is_still_received() -> None:
    one, two, three = send("123")
    assert hear([one[0], three[0], two[0], *one, *two, *three]) == "132"


def test_a_long_event_is_sent_in_segments() -> None:
    (event,) = send("9", ticks=500, units=160)
    assert 500 * 160 > 0xFFFF
    assert {packet.timestamp for packet in event} == {START, (START + 0xFFFF) & 0xFFFFFFFF}
    assert sum(packet.marker for packet in event) == 1
    assert [fields(packet)[1] for packet in event].count(True) == 3
    assert max(fields(packet)[2] for packet in event) == 0xFFFF
    assert fields(event[-1])[2] == 500 * 160 - 0xFFFF
    assert hear(event) == "9"


def test_a_long_event_is_one_digit_despite_losses() -> None:
    (event,) = send("9", ticks=400, units=960)
    for seed in range(50):
        assert hear(random.Random(seed).sample(event, 1)) == "9"
        kept = sorted(random.Random(seed).sample(range(len(event)), 40))
        assert hear([event[index] for index in kept]) == "9"


def test_a_repeated_digit_is_received_even_without_an_end_packet() -> None:
    one, two = send("77", gap_ticks=10)
    assert hear(one[:3] + two[:3]) == "77"


def test_events_that_are_not_digits_are_ignored() -> None:
    assert DigitReceiver().receive_telephone_event(1, b"\x10\x0a\x00\xa0") is None
    with pytest.raises(RemoteProtocolError):
        DigitReceiver().receive_telephone_event(1, b"\x01\x0a\x00")
