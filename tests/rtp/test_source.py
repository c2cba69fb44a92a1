"""Whose packets are accepted."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from spech.addresses import Address
from spech.rtp.source import LEARNING, LONG_PROBATION, PROBATION, SOURCE_TIMEOUT, SourceFilter

NAMED = ("192.0.2.1", 4000)
OTHER_PORT = ("192.0.2.1", 4999)
NAT = ("198.51.100.7", 61000)
STRANGER = ("203.0.113.5", 5000)


class Filter:
    """A filter, and sources that send one packet or a stream of them."""

    def __init__(self) -> None:
        self.source = SourceFilter()
        self.source.negotiate(NAMED)
        self.source.tick(100.0)

    def hears(self, address: Address, now: float, *, ssrc: int = 7, sequence: int = 1) -> bool:
        return self.source.accepts(address, ssrc, sequence, now)

    def stream(self, address: Address, now: float, sequences: Sequence[int]) -> list[bool]:
        return [self.hears(address, now, sequence=sequence) for sequence in sequences]

    def learn(self, address: Address, now: float) -> None:
        assert self.stream(address, now, range(PROBATION))[-1]


@pytest.fixture
def negotiated() -> Filter:
    return Filter()


def test_nothing_is_accepted_before_a_negotiation() -> None:
    source = SourceFilter()
    assert not source.accepts(NAMED, 7, 1, 1.0)
    assert source.destination is None


def test_only_the_negotiated_peer_is_accepted(negotiated: Filter) -> None:
    assert negotiated.hears(NAMED, 101.0)
    assert not any(negotiated.stream(STRANGER, 101.1, range(50)))
    assert not negotiated.hears(STRANGER, 100.0 + LEARNING + 1)
    assert negotiated.source.destination == NAMED


def test_a_stream_from_behind_a_nat_is_followed(negotiated: Filter) -> None:
    assert negotiated.source.destination == NAMED
    assert negotiated.stream(NAT, 101.0, [0xFFFE, 0xFFFF, 0, 1]) == [False, False, False, True]
    assert negotiated.source.destination == NAT
    assert not any(negotiated.stream(STRANGER, 101.1, range(50)))
    assert negotiated.hears(NAT, 500.0)


def test_another_port_of_the_negotiated_host_is_followed_at_once(negotiated: Filter) -> None:
    assert negotiated.hears(OTHER_PORT, 101.0)
    assert negotiated.source.destination == OTHER_PORT


@pytest.mark.parametrize("sequences", [[1], [1, 2, 3], [1, 1, 1, 1, 1], [4, 3, 2, 1], [1, 2, 4, 5]])
def test_single_packets_of_a_stranger_prove_nothing(
    negotiated: Filter, sequences: list[int]
) -> None:
    assert not any(negotiated.stream(STRANGER, 101.0, sequences))
    assert negotiated.source.destination == NAMED


def test_packets_from_many_sources_are_not_a_stream(negotiated: Filter) -> None:
    assert not any(
        negotiated.hears(STRANGER, 101.0, ssrc=ssrc, sequence=ssrc) for ssrc in range(20)
    )


def test_a_flood_from_many_ports_does_not_keep_the_peer_out(negotiated: Filter) -> None:
    rng = random.Random(1)
    for sequence in range(PROBATION):
        for _ in range(5):
            port = rng.randrange(1024, 65536)
            assert not negotiated.hears((STRANGER[0], port), 101.0, sequence=sequence)
        believed = negotiated.hears(NAT, 101.0, sequence=sequence)
    assert believed
    for port in range(1024, 2048):
        negotiated.hears((STRANGER[0], port), 101.0)
    assert negotiated.source.destination == NAT


def test_the_learning_window_closes(negotiated: Filter) -> None:
    assert not any(negotiated.stream(NAT, 100.0 + LEARNING + 0.1, range(50)))
    assert negotiated.hears(OTHER_PORT, 100.0 + LEARNING + 0.2)


@pytest.mark.parametrize("later", [0.1, LEARNING + 5, 3600.0])
def test_the_negotiated_peer_replaces_a_stranger_at_any_time(
    negotiated: Filter, later: float
) -> None:
    negotiated.learn(STRANGER, 100.1)
    assert negotiated.hears(NAMED, 100.1 + later)
    assert negotiated.source.destination == NAMED
    assert not any(negotiated.stream(STRANGER, 100.2 + later, range(50)))
    assert not any(negotiated.stream(STRANGER, 100.2 + later + SOURCE_TIMEOUT * 2, range(50)))


def test_the_negotiated_host_replaces_a_stranger_from_any_port(negotiated: Filter) -> None:
    negotiated.learn(STRANGER, 100.1)
    assert negotiated.hears(OTHER_PORT, 200.0)
    assert not negotiated.hears(STRANGER, 200.1)


def test_a_nat_that_rebinds_is_followed_on_the_same_host_only(negotiated: Filter) -> None:
    negotiated.learn(NAT, 101.0)
    rebound = (NAT[0], 62000)
    assert not negotiated.hears(rebound, 101.0 + SOURCE_TIMEOUT - 0.1)
    assert not any(negotiated.stream(STRANGER, 101.0 + SOURCE_TIMEOUT + 0.1, range(50)))
    assert negotiated.hears(rebound, 101.0 + SOURCE_TIMEOUT + 0.1)
    assert not negotiated.hears(NAT, 101.0 + SOURCE_TIMEOUT + 0.2)


def test_two_ports_of_the_negotiated_host_do_not_alternate(negotiated: Filter) -> None:
    assert negotiated.hears(OTHER_PORT, 101.0)
    assert negotiated.hears(NAMED, 101.1)
    assert not negotiated.hears(OTHER_PORT, 101.2)
    assert negotiated.hears(OTHER_PORT, 101.1 + SOURCE_TIMEOUT + 0.1)


def test_a_new_address_in_a_reinvite_reopens_the_window(negotiated: Filter) -> None:
    assert negotiated.hears(NAMED, 101.0)
    negotiated.source.negotiate(NAMED)
    assert not any(negotiated.stream(NAT, 102.0, range(50)))
    negotiated.source.negotiate(("192.0.2.9", 7000))
    assert negotiated.source.destination == ("192.0.2.9", 7000)
    negotiated.learn(NAT, 500.0)


def test_an_answer_reopens_the_window_if_nothing_was_received(negotiated: Filter) -> None:
    negotiated.source.negotiate(NAMED)  # the answer repeats the address of the provisional response
    negotiated.source.tick(160.0)
    negotiated.learn(NAT, 160.5)


MOVED = ("192.0.2.1", 4888)


def moved(*, learned: Address = NAMED, to: Address = MOVED) -> Filter:
    """A filter whose peer was heard at ``learned``, and then moved by a re-INVITE."""
    filtered = Filter()
    filtered.stream(learned, 101.0, range(PROBATION))
    assert filtered.source.destination == learned
    filtered.source.negotiate(to)
    filtered.source.tick(200.0)
    return filtered


@pytest.mark.parametrize("to", [MOVED, ("192.0.2.9", 7000)], ids=["port", "host"])
@pytest.mark.parametrize("learned", [NAMED, OTHER_PORT, NAT], ids=["named", "port", "nat"])
@pytest.mark.parametrize("late", [1, 3, 30])
def test_late_packets_from_a_previous_address_are_accepted_and_not_followed(
    learned: Address, to: Address, late: int
) -> None:
    filtered = moved(learned=learned, to=to)
    assert all(filtered.stream(learned, 200.1, range(100, 100 + late)))
    assert filtered.source.destination == to
    assert filtered.hears(to, 200.5)
    assert not filtered.hears(learned, 200.6)
    assert filtered.source.destination == to


def test_a_previous_address_is_accepted_only_for_a_short_time() -> None:
    filtered = moved()
    assert not any(filtered.stream(NAMED, 200.0 + LONG_PROBATION, [100, 1, 2000, 7]))
    assert filtered.source.destination == MOVED


@pytest.mark.parametrize("loss", [0, 7])
def test_a_nat_that_stays_while_the_address_behind_it_moves_is_followed_after_a_while(
    loss: int,
) -> None:
    filtered = moved(learned=NAT, to=("10.0.0.9", 4000))
    for number in range(150):
        if loss and number % loss == 0:
            continue
        filtered.hears(NAT, 200.0 + number * 0.02, sequence=number)
        followed = filtered.source.destination == NAT
        assert followed is (number * 0.02 >= LONG_PROBATION)


def test_a_peer_that_moves_back_is_accepted_at_once() -> None:
    filtered = moved()
    assert filtered.hears(MOVED, 200.1)
    filtered.source.negotiate(NAMED)
    filtered.source.tick(300.0)
    assert filtered.hears(NAMED, 300.1)
    assert filtered.source.destination == NAMED
    assert not filtered.stream(MOVED, 300.2, range(50))[-1]


def test_without_symmetric_rtp_only_the_negotiated_address_is_used() -> None:
    source = SourceFilter(symmetric=False)
    source.negotiate(NAMED)
    source.tick(100.0)
    assert source.accepts(OTHER_PORT, 7, 1, 100.1)
    assert not any(source.accepts(NAT, 7, number, 100.2) for number in range(200))
    assert source.destination == NAMED
    source.negotiate(MOVED)
    source.tick(200.0)
    assert not any(source.accepts(NAT, 7, n, 200 + n * 0.02) for n in range(200))
    assert source.destination == MOVED


def test_an_authenticated_source_is_followed_from_any_host(
    negotiated: Filter,
) -> None:
    negotiated.source.latch(STRANGER, 101.0)
    assert negotiated.source.destination == STRANGER
    assert negotiated.hears(STRANGER, 101.1)


def test_late_packets_are_not_followed_after_two_moves_in_a_row() -> None:
    filtered = moved()
    filtered.source.negotiate(("192.0.2.9", 7000))
    filtered.source.tick(200.2)
    assert filtered.hears(NAMED, 200.3)
    assert filtered.source.destination == ("192.0.2.9", 7000)
