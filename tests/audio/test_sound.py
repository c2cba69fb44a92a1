"""Mixing, levels, tones and detection of digits."""

from __future__ import annotations

import numpy as np
import pytest

from spech.audio.dtmf import DigitDetector
from spech.audio.level import SILENCE, dbfs
from spech.audio.mixer import mix, overlap
from spech.audio.tones import digit, tone
from spech.codecs import create
from spech.rtp.dtmf import DIGITS


def test_mixed_sounds_are_added_and_clipped() -> None:
    loud = np.array([30000, -30000, 100], np.int16)
    assert mix((loud, loud, np.array([0, 0, 1], np.int16)), 3).tolist() == [32767, -32768, 201]
    assert mix((), 4).tolist() == [0] * 4
    assert mix((loud,), 3) is loud


def test_a_crossfade_begins_with_one_sound_and_ends_with_the_other() -> None:
    faded = overlap(np.full(100, 1000, np.int16), np.full(100, -1000, np.int16))
    assert (faded[0], faded[-1]) == (1000, -1000)
    assert (np.diff(faded) <= 0).all()


def test_levels_are_rms_in_dbfs() -> None:
    assert dbfs(np.full(100, -32768, np.int16)) == pytest.approx(0)
    assert dbfs(tone((1000,), 1, 8000, level=-3.01)) == pytest.approx(-3.01, abs=0.02)
    assert dbfs(tone((440,), 1, 8000, level=-40)) == pytest.approx(-40, abs=0.05)
    assert dbfs(np.zeros(100, np.int16)) == SILENCE
    assert dbfs(np.zeros(0, np.int16)) == SILENCE


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_every_digit_is_detected(rate: int) -> None:
    pause = np.zeros(rate // 20, np.int16)
    sound = np.concatenate([np.append(digit(key, 0.08, rate), pause) for key in DIGITS + "11"])
    detector = DigitDetector(rate)
    size = rate // 50 + 7  # frames that do not match a block
    heard = [detector.feed(sound[start : start + size]) for start in range(0, len(sound), size)]
    assert "".join(heard) == DIGITS + "11"


@pytest.mark.parametrize("name", ["PCMU", "PCMA"])
def test_digits_are_detected_through_a_codec_and_noise(name: str) -> None:
    codec = create(name)
    rng = np.random.default_rng(1)
    sound = np.concatenate(
        [np.append(digit(key, 0.1, 8000, level=-20), np.zeros(800, np.int16)) for key in DIGITS]
    )
    noisy = (sound + rng.normal(0, 100, len(sound))).astype(np.int16)
    assert DigitDetector(8000).feed(codec.decode(codec.encode(noisy))) == DIGITS


def test_a_long_digit_is_detected_once() -> None:
    assert DigitDetector(8000).feed(digit("5", 3, 8000)) == "5"


def test_other_sounds_are_not_digits() -> None:
    rng = np.random.default_rng(2)
    detector = DigitDetector(8000)
    assert detector.feed(tone((1000,), 1, 8000)) == ""
    assert detector.feed(tone((697,), 1, 8000)) == ""
    assert detector.feed(tone((697, 770), 1, 8000)) == ""
    assert detector.feed(tone((350, 440), 1, 8000)) == ""
    assert detector.feed(rng.normal(0, 5000, 80000).astype(np.int16)) == ""
    assert detector.feed(digit("1", 1, 8000, level=-60)) == ""


def test_an_invalid_key_has_no_tones() -> None:
    for key in ("", "E", "12"):
        with pytest.raises(ValueError, match="not a DTMF digit"):
            digit(key, 0.1, 8000)
