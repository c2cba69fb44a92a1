"""The E-model against published values of the ITU."""

from __future__ import annotations

import pytest

from spech import codecs
from spech.codecs import Impairment
from spech.media.emodel import delay_impairment, mean_opinion_score, transmission_rating

G711 = codecs.impairment("PCMU")
G729 = codecs.impairment("G729")


@pytest.mark.parametrize(
    ("rating", "mos"),
    # G.107 Table B.1 has MOS 4.34, 4.03, 3.60, 3.10 and 2.58 at the limits of its categories;
    # 93.2, with all parameters at their defaults, is 4.41.
    [(93.2, 4.41), (90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58), (100, 4.5), (0, 1)],
)
def test_mos_matches_annex_b(rating: float, mos: float) -> None:
    assert mean_opinion_score(rating) == pytest.approx(mos, abs=0.0075)


def test_mos_is_bounded_and_monotonic() -> None:
    marks = [mean_opinion_score(rating / 10) for rating in range(-100, 1200)]
    assert marks == sorted(marks)
    assert (min(marks), max(marks)) == (1.0, 4.5)


@pytest.mark.parametrize(
    ("codec", "loss", "rating"),
    [
        ("PCMU", 0.0, 93.2),
        ("PCMA", 0.01, 93.2 - 95 * 1 / 26.1),
        ("G729", 0.0, 82.2),
        ("G729", 0.02, 82.2 - 84 * 2 / 21),
        ("GSM", 0.0, 73.2),
        ("G722", 0.0, 116 / 1.29),
        ("L16/16000", 0.0, 100.0),
        ("L16/8000", 0.0, 93.2),
        ("L16/48000", 0.0, 100.0),
        ("opus", 0.0, (148 - 16.8) / 1.48),
        ("opus", 0.05, (148 - 16.8 - 115.2 * 5 / 15.4) / 1.48),
    ],
)
def test_codecs_and_random_loss(codec: str, loss: float, rating: float) -> None:
    assert transmission_rating(codecs.impairment(codec), loss=loss) == pytest.approx(rating)


def test_burst_losses_cost_more_than_random_losses() -> None:
    alone = transmission_rating(G729, loss=0.05)
    in_a_row = transmission_rating(G729, loss=0.05, burst_ratio=2.0)
    assert in_a_row == pytest.approx(93.2 - 11 - 84 * 5 / (2.5 + 19))
    assert in_a_row < alone


@pytest.mark.parametrize(
    ("milliseconds", "rating"),
    # G.114 Figure 1 for echo cancelled as the default of G.107 has it; Cole and Rosenbluth put a
    # line through it: 0.024 d, and 0.11 more for each millisecond above 177.3.
    [(0, 93.2), (50, 92.0), (100, 90.8), (150, 89.6), (200, 85.9), (300, 72.5)],
)
def test_delay_impairment_matches_published_values(milliseconds: int, rating: float) -> None:
    found = transmission_rating(G711, delay=milliseconds / 1000)
    assert found == pytest.approx(rating, abs=2.5)


def test_delay_always_costs_more() -> None:
    costs = [delay_impairment(milliseconds / 1000) for milliseconds in range(-10, 2000)]
    assert costs == sorted(costs)
    assert costs[0] == 0.0


@pytest.mark.parametrize("band", ["narrowband", "wideband", "fullband"])
def test_the_worst_case_is_rated_unusable(band: str) -> None:
    impairment = Impairment(10.0, 5.0, band)  # type: ignore[arg-type]
    assert transmission_rating(impairment, loss=1.0, burst_ratio=8.0, delay=2.0) == 0.0


def test_every_codec_has_an_equipment_impairment() -> None:
    for info in codecs.describe():
        assert info.impairment is not None, info.name
        assert (info.impairment.band == "narrowband") == (info.rate < 16000 or "11025" in info.name)
        assert 3.5 < mean_opinion_score(transmission_rating(info.impairment)) <= 4.5


def test_an_unknown_codec_gets_a_default_impairment() -> None:
    guess = codecs.impairment("nobody knows it")
    assert 3.9 < mean_opinion_score(transmission_rating(guess)) < 4.4
