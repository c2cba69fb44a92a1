"""Automatic gain on synthesized speech, noise and silence; peak levels."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from spech.audio.level import SILENCE, Meter, dbfs, peak
from spech.audio.tones import tone
from spech.audio.volume import TARGET, Volume
from spech.codecs import Samples
from spech.testing.audio import speech_level
from spech.testing.speech import SENTENCES, intelligibility, speak


@cache
def speech(rate: int) -> Samples:
    """About 20 s at full scale."""
    once = speak(SENTENCES, rate, peak=1.0)
    return np.concatenate((once, once))


def at_level(pcm: Samples, level: float, rate: int) -> Samples:
    factor = 10 ** ((level - speech_level(pcm, rate)) / 20)
    return np.clip(np.rint(pcm * factor), -32768, 32767).astype(np.int16)


def noise(level: float, seconds: float, rate: int, seed: int = 1) -> Samples:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 32768 * 10 ** (level / 20), int(seconds * rate)).astype(np.int16)


def run(volume: Volume, pcm: Samples, rate: int) -> Samples:
    size = rate // 50
    return np.concatenate(
        [volume.process(pcm[start : start + size]) for start in range(0, len(pcm) - size, size)]
    )


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("level", [-45, -40, -30, -19, -12])
def test_speech_is_brought_to_one_level(level: float, rate: int) -> None:
    volume = Volume()
    volume.automatic = True
    said = at_level(speech(rate), level, rate)
    heard = run(volume, said, rate)
    settled = heard[len(heard) // 2 :]
    assert speech_level(settled, rate) == pytest.approx(TARGET, abs=3)
    assert intelligibility(said[len(heard) // 2 :], settled, rate) > 0.95


def test_noise_between_words_is_not_amplified() -> None:
    rate = 8000
    pause = np.zeros(4 * rate, np.int16)
    said = np.concatenate((at_level(speech(rate), -35, rate), pause, pause))
    said = said + noise(-65, len(said) / rate, rate)
    volume = Volume()
    volume.automatic = True
    heard = run(volume, said, rate)
    after = heard[-7 * rate :]
    seconds = [dbfs(after[start : start + rate]) for start in range(0, 6 * rate, rate)]
    assert max(seconds) - min(seconds) < 1
    assert max(seconds) < -44


@pytest.mark.parametrize("level", [-70, -50, -30])
def test_noise_alone_is_unchanged(level: float) -> None:
    volume = Volume()
    volume.automatic = True
    said = noise(level, 10, 8000)
    heard = run(volume, said, 8000)
    assert dbfs(heard[-8000:]) == pytest.approx(level, abs=0.5)


def test_silence_stays_silent() -> None:
    volume = Volume()
    volume.automatic = True
    assert not run(volume, np.zeros(40000, np.int16), 8000).any()


def test_gain_falls_when_speech_gets_louder() -> None:
    rate = 8000
    volume = Volume()
    volume.automatic = True
    quiet, loud = (at_level(speech(rate), level, rate) for level in (-40, -10))
    heard = run(volume, np.concatenate((quiet, loud)), rate)
    assert speech_level(heard[-len(loud) // 2 :], rate) == pytest.approx(TARGET, abs=3)
    assert np.abs(heard.astype(np.int32)).max() < 32768


def test_automatic_gain_off_leaves_manual_gain_exact() -> None:
    volume = Volume()
    sound = tone((500,), 2, 8000, level=-30)
    assert volume.process(sound[:160]) is not None
    assert np.array_equal(run(volume, sound, 8000), sound[: 99 * 160])
    volume.gain = 10
    assert dbfs(run(volume, sound, 8000)[160:]) == pytest.approx(-20, abs=0.1)
    volume.automatic = True
    volume.automatic = False
    assert not volume.automatic


def test_the_peak_meter_falls_slowly() -> None:
    meter = Meter()
    assert meter.peak(9.0) == meter.level == SILENCE
    meter.measure(np.array([0, -32768], np.int16))
    assert meter.peak(10.0) == 0
    for _ in range(5):
        meter.measure(np.zeros(160, np.int16))
    assert meter.peak(10.5) == pytest.approx(-10)
    meter.measure(tone((500,), 1, 8000, level=-6.01))
    assert meter.peak(10.6) == pytest.approx(-3, abs=0.05)
    for _ in range(5):
        meter.measure(np.zeros(160, np.int16))
    assert meter.peak(100.0) == meter.level == SILENCE
    assert peak(np.zeros(10, np.int16)) == peak(np.zeros(0, np.int16)) == SILENCE
    assert peak(tone((500,), 1, 8000, level=-13.01)) == pytest.approx(-10, abs=0.05)
