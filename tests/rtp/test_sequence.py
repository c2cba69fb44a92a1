"""Sequence numbers: RFC 3550 appendix A.1."""

from __future__ import annotations

import random

from spech.rtp.sequence import SequenceStatus, SequenceTracker, timestamp_difference


def follow(*numbers: int) -> tuple[SequenceTracker, list[SequenceStatus]]:
    tracker = SequenceTracker()
    return tracker, [tracker.update(number) for number in numbers]


def test_wrapping_is_not_a_gap() -> None:
    tracker, arrivals = follow(65534, 65535, 0, 1)
    assert arrivals == [SequenceStatus.RESTARTED] + [SequenceStatus.NEW] * 3
    assert (tracker.highest, tracker.expected, tracker.lost) == (65537, 4, 0)


def test_gaps_are_losses_until_the_packet_arrives() -> None:
    tracker, _ = follow(10, 11, 14)
    assert (tracker.received, tracker.lost) == (3, 2)
    assert tracker.update(12) is SequenceStatus.REORDERED
    assert tracker.lost == 1
    assert tracker.update(12) is SequenceStatus.DUPLICATE
    assert tracker.update(14) is SequenceStatus.DUPLICATE
    assert (tracker.received, tracker.lost, tracker.duplicates) == (4, 1, 2)


def test_packets_from_before_the_first_do_not_reduce_the_loss() -> None:
    tracker, arrivals = follow(100, 99, 101)
    assert arrivals[1] is SequenceStatus.REORDERED
    assert (tracker.expected, tracker.received, tracker.lost) == (2, 2, 0)


def test_reordering_across_the_wrap_is_not_loss() -> None:
    _, arrivals = follow(65535, 1, 0, 65535)
    assert arrivals[2:] == [SequenceStatus.REORDERED, SequenceStatus.DUPLICATE]


def test_a_jump_needs_a_second_packet() -> None:
    tracker, arrivals = follow(10, 11, 40000, 12)
    assert arrivals[2:] == [SequenceStatus.STRAY, SequenceStatus.NEW]
    assert tracker.update(50000) is SequenceStatus.STRAY
    assert tracker.update(50001) is SequenceStatus.RESTARTED
    assert (tracker.expected, tracker.lost) == (1, 0)


def test_a_long_gap_forgets_earlier_packets() -> None:
    tracker, _ = follow(10, 1010)
    assert tracker.update(1009) is SequenceStatus.REORDERED
    assert tracker.lost == 998


def test_any_order_of_a_window_is_counted_exactly() -> None:
    rng = random.Random(5)
    numbers = [(65500 + index) & 0xFFFF for index in range(400)]
    for start in range(1, 400, 40):
        window = numbers[start : start + 40]
        rng.shuffle(window)
        numbers[start : start + 40] = window
    tracker, _ = follow(*numbers)
    assert (tracker.received, tracker.lost, tracker.duplicates) == (400, 0, 0)


def test_differences_of_timestamps_wrap() -> None:
    assert timestamp_difference(5, 0xFFFFFFFB) == 10
    assert timestamp_difference(0xFFFFFFFB, 5) == -10
    assert timestamp_difference(0, 0) == 0
