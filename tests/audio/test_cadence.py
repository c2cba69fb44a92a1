"""Progress tones of all countries, beeps, and sounds that are neither."""

from __future__ import annotations

import numpy as np
import pytest

from spech import codecs
from spech.audio import tones
from spech.audio.cadence import CadenceDetector
from spech.audio.progress import ProgressTone, countries
from spech.codecs import Samples
from spech.testing.audio import sine
from spech.testing.speech import SpeechUnavailable, speak

RATE = 8000


def found(sound: Samples, rate: int = RATE) -> list[str]:
    detector = CadenceDetector(rate)
    step = rate // 50
    ticks = (sound[start : start + step] for start in range(0, len(sound) - step + 1, step))
    return [tone for tick in ticks if (tone := detector.feed(tick)) is not None]


def silence(seconds: float, rate: int = RATE) -> Samples:
    return np.zeros(round(seconds * rate), np.int16)


@pytest.mark.parametrize("country", ["", *countries()])
def test_the_tones_of_a_country_are_told(country: str) -> None:
    ringing = ProgressTone("ringback", country).read(12 * RATE, RATE)
    assert found(ringing) == ["ringback"]
    for name in ("busy", "congestion"):
        tone = ProgressTone(name, country).read(5 * RATE, RATE)
        told = found(tone)
        assert not {"ringback", "beep"} & set(told)
        # Those whose tones and pauses differ in length are not told.
        assert told or (name, country) in {
            ("congestion", country) for country in ("br", "es", "gb", "se", "kr", "tr")
        }


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_busy_and_congestion_differ_at_every_rate(rate: int) -> None:
    assert found(ProgressTone("busy", "de").read(5 * rate, rate), rate) == ["busy"]
    assert found(ProgressTone("congestion", "de").read(5 * rate, rate), rate) == ["congestion"]


@pytest.mark.parametrize("frequency", [1000, 1400])
@pytest.mark.parametrize("seconds", [0.25, 1.0])
def test_a_beep_is_told_after_other_sound(frequency: int, seconds: float) -> None:
    noise = np.random.default_rng(1).integers(-3000, 3000, RATE).astype(np.int16)
    sound = np.concatenate([noise, silence(0.5), sine(frequency, RATE, seconds), silence(1)])
    assert found(sound) == ["beep"]


def test_a_busy_tone_is_told_through_g711_and_noise() -> None:
    sound = ProgressTone("busy", "us").read(5 * RATE, RATE)
    noise = np.random.default_rng(2).normal(0, 100, len(sound))
    codec = codecs.create("PCMU")
    heard = np.concatenate(
        [
            codec.decode(codec.encode(tick))
            for tick in np.clip(sound + noise, -32768, 32767).astype(np.int16).reshape(-1, 160)
        ]
    )
    assert found(heard) == ["busy"]


def test_digits_silence_and_endless_tones_are_nothing() -> None:
    keys = [np.concatenate([tones.digit(key, 0.2, RATE), silence(0.2)]) for key in "0123456789*#"]
    assert found(np.concatenate(keys)) == []
    assert found(silence(5)) == []
    assert found(sine(440, RATE, 10)) == []
    assert found(sine(1000, RATE, 10)) == []


def test_speech_is_nothing() -> None:
    try:
        spoken = speak("You have reached an answering machine. Please leave a message.", RATE)
    except SpeechUnavailable as error:
        pytest.skip(str(error))
    assert found(spoken) == []
