"""Shortens and lengthens sound without a change of pitch, by removing or repeating a waveform.

Overlap-add by waveform similarity (WSOLA; W. Verhelst and M. Roelands, ICASSP 1993): the splice
jumps to where the waveform resembles itself most, which in voiced speech is a whole number of pitch
periods away, and cross-fades.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spech.audio.mixer import overlap
from spech.codecs.base import Samples

_SHORTEST = 0.0025
_LONGEST = 0.015
_FADE = 0.01
_SEARCH_RATE = 8000
#: Root mean square below which a splice is inaudible anywhere: -46 dBFS.
_QUIET = 164.0


def shorten(sound: Samples, at: int, most: int, rate: int, likeness: float) -> Samples | None:
    """Remove up to ``most`` samples after sample ``at``; None if that would be audible.

    Args:
        sound: ``at`` samples that have been played, and what follows.
        at: the first sample that may be changed.
        most: the most samples to remove.
        rate: in Hz.
        likeness: the required similarity of both sides of the splice, from 0 to 1. In silence it
            is not required, and ``most`` samples are removed.

    Returns:
        The sound to play in place of ``sound[at:]``.
    """
    fade = int(_FADE * rate)
    most = min(most, len(sound) - at - fade)
    if most > 0 and _is_quiet(sound[at : at + most + fade]):
        return _splice(sound, at, most, fade)
    lag, found = _best(sound, at, fade, rate, 1, most)
    return _splice(sound, at, lag, fade) if lag and found >= likeness else None


def lengthen(sound: Samples, at: int, wanted: int, rate: int, likeness: float) -> Samples | None:
    """Repeat sound from sample ``at`` on; None if that would be audible.

    Arguments are those of :func:`shorten`. In silence ``wanted`` samples are added, as far as there
    are so many; in speech one pitch period, whatever is wanted.
    """
    fade = int(_FADE * rate)
    if len(sound) - at < fade:
        return None
    if (most := min(wanted, at)) > 0 and _is_quiet(sound[at - most : at + fade]):
        return _splice(sound, at, -most, fade)
    lag, found = _best(sound, at, fade, rate, -1, at)
    return _splice(sound, at, -lag, fade) if lag and found >= likeness else None


def _is_quiet(sound: Samples) -> bool:
    wide = sound.astype(np.float32)
    return float(np.dot(wide, wide)) < _QUIET * _QUIET * len(sound)


def _splice(sound: Samples, at: int, lag: int, fade: int) -> Samples:
    """Fade from ``at`` to ``at + lag``, and continue from there."""
    there = at + lag
    joined = overlap(sound[at : at + fade], sound[there : there + fade])
    return np.concatenate((joined, sound[there + fade :]))


def _best(
    sound: Samples, at: int, fade: int, rate: int, direction: int, most: int
) -> tuple[int, float]:
    """The lag with the greatest similarity to the sound at ``at``, and that similarity."""
    longest = min(int(_LONGEST * rate), most)
    shortest = int(_SHORTEST * rate)
    if longest < shortest:
        return 0, 0.0
    wide = sound.astype(np.float32)
    step = max(1, rate // _SEARCH_RATE)
    lags = np.arange(shortest, longest + 1, step)
    coarse = _likenesses(wide, at, fade, direction, lags, step)
    lag = int(lags[int(np.argmax(coarse))])
    if step > 1:
        lags = np.arange(max(shortest, lag - step + 1), min(longest, lag + step - 1) + 1)
        coarse = _likenesses(wide, at, fade, direction, lags, 1)
        lag = int(lags[int(np.argmax(coarse))])
    return lag, float(coarse.max())


def _likenesses(
    wide: NDArray[np.float32],
    at: int,
    fade: int,
    direction: int,
    lags: NDArray[np.int64],
    step: int,
) -> NDArray[np.float64]:
    """The normalized correlation of ``fade`` samples with those at each lag.

    The lags lie ``step`` samples apart, and only each ``step``-th sample is compared.
    """
    here = wide[at : at + fade : step]
    first, last = sorted((at + direction * int(lags[0]), at + direction * int(lags[-1])))
    there = wide[first : last + fade : step]
    sums = np.zeros(len(there) + 1)
    np.cumsum(there * there, out=sums[1:])
    energy = (sums[len(here) :] - sums[: -len(here)]) * np.dot(here, here)
    found: NDArray[np.float64] = np.correlate(there, here) / np.sqrt(energy + 1.0)
    return found[::direction]
