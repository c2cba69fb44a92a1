"""Sound made shorter or longer without a change of pitch: a waveform is left out or said twice.

Overlap-add by likeness (WSOLA; W. Verhelst and M. Roelands, ICASSP 1993): the splice jumps to where
the waveform resembles itself the most, which in voiced speech is a whole number of pitch periods
away, and fades from one to the other.
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
#: Root mean square below which a splice is heard nowhere: -46 dBFS.
_QUIET = 164.0


def shorten(sound: Samples, at: int, most: int, rate: int, likeness: float) -> Samples | None:
    """Leave out up to ``most`` samples behind sample ``at``, or None where it would be heard.

    Args:
        sound: what was played already, ``at`` samples of it, and what follows.
        at: where it may be changed from on.
        most: samples that may go.
        rate: in Hz.
        likeness: how much alike both sides of the splice have to be at least, from 0 to 1. In
            silence they need not, and all that may go goes.

    Returns:
        What is to be played in place of ``sound[at:]``.
    """
    fade = int(_FADE * rate)
    most = min(most, len(sound) - at - fade)
    if most > 0 and _is_quiet(sound[at : at + most + fade]):
        return _splice(sound, at, most, fade)
    lag, found = _best(sound, at, fade, rate, 1, most)
    return _splice(sound, at, lag, fade) if lag and found >= likeness else None


def lengthen(sound: Samples, at: int, wanted: int, rate: int, likeness: float) -> Samples | None:
    """Say something twice from sample ``at`` on, or return None where that would be heard.

    As :func:`shorten`; in silence ``wanted`` samples are added, or as many as there are, and in
    speech a period whatever is wanted.
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
    """Fade from ``at`` to ``at + lag``, and go on from there."""
    there = at + lag
    joined = overlap(sound[at : at + fade], sound[there : there + fade])
    return np.concatenate((joined, sound[there + fade :]))


def _best(
    sound: Samples, at: int, fade: int, rate: int, direction: int, most: int
) -> tuple[int, float]:
    """The lag at which the sound resembles what is at ``at`` the most, and how much."""
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
) -> NDArray[np.float32]:
    """The normalised correlation of ``fade`` samples with those at each lag."""
    windows = np.lib.stride_tricks.sliding_window_view(wide, fade)[at + direction * lags, ::step]
    here = wide[at : at + fade : step]
    energy = np.einsum("ij,ij->i", windows, windows) * np.dot(here, here)
    found: NDArray[np.float32] = windows @ here / np.sqrt(energy + 1.0)
    return found
