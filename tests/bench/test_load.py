"""How the telephones of the bench judge what they hear."""

from __future__ import annotations

import pytest

from bench.load import judge, percentile

CLOCK = 8000


def stream(name: int, packets: int, first: int = 0) -> list[tuple[int, float, int]]:
    """Packets of 20 ms that arrive on time, with timestamps from ``first`` on."""
    return [(name, 5 + 0.02 * n, (first + 160 * n) & 0xFFFFFFFF) for n in range(packets)]


def test_an_even_stream_is_even_also_where_its_timestamps_wrap() -> None:
    noted = stream(1, 200) + stream(2, 200, first=(1 << 32) - 1600)
    heard = judge(noted, [], 8.0, CLOCK)
    assert heard.p99 == pytest.approx(0, abs=1e-6)
    assert heard.lost == 0


def test_late_packets_are_found_in_each_stream() -> None:
    noted = stream(1, 200) + stream(2, 200)
    for late in (10, 50, 90, 130, 170):
        name, arrived, timestamp = noted[late]
        noted[late] = name, arrived + 0.007, timestamp
    assert judge(noted, [], 8.0, CLOCK).p99 == pytest.approx(7)


def test_missing_packets_and_silent_streams_are_lost() -> None:
    assert judge(stream(1, 150), [], 4.0, CLOCK).lost == pytest.approx(0.25, abs=0.01)
    assert judge([], [], 4.0, CLOCK).lost == 1
    assert judge(stream(1, 200), [], 8.0, CLOCK).lost == pytest.approx(0.5, abs=0.01)


def test_what_was_sent_late_is_told_in_ms() -> None:
    assert judge(stream(1, 200), [0.0] * 90 + [0.003] * 10, 4.0, CLOCK).late == pytest.approx(3)


def test_a_percentile() -> None:
    assert percentile([], 0.99) == 0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
