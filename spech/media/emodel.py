"""The E-model: estimates from measurements how a listener would rate a connection.

ITU-T G.107 for narrowband, G.107.1 for wideband, G.107.2 for fullband: R = Ro - Id - Ie,eff, with
defaults for everything that is not measured. Each has a scale of its own. Here R is converted to
that of G.107, 0 to 100: the best narrowband call has 93.2, and wider bands reach 100. Ratings
compare calls of one band only: a listener who hears two bands prefers the wider one by more.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from spech.codecs.base import Impairment

_ECHO_LOUDNESS: Final = 65.0
"""TELR in dB: the default of G.107, a far end that cancels echo."""


class _Scale(NamedTuple):
    """``best`` is Ro - Is, ``worst`` is Ie,eff at total loss, ``stretch`` is relative to G.107."""

    best: float
    worst: float
    stretch: float


_SCALES: Final = {
    "narrowband": _Scale(93.2, 95.0, 1.0),
    "wideband": _Scale(129.0, 95.0, 1.29),
    "fullband": _Scale(148.0, 132.0, 1.48),
}


def transmission_rating(
    impairment: Impairment, *, loss: float = 0.0, burst_ratio: float = 1.0, delay: float = 0.0
) -> float:
    """R, from 0 (unusable) to 100.

    Args:
        impairment: the codec's.
        loss: the share of packets that are lost or come too late, 0 to 1.
        burst_ratio: mean length of the gaps that they leave, relative to that of random loss.
        delay: from mouth to ear, in seconds; 0 rates listening, without talking.
    """
    scale = _SCALES[impairment.band]
    percent = 100.0 * min(max(loss, 0.0), 1.0)
    # Ie,eff: G.107 section 7.5.
    equipment = impairment.equipment + (scale.worst - impairment.equipment) * percent / (
        percent / burst_ratio + impairment.robustness
    )
    rating = scale.best - equipment - scale.stretch * delay_impairment(delay)
    return min(max(rating / scale.stretch, 0.0), 100.0)


def delay_impairment(delay: float) -> float:
    """Id of a one-way delay in seconds: talker echo, and the delay in conversation.

    G.107 section 7.4 with the default loudness of the echo, and without listener echo. G.107.1 and
    G.107.2 scale it like everything else.
    """
    milliseconds = max(delay, 0.0) * 1000.0
    echo = 0.0
    if milliseconds >= 1.0:
        heard = (
            _ECHO_LOUDNESS
            - 40.0 * math.log10((1.0 + milliseconds / 10.0) / (1.0 + milliseconds / 150.0))
            + 6.0 * math.exp(-0.3 * milliseconds**2)
        )
        half = (94.77 - (80.0 + 2.5 * (heard - 14.0))) / 2.0
        echo = (half + math.sqrt(half**2 + 100.0) - 1.0) * (1.0 - math.exp(-milliseconds))
    late = 0.0
    if milliseconds > 100.0:
        x = math.log2(milliseconds / 100.0)
        late = 25.0 * ((1.0 + x**6) ** (1 / 6) - 3.0 * (1.0 + (x / 3.0) ** 6) ** (1 / 6) + 2.0)
    return max(echo, 0.0) + late


def mean_opinion_score(rating: float) -> float:
    """MOS, 1 to 4.5, of a rating of 0 to 100 (G.107 Annex B)."""
    if rating <= 0.0:
        return 1.0
    if rating >= 100.0:
        return 4.5
    # Below R 6.5 the polynomial falls below 1, the lowest score.
    return max(1.0, 1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6)
