"""Bursts and gaps: RFC 3611 section 4.7.2."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spech.rtp.bursts import GMIN, Bursts, BurstSummary
from spech.rtp.sequence import SequenceTracker


def heard(pattern: str) -> BurstSummary:
    """``x`` is a lost packet, ``.`` a received one."""
    bursts = Bursts()
    for one in pattern:
        if one == "x":
            bursts.lost()
        else:
            bursts.arrived(1)
    return bursts.summary()


GAP = "." * 100


def test_without_loss_everything_is_one_gap() -> None:
    assert heard(GAP) == BurstSummary(gap_length=100)
    assert heard("") == BurstSummary()


def test_a_single_loss_is_not_a_burst() -> None:
    summary = heard(GAP + "x" + "." * GMIN + "x" + GAP)
    assert (summary.burst_length, summary.burst_density) == (0.0, 0.0)
    assert summary.gap_density == pytest.approx(2 / 218)
    assert summary.ratio == 1.0


def test_losses_near_each_other_are_one_burst() -> None:
    summary = heard(GAP + "x" + "." * (GMIN - 1) + "x" + GAP)
    assert summary.burst_length == GMIN + 1
    assert summary.burst_density == pytest.approx(2 / 17)
    assert summary.gap_density == 0.0
    assert summary.gap_length == 100


def test_several_bursts_are_averaged() -> None:
    summary = heard(GAP + "xxxx" + GAP + "xx" + GAP + "x" + GAP)
    assert summary.burst_length == 3
    assert summary.burst_density == 1.0
    assert summary.gap_length == pytest.approx(401 / 3)
    assert summary.gap_density == pytest.approx(1 / 401)


def test_burst_ratio_is_one_for_random_loss_and_higher_in_bursts() -> None:
    rng = random.Random(3)
    by_chance = heard("".join("x" if rng.random() < 0.1 else "." for _ in range(50_000)))
    assert by_chance.ratio == pytest.approx(1.0, abs=0.03)
    assert heard((GAP + "xxxx") * 50).ratio == pytest.approx(4 * (1 - 4 / 104))


@given(st.text("x.", max_size=300))
def test_every_loss_is_in_a_burst_or_a_gap(pattern: str) -> None:
    summary = heard(pattern)
    assert 0 <= summary.burst_density <= 1
    assert 0 <= summary.gap_density <= 1
    assert summary.ratio >= 1


def test_packets_are_settled_once_and_in_order() -> None:
    tracker = SequenceTracker()
    for number in range(65500, 65500 + 200):
        if number not in (65510, 65511, 65530, 65650):
            tracker.update(number & 0xFFFF)
        if number == 65560:
            tracker.update(65530)
    tracker.discard(65520)
    gone, settled = tracker.settle()
    assert gone == 0
    assert len(settled) == 200 - 32
    lost = [65500 + index for index, came in enumerate(settled) if not came]
    assert lost == [65510, 65511, 65520, 65650]
    assert tracker.settle() == (0, [])
    for number in range(65700, 65800):
        tracker.update(number & 0xFFFF)
    assert tracker.settle() == (0, [True] * 100)


def test_losses_of_a_new_source_are_separate() -> None:
    tracker = SequenceTracker()
    for number in [*range(100, 200), 40000, 40001, *range(40002, 40101)]:
        tracker.update(number)
    assert tracker.settle() == (0, [True] * (100 - 32))


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=20))
def test_losses_in_a_row_count_like_one_by_one(runs: list[tuple[bool, int]]) -> None:
    whole, single = Bursts(), Bursts()
    for came, count in runs:
        if came:
            whole.arrived(count)
            single.arrived(count)
            continue
        whole.lost(count)
        for _ in range(count):
            single.lost()
    assert whole.summary() == single.summary()


def test_a_jump_by_thousands_is_settled_in_one_step() -> None:
    tracker = SequenceTracker()
    for number in range(10_000):
        tracker.update(number * 2_999 & 0xFFFF)
    gone, settled = tracker.settle()
    assert gone + len(settled) == 9_999 * 2_999 + 1 - 32
    assert len(settled) == 256 - 32
    assert not any(settled)
