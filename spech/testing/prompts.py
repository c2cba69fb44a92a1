"""Recognizes a prompt in what was heard: how late it is, and what of it is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spech.media.playback import Pcm
from spech.testing.audio import level, samples

#: Seconds of the pieces that are searched.
_PIECE: Final = 0.1
#: Seconds by which the far end's or our jitter buffer may move a piece against the one before.
_SHIFT: Final = 0.03
#: The least correlation of a piece with the heard one; through G.711 it is 0.99.
_ALIKE: Final = 0.7
#: The same two where the far end or the machine stalled in the middle of a prompt. Words resemble
#: each other, so that more likeness is needed.
_STALL: Final = 0.3
_ALIKE_AFTER_STALL: Final = 0.9
#: Pieces of the prompt that are softer are pauses, in dBFS.
_PAUSE: Final = -45.0
#: Seconds that may be missing at each end, because pieces are not aligned to words.
_EDGE: Final = 0.15


@dataclass(frozen=True, slots=True)
class PromptMatch:
    """How a prompt was heard.

    Attributes:
        delay: seconds from the beginning of the recording to that of the prompt.
        share: how much of it was recognized, 0 to 1, pauses left out.
        missing_start: seconds at its beginning that were not recognized.
        missing_end: seconds at its end that were not recognized: a cut-off last word.
    """

    delay: float
    share: float
    missing_start: float
    missing_end: float


def match_prompt(heard: Pcm, prompt: Pcm, rate: int) -> PromptMatch:
    """Find ``prompt`` in ``heard``, both at ``rate`` Hz."""
    sound, reference = samples(heard), samples(prompt)
    if len(sound) < len(reference):
        sound = np.concatenate((sound, np.zeros(len(reference) - len(sound))))
    size = len(sound) + len(reference)
    spectrum = np.fft.rfft(sound, size) * np.conj(np.fft.rfft(reference, size))
    likeness = np.abs(np.fft.irfft(spectrum, size))
    start = int(likeness.argmax())
    if start > len(sound):
        start -= size  # The beginning of the prompt was not heard.
    piece = round(rate * _PIECE)
    loud, found = [], []
    shift = start
    for begin in range(0, len(reference) - piece + 1, piece):
        wanted = reference[begin : begin + piece]
        if 10 * np.log10(np.mean(wanted**2) + 1e-12) < _PAUSE:
            continue
        alike, moved = _best(sound, wanted, begin + shift, round(rate * _SHIFT))
        least = _ALIKE
        if alike < least:
            alike, moved = _best(sound, wanted, begin + shift, round(rate * _STALL))
            least = _ALIKE_AFTER_STALL
        loud.append(begin)
        if alike >= least:
            found.append(begin)
            shift += moved
    if not loud or not found:
        return PromptMatch(max(0.0, start / rate), 0.0, 0.0, 0.0)
    return PromptMatch(
        max(0.0, start / rate),
        len(found) / len(loud),
        (found[0] - loud[0]) / rate,
        (loud[-1] - found[-1]) / rate,
    )


def assert_prompt(
    heard: Pcm, prompt: Pcm, rate: int, *, share: float = 0.8, within: float = float("inf")
) -> PromptMatch:
    """Assert that ``prompt`` is in ``heard`` from its beginning to its end.

    Args:
        heard: what came.
        prompt: the whole prompt.
        rate: of both, in Hz.
        share: the least part of it that must be recognized.
        within: seconds in which it begins.
    """
    assert len(heard), "wanted the prompt, but nothing was heard"
    assert level(heard) > -60, "wanted the prompt, but only silence was heard"
    found = match_prompt(heard, prompt, rate)
    assert found.share > 0.2, (
        f"wanted the prompt, but it is another sound: {found.share:.0%} of it was recognized"
    )
    assert found.delay <= within, (
        f"the prompt is late: it begins after {found.delay:.1f} s, wanted within {within:.1f} s"
    )
    assert found.missing_end <= _EDGE, (
        f"the prompt is cut off: its last {found.missing_end:.1f} s are missing"
    )
    assert found.missing_start <= _EDGE, (
        f"the prompt begins too late: its first {found.missing_start:.1f} s are missing"
    )
    assert found.share >= share, f"the prompt has gaps: {found.share:.0%} of it was recognized"
    return found


def _best(
    sound: NDArray[np.float64], wanted: NDArray[np.float64], at: int, reach: int
) -> tuple[float, int]:
    """The best correlation of ``wanted`` near ``at``, and how far from there."""
    first = max(0, at - reach)
    near = sound[first : max(first, at + reach + len(wanted))]
    if len(near) < len(wanted):
        return 0.0, 0
    products = np.correlate(near, wanted, "valid")
    powers = np.convolve(near**2, np.ones(len(wanted)), "valid")
    alike = products / np.sqrt(np.maximum(powers, 1e-9) * np.sum(wanted**2))
    best = int(alike.argmax())
    return float(alike[best]), first + best - at
