"""Gaps in a tone: the concealment has its pitch, no step at either end, and fades."""

from __future__ import annotations

import numpy as np
import pytest

from spech.codecs.conceal import Concealer
from spech.testing.audio import level, sine, tone


def steepest(pcm: np.ndarray) -> int:
    return int(np.abs(np.diff(pcm.astype(int))).max())


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 48000])
@pytest.mark.parametrize("frequency", [110, 180, 253])
def test_concealment_continues_the_pitch_without_a_step(rate: int, frequency: int) -> None:
    sound = sine(frequency, rate, 0.2, level=-12)
    frame = rate // 50
    concealer = Concealer(rate)
    heard = [concealer.heard(sound[at : at + frame]) for at in range(0, 5 * frame, frame)]
    gap = concealer.extend(frame)
    heard += [gap, concealer.heard(sound[6 * frame : 7 * frame])]
    whole = np.concatenate(heard)
    assert steepest(whole) <= 1.6 * steepest(sound)
    assert tone(whole[3 * frame :], rate).frequency == pytest.approx(frequency, rel=0.05)
    assert level(gap) > -17


def test_concealment_is_silent_after_60_ms() -> None:
    sound = sine(200, 8000, 0.1, level=-12)
    concealer = Concealer(8000)
    concealer.heard(sound)
    levels = [level(concealer.extend(160)) for _ in range(4)]
    assert levels[0] > levels[1] > levels[2] > levels[3] == level(np.zeros(1, np.int16))


def test_concealment_in_parts_equals_concealment_at_once() -> None:
    sound = sine(200, 8000, 0.1, level=-12)
    said = []
    for sizes in ((500,), (100, 7, 393)):
        concealer = Concealer(8000)
        concealer.heard(sound)
        said.append(np.concatenate([concealer.extend(size) for size in sizes]))
    assert np.array_equal(said[0], said[1])


def test_sound_after_a_gap_is_faded_in_and_then_unchanged() -> None:
    sound = sine(200, 8000, 0.1, level=-12)
    concealer = Concealer(8000)
    concealer.heard(sound)
    concealer.extend(160)
    other = sine(1000, 8000, 0.02, level=-12)
    first = concealer.heard(other)
    assert np.array_equal(first[80:], other[80:])
    assert not np.array_equal(first[:20], other[:20])
    assert concealer.heard(other) is other


@pytest.mark.parametrize("samples", [0, 1, 39, 119])
def test_too_little_history_is_concealed_as_silence(samples: int) -> None:
    concealer = Concealer(8000)
    concealer.heard(np.full(samples, 1000, np.int16))
    assert not concealer.extend(160).any()


def test_concealment_of_full_scale_noise_does_not_overflow() -> None:
    noise = np.random.default_rng(1).choice(np.array([-32768, 32767], np.int16), 800)
    concealer = Concealer(8000)
    concealer.heard(noise)
    assert concealer.extend(640).dtype == np.int16
    assert len(concealer.heard(noise)) == 800
