"""Resampling frame by frame: frame borders are inaudible."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from spech import codecs
from spech.codecs import Resampler, Samples

SECONDS = 3
#: Between the codecs' rates, those of sound cards, and that of Opus.
PAIRS = [
    (8000, 48000),
    (48000, 8000),
    (16000, 44100),
    (44100, 16000),
    (8000, 16000),
    (22050, 48000),
    (48000, 44100),
]


@pytest.fixture(params=["soxr 1.1", "soxr 1.0"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The filter of soxr, and the one for its older versions."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise TypeError("an unexpected keyword argument 'vr'")

    if request.param == "soxr 1.0":
        monkeypatch.setattr(soxr, "ResampleStream", refuse)


def in_frames(sound: Samples, from_rate: int, to_rate: int) -> Samples:
    resampler = Resampler(from_rate, to_rate)
    size = from_rate // 50
    return np.concatenate(
        [resampler.process(sound[at : at + size]) for at in range(0, len(sound), size)]
    )


def pcm(phase: NDArray[np.float64]) -> Samples:
    return np.rint(16000 * np.sin(phase)).astype(np.int16)


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
def test_a_sweep_is_resampled_equally_in_frames_and_at_once(from_rate: int, to_rate: int) -> None:
    """From 100 Hz to above the band of the lower rate; rounding may differ."""
    time = np.arange(SECONDS * from_rate) / from_rate
    highest = 0.6 * min(from_rate, to_rate)
    swept = pcm(2 * np.pi * (100 * time + (highest - 100) * time**2 / (2 * SECONDS)))
    frames = in_frames(swept, from_rate, to_rate)
    whole = Resampler(from_rate, to_rate).process(swept)
    assert len(frames) == len(whole) > 0.98 * SECONDS * to_rate
    assert np.abs(frames.astype(int) - whole).max() <= 2


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
@pytest.mark.parametrize("share", [0.01, 0.1, 0.35])
def test_resampling_noise_is_faint_and_not_at_frame_borders(
    from_rate: int, to_rate: int, share: float
) -> None:
    """A tone at a fraction of the lower rate, and the residual at each position of a frame."""
    # Not a multiple of 50 Hz, so that frames have different phases.
    frequency = round(share * min(from_rate, to_rate)) + 7
    time = np.arange(SECONDS * from_rate) / from_rate
    heard = in_frames(pcm(2 * np.pi * frequency * time), from_rate, to_rate)
    heard = heard[to_rate // 2 :].astype(np.float64)
    turning = 2 * np.pi * frequency * np.arange(len(heard)) / to_rate
    waves = np.stack((np.sin(turning), np.cos(turning)), axis=1)
    rest = heard - waves @ np.linalg.lstsq(waves, heard, rcond=None)[0]
    assert 10 * np.log10(np.mean(heard**2) / np.mean(rest**2)) > 70
    size = to_rate // 50
    places = np.mean(rest[: len(rest) // size * size].reshape(-1, size) ** 2, axis=0)
    # 2.5 ms around the border, and the same length anywhere else.
    around = np.convolve(np.tile(places, 2), np.ones(size // 8), "valid")[:size]
    assert around[-(size // 16)] < 1.5 * np.median(around)
    assert np.abs(rest).max() < 16


@pytest.mark.parametrize("rate", sorted({info.rate for info in codecs.describe()}))
def test_equal_rates_are_not_resampled(rate: int) -> None:
    sound = np.arange(rate // 50, dtype=np.int16)
    assert Resampler(rate, rate).process(sound) is sound
