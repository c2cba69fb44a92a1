"""Telephone events: what is sent, and what is heard of it over a bad line."""

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


def hear(packets: list[EventPacket]) -> str:
    receiver = DigitReceiver()
    heard = (receiver.receive(packet.timestamp, packet.payload) for packet in packets)
    return "".join(key for key in heard if key is not None)


def fields(packet: EventPacket) -> tuple[int, bool, int]:
    code, flags, high, low = packet.payload
    return code, flags >= 0x80, high << 8 | low


def test_one_digit_packet_by_packet() -> None:
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
def test_durations_count_in_the_units_of_the_clock(units: int) -> None:
    (event,) = send("1", units=units)
    assert [fields(packet)[2] for packet in event][-1] == 5 * units


def test_every_digit_is_heard_once() -> None:
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
def test_no_digit_is_lost_or_doubled_while_one_packet_of_each_comes(seed: int, keys: str) -> None:
    rng = random.Random(seed)
    packets: list[EventPacket] = []
    for event in send(keys):
        kept = rng.sample(event, rng.randint(1, len(event)))
        kept += rng.choices(kept, k=2)
        rng.shuffle(kept)
        packets += kept
    assert hear(packets) == keys


def test_an_overtaken_event_is_still_heard() -> None:
    one, two, three = send("123")
    assert hear([one[0], three[0], two[0], *one, *two, *three]) == "132"


def test_a_long_event_goes_on_in_segments() -> None:
    (event,) = send("9", ticks=500, units=160)
    assert 500 * 160 > 0xFFFF
    assert {packet.timestamp for packet in event} == {START, (START + 0xFFFF) & 0xFFFFFFFF}
    assert sum(packet.marker for packet in event) == 1
    assert [fields(packet)[1] for packet in event].count(True) == 3
    assert max(fields(packet)[2] for packet in event) == 0xFFFF
    assert fields(event[-1])[2] == 500 * 160 - 0xFFFF
    assert hear(event) == "9"


def test_a_long_event_is_one_digit_whatever_is_lost_of_it() -> None:
    (event,) = send("9", ticks=400, units=960)
    for seed in range(50):
        assert hear(random.Random(seed).sample(event, 1)) == "9"
        kept = sorted(random.Random(seed).sample(range(len(event)), 40))
        assert hear([event[index] for index in kept]) == "9"


def test_the_same_digit_again_is_heard_even_if_no_end_came() -> None:
    one, two = send("77", gap_ticks=10)
    assert hear(one[:3] + two[:3]) == "77"


def test_events_that_are_no_digit_are_silent() -> None:
    assert DigitReceiver().receive(1, b"\x10\x0a\x00\xa0") is None
    with pytest.raises(RemoteProtocolError):
        DigitReceiver().receive(1, b"\x01\x0a\x00")
