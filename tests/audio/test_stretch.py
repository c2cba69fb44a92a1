"""Sound is shortened and lengthened by whole periods, without a step, or not at all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from spech.audio.stretch import lengthen, shorten
from spech.testing.audio import sine, tone


def steepest(pcm: np.ndarray) -> int:
    return int(np.abs(np.diff(pcm.astype(int))).max())


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("frequency", [100, 217, 400])
def test_a_tone_changes_by_whole_periods(rate: int, frequency: int) -> None:
    sound = sine(frequency, rate, 0.08, level=-12)
    at = rate // 50
    period = rate / frequency
    for changed in (shorten(sound, at, at, rate, 0.99), lengthen(sound, at, at, rate, 0.99)):
        assert changed is not None
        moved = abs(len(changed) - (len(sound) - at)) / period
        assert 0 < moved == pytest.approx(round(moved), abs=0.05)
        whole = np.concatenate((sound[:at], changed))
        assert steepest(whole) <= 1.1 * steepest(sound)
        assert tone(whole, rate).frequency == pytest.approx(frequency, rel=0.02)


def test_silence_changes_by_the_requested_length() -> None:
    sound = np.zeros(480, np.int16)
    shorter, longer = shorten(sound, 160, 93, 8000, 2.0), lengthen(sound, 160, 93, 8000, 2.0)
    assert shorter is not None
    assert longer is not None
    assert (len(shorter), len(longer)) == (320 - 93, 320 + 93)


@pytest.mark.parametrize("stretch", [shorten, lengthen])
def test_noise_is_not_changed(stretch: Callable[..., np.ndarray | None]) -> None:
    noise = (np.random.default_rng(1).standard_normal(480) * 5000).astype(np.int16)
    assert stretch(noise, 160, 160, 8000, 0.9) is None
    assert stretch(noise, 160, 160, 8000, 0.0) is not None


@pytest.mark.parametrize("length", [0, 40, 79, 80, 81, 100])
def test_short_sound_is_unchanged_or_changed_within_bounds(length: int) -> None:
    for at in (0, min(10, length)):
        for sound in (np.zeros(length, np.int16), sine(400, 8000, 1)[:length]):
            shorter = shorten(sound, at, 30, 8000, 0.5)
            assert shorter is None or 0 < length - at - len(shorter) <= 30
            longer = lengthen(sound, at, 30, 8000, 0.5)
            assert longer is None or len(longer) > length - at
