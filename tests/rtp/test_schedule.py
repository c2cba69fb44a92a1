"""When reports are sent: RFC 3550 section 6.3."""

from __future__ import annotations

import math
import random

import pytest

from spech.rtp.schedule import Schedule, fixed_interval, spread


class Participant:
    """A schedule that is polled every 0.2 s, as by the media clock."""

    def __init__(self, seed: int = 1) -> None:
        self.schedule = Schedule(random.Random(seed))
        self.now = 1000.0
        self.sent = self.received = 0
        self.reports: list[float] = []

    def run(self, seconds: float, *, sending: bool = True, hearing: bool = True) -> None:
        for _ in range(round(seconds * 5)):
            self.now += 0.2
            self.sent += 10 * sending
            self.received += 10 * hearing
            self.schedule.count(self.sent, self.received, self.now)
            if self.schedule.due(self.now):
                self.reports.append(self.now)
                self.schedule.reported(92, self.now)


def test_intervals_have_the_distribution_of_reconsideration() -> None:
    participant = Participant()
    participant.run(40_000)
    gaps = [
        later - earlier
        for earlier, later in zip(participant.reports, participant.reports[1:], strict=False)
    ]
    # An interval is drawn again when it is over, until the draw lies in the past. Its mean is the
    # nominal interval, because e - 3/2 compensates (section 6.3.1).
    assert sum(gaps) / len(gaps) == pytest.approx(5.0, abs=0.25)
    assert min(gaps) >= 0.5 * 5 / 1.21828
    assert max(gaps) <= 1.5 * 5 / 1.21828 + 0.2
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert deviation == pytest.approx(0.9, abs=0.2)


def test_the_first_report_is_sent_after_half_the_interval() -> None:
    firsts = []
    for seed in range(300):
        participant = Participant(seed)
        participant.run(8)
        firsts.append(participant.reports[0] - 1000.2)
    assert min(firsts) >= 0.5 * 2.5 / 1.21828
    assert sum(firsts) / len(firsts) == pytest.approx(2.5, abs=0.2)


def test_two_ends_that_start_together_drift_apart() -> None:
    one, two = Participant(1), Participant(2)
    one.run(600)
    two.run(600)
    together = sum(any(abs(a - b) < 0.1 for b in two.reports) for a in one.reports)
    assert together < len(one.reports) / 4


def test_a_silent_peer_times_out_after_five_intervals() -> None:
    participant = Participant()
    participant.run(10)
    assert participant.schedule.peer_present
    participant.run(24, hearing=False)
    assert participant.schedule.peer_present
    participant.run(2, hearing=False)
    assert not participant.schedule.peer_present
    participant.run(0.2)
    assert participant.schedule.peer_present


def test_reports_alone_keep_a_peer_active() -> None:
    participant = Participant()
    participant.run(10)
    for _ in range(10):
        participant.run(10, hearing=False)
        participant.schedule.count_received(92, participant.now)
    assert participant.schedule.peer_present


def test_a_session_is_no_longer_a_sender_after_two_reports() -> None:
    participant = Participant()
    participant.run(20)
    assert participant.schedule.we_sent
    count = len(participant.reports)
    while len(participant.reports) < count + 2:
        assert participant.schedule.we_sent
        participant.run(0.2, sending=False)
    assert not participant.schedule.we_sent


def test_a_bye_does_not_change_our_own_schedule() -> None:
    staying, left = Participant(7), Participant(7)
    for participant in (staying, left):
        participant.run(20)
    left.schedule.leave()
    assert not left.schedule.peer_present
    staying.run(60, hearing=False)
    left.run(60, hearing=False)
    assert left.reports == staying.reports


def test_large_reports_and_few_senders_lengthen_intervals() -> None:
    def length(
        members: int, senders: int, *, we_sent: bool, initial: bool = False, size: float = 120
    ) -> float:
        return fixed_interval(
            members=members, senders=senders, we_sent=we_sent, average_size=size, initial=initial
        )

    assert length(2, 2, we_sent=True) == 5.0
    assert length(2, 2, we_sent=True, initial=True) == 2.5
    assert length(2, 2, we_sent=True, size=1500) == 1500 * 2 / 400
    assert length(1000, 1, we_sent=False) == pytest.approx(120 * 999 / 300)
    assert length(1000, 1, we_sent=True) == 5.0


def test_intervals_vary_from_half_to_one_and_a_half() -> None:
    rng = random.Random(1)
    lengths = [spread(5.0, rng) for _ in range(1000)]
    assert min(lengths) >= 2.5 / 1.21828
    assert max(lengths) <= 7.5 / 1.21828
