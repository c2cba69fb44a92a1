"""Leased pairs of ports."""

from __future__ import annotations

import contextlib
import random
import socket

import pytest

from spech.errors import PortsExhausted
from spech.rtp.ports import PortRange, lease

from ..ports import reserve

FIRST = reserve(20)
RANGE = PortRange(FIRST, FIRST + 19)


def test_pairs_are_even_and_odd_within_the_range() -> None:
    rng = random.Random(1)
    seen = set()
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            pair = stack.enter_context(lease("127.0.0.1", RANGE, rng))
            assert pair.port % 2 == 0
            assert pair.rtp.getsockname() == ("127.0.0.1", pair.port)
            assert pair.rtcp.getsockname() == ("127.0.0.1", pair.port + 1)
            assert not pair.rtp.getblocking()
            seen.add(pair.port)
        assert seen == set(range(FIRST, FIRST + 20, 2))
        with pytest.raises(PortsExhausted):
            stack.enter_context(lease("127.0.0.1", RANGE, rng))
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(lease("127.0.0.1", RANGE, rng))


def test_ports_are_free_after_an_error() -> None:
    only = PortRange(FIRST, FIRST + 1)
    for _ in range(3):
        with pytest.raises(KeyError), lease("127.0.0.1", only, random.Random(1)):
            raise KeyError


def test_a_pair_whose_odd_port_is_in_use_is_skipped() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", FIRST + 1))
        with lease("127.0.0.1", PortRange(FIRST, FIRST + 3), random.Random(1)) as pair:
            assert pair.port == FIRST + 2
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as even:
            even.bind(("127.0.0.1", FIRST))


def test_an_address_of_another_machine_is_a_distinct_error() -> None:
    with pytest.raises(OSError, match="assign"), lease("192.0.2.1", RANGE, random.Random(1)):
        pass


@pytest.mark.parametrize(("first", "last"), [(0, 10), (20, 10), (1, 70000), (31, 32), (30, 30)])
def test_an_invalid_port_range_is_refused(first: int, last: int) -> None:
    with pytest.raises(ValueError, match=f"{first}-{last}"):
        PortRange(first, last)


def test_an_odd_start_begins_at_the_next_even_port() -> None:
    assert PortRange(31, 34).first_even == 32
    assert PortRange(31, 34).pairs == 1
    assert PortRange(30, 35).pairs == 3


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
def test_a_pair_is_leased_on_ipv6() -> None:
    try:
        with lease("::1", RANGE, random.Random(1)) as pair:
            assert pair.rtp.getsockname()[:2] == ("::1", pair.port)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
