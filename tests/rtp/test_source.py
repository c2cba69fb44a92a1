"""Whose packets are believed."""

from __future__ import annotations

from spech.rtp.source import LEARNING, SILENCE, SourceFilter

NAMED = ("192.0.2.1", 4000)
OTHER_PORT = ("192.0.2.1", 4999)
NAT = ("198.51.100.7", 61000)
STRANGER = ("203.0.113.5", 5000)


def negotiated() -> SourceFilter:
    source = SourceFilter()
    source.negotiate(NAMED)
    source.tick(100.0)
    return source


def test_nothing_is_believed_before_a_negotiation() -> None:
    source = SourceFilter()
    assert not source.accepts(NAMED, 1.0)
    assert source.destination is None


def test_the_named_peer_is_believed_and_others_are_not() -> None:
    source = negotiated()
    assert source.accepts(NAMED, 101.0)
    assert not source.accepts(STRANGER, 101.1)
    assert not source.accepts(STRANGER, 100.0 + LEARNING + 1)
    assert source.destination == NAMED


def test_a_peer_behind_nat_is_latched_onto() -> None:
    source = negotiated()
    assert source.destination == NAMED
    assert source.accepts(NAT, 101.0)
    assert source.destination == NAT
    assert not source.accepts(STRANGER, 101.1)
    assert source.accepts(NAT, 500.0)


def test_the_window_closes() -> None:
    source = negotiated()
    assert not source.accepts(NAT, 100.0 + LEARNING + 0.1)
    assert source.accepts(OTHER_PORT, 100.0 + LEARNING + 0.2)


def test_the_named_peer_wins_over_a_faster_stranger() -> None:
    source = negotiated()
    assert source.accepts(STRANGER, 100.1)
    assert source.accepts(NAMED, 100.2)
    assert not source.accepts(STRANGER, 100.3)
    assert source.destination == NAMED


def test_a_nat_that_rebinds_is_followed_on_the_same_host_only() -> None:
    source = negotiated()
    assert source.accepts(NAT, 101.0)
    rebound = (NAT[0], 62000)
    assert not source.accepts(rebound, 101.0 + SILENCE - 0.1)
    assert not source.accepts(STRANGER, 101.0 + SILENCE + 0.1)
    assert source.accepts(rebound, 101.0 + SILENCE + 0.1)
    assert not source.accepts(NAT, 101.0 + SILENCE + 0.2)


def test_a_new_address_in_a_reinvite_opens_the_window_again() -> None:
    source = negotiated()
    assert source.accepts(NAMED, 101.0)
    source.negotiate(NAMED)
    assert not source.accepts(NAT, 102.0)
    source.negotiate(("192.0.2.9", 7000))
    assert source.destination == ("192.0.2.9", 7000)
    assert source.accepts(NAT, 500.0)
