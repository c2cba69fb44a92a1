"""The simulated bad network: as configured, and reproducible."""

from __future__ import annotations

import itertools
import random

import pytest
import trio

from spech.testing.relay import Network, Path, open_relay

TICK = 0.02


def walk(network: Network, count: int = 20000, seed: int = 1) -> list[list[float]]:
    """The delay of each of many packets, sent 20 ms apart."""
    path = Path(network, random.Random(seed))
    return [[at - n * TICK for at in path.arrivals(n * TICK)] for n in range(count)]


def test_a_perfect_network_changes_nothing() -> None:
    assert walk(Network()) == [[pytest.approx(0.0)]] * 20000


def test_the_same_seed_repeats_the_same_impairments() -> None:
    network = Network(loss=0.1, jitter=0.04, duplication=0.1, reordering=0.1)
    assert walk(network) == walk(network)
    assert walk(network) != walk(network, seed=2)


@pytest.mark.parametrize(("burst", "mean"), [(None, 1 / 0.95), (4.0, 4.0)])
def test_losses_are_independent_or_in_bursts(burst: float | None, mean: float) -> None:
    lost = [not delays for delays in walk(Network(loss=0.05, burst=burst), 200000)]
    assert sum(lost) / len(lost) == pytest.approx(0.05, rel=0.1)
    runs = [len(list(run)) for gone, run in itertools.groupby(lost) if gone]
    assert sum(runs) / len(runs) == pytest.approx(mean, rel=0.1)


def test_jitter_keeps_the_order() -> None:
    delays = [delay for [delay] in walk(Network(delay=0.1, jitter=0.08))]
    assert min(delays) == pytest.approx(0.1, abs=0.005)
    assert max(delays) == pytest.approx(0.18, abs=0.005)
    assert all(later - earlier > -TICK - 1e-9 for earlier, later in itertools.pairwise(delays))


def test_delayed_packets_are_overtaken() -> None:
    delays = [delay for [delay] in walk(Network(reordering=0.1))]
    assert sum(delay > 0.049 for delay in delays) / len(delays) == pytest.approx(0.1, rel=0.1)
    assert min(delays) == pytest.approx(0.0)


def test_duplicated_packets_arrive_twice() -> None:
    twice = [len(delays) == 2 for delays in walk(Network(duplication=0.1))]
    assert sum(twice) / len(twice) == pytest.approx(0.1, rel=0.1)


def test_slow_and_fast_clocks_drift() -> None:
    assert walk(Network(drift=0.001), 1001)[-1] == [pytest.approx(0.02)]
    assert walk(Network(delay=0.1, drift=-0.001), 1001)[-1] == [pytest.approx(0.08)]


async def test_datagrams_are_relayed_in_both_directions() -> None:
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as far:
        await far.bind(("127.0.0.1", 0))
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as near:
            await near.bind(("127.0.0.1", 0))
            with trio.fail_after(5):
                network = Network(loss=0.3, delay=0.02)
                async with open_relay(far.getsockname(), network, seed=3) as relay:
                    sent = [bytes([number]) for number in range(50)]
                    for datagram in sent:
                        await near.sendto(datagram, relay.address)
                    path = Path(network, random.Random(3))
                    expected = [datagram for datagram in sent if path.arrivals(0.0)]
                    assert [await far.recv(10) for _ in expected] == expected
                    assert relay.dropped == 50 - len(expected) > 0
                    assert [datagram for _, datagram in relay.delivered] == expected
                    assert relay.delivered[0][0] - relay.sent[0][0] > 0.0199
                    await far.sendto(b"back", relay.address)
                    assert await near.recv(10) == b"back"
