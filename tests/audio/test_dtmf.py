"""The digit detector against the limits of ITU-T Q.24, and against speech."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from spech.audio.dtmf import DigitDetector, KeyPress, ToneJudge
from spech.audio.tones import COLUMNS, KEYPAD, ROWS
from spech.codecs.base import Samples
from spech.rtp.dtmf import DIGITS
from spech.testing.speech import SENTENCES, speak

RATES = (8000, 11025, 16000, 48000)
FULL_SCALE = 3.14
"""dBm0 of a sine of full scale (ITU-T G.711)."""


class Sender:
    """Generates random digits at random phases and positions."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.rng = np.random.default_rng(1)

    def tone(
        self,
        key: str,
        ms: float,
        *,
        off: tuple[float, float] = (0.0, 0.0),
        levels: tuple[float, float] = (-9.0, -7.0),
    ) -> NDArray[np.float64]:
        """``off`` is the share by which each frequency is wrong, ``levels`` are in dBm0."""
        row = next(index for index, keys in enumerate(KEYPAD) if key in keys)
        column = KEYPAD[row].index(key)
        time = np.arange(round(self.rate * ms / 1000)) / self.rate
        sound = np.zeros(len(time))
        for pure, share, dbm0 in zip((ROWS[row], COLUMNS[column]), off, levels, strict=True):
            phase = self.rng.uniform(0, 2 * np.pi)
            peak = 32767 * 10 ** ((dbm0 - FULL_SCALE) / 20)
            sound += peak * np.sin(2 * np.pi * pure * (1 + share) * time + phase)
        return sound

    def pause(self, ms: float) -> NDArray[np.float64]:
        """This long, or up to 5 ms longer, so that nothing aligns with the detector's grid."""
        return np.zeros(round(self.rate * (ms + self.rng.uniform(0, 5)) / 1000))

    def keys(self, count: int = 100) -> str:
        return "".join(self.rng.choice(list(DIGITS), count))

    def hear(self, parts: list[NDArray[np.float64]], noise_dbm0: float | None = None) -> str:
        sound = np.concatenate(parts)
        if noise_dbm0 is not None:
            rms = 32767 / np.sqrt(2) * 10 ** ((noise_dbm0 - FULL_SCALE) / 20)
            sound = sound + self.rng.normal(0, rms, len(sound))
        return detect(np.clip(np.rint(sound), -32768, 32767).astype(np.int16), self.rate)


def detect(sound: Samples, rate: int) -> str:
    detector = DigitDetector(rate)
    size = rate // 50
    return "".join(
        detector.feed(sound[start : start + size]) for start in range(0, len(sound), size)
    )


@pytest.mark.parametrize("rate", RATES)
def test_tones_of_40_ms_are_detected_and_of_23_ms_are_not(rate: int) -> None:
    sender = Sender(rate)
    keys = sender.keys()
    parts = [part for key in keys for part in (sender.tone(key, 40), sender.pause(40))]
    assert sender.hear(parts) == keys
    parts = [part for key in keys for part in (sender.tone(key, 20), sender.pause(60))]
    assert sender.hear(parts) == ""


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(
    ("off", "heard"),
    [
        ((0.015, 0.015), True),
        ((-0.015, 0.015), True),
        ((0.015, -0.015), True),
        ((-0.015, -0.015), True),
        ((0.035, 0.0), False),
        ((-0.035, 0.0), False),
        ((0.0, 0.035), False),
        ((0.0, -0.035), False),
    ],
)
def test_frequency_errors_are_accepted_up_to_q24_limits(
    rate: int, off: tuple[float, float], heard: bool
) -> None:
    sender = Sender(rate)
    keys = sender.keys()
    parts = [p for key in keys for p in (sender.tone(key, 50, off=off), sender.pause(50))]
    assert sender.hear(parts) == (keys if heard else "")


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(
    ("levels", "heard"),
    [
        ((0.0, 0.0), True),
        ((-25.0, -25.0), True),
        ((-9.0, -1.0), True),
        ((-1.0, -9.0), True),
        ((-25.0, -17.0), True),
        ((-3.0, -15.0), False),
        ((-15.0, -3.0), False),
        ((-40.0, -40.0), False),
    ],
)
def test_levels_and_twist_are_accepted_up_to_q24_limits(
    rate: int, levels: tuple[float, float], heard: bool
) -> None:
    sender = Sender(rate)
    keys = sender.keys()
    parts = [p for key in keys for p in (sender.tone(key, 50, levels=levels), sender.pause(50))]
    assert sender.hear(parts) == (keys if heard else "")


@pytest.mark.parametrize("rate", RATES)
def test_digits_are_detected_15_db_above_noise(rate: int) -> None:
    sender = Sender(rate)
    keys = sender.keys()
    parts = [p for key in keys for p in (sender.tone(key, 50, levels=(-20, -20)), sender.pause(50))]
    assert sender.hear(parts, noise_dbm0=-35) == keys


@pytest.mark.parametrize("rate", RATES)
def test_an_interruption_of_10_ms_does_not_split_a_digit(rate: int) -> None:
    sender = Sender(rate)
    keys = sender.keys(40)
    parts = []
    for key in keys:
        whole = sender.tone(key, 110)
        hole = round(rate * sender.rng.uniform(0.045, 0.055))
        whole[hole : hole + rate // 100] = 0
        parts += [whole, sender.pause(50)]
    assert sender.hear(parts) == keys


@pytest.mark.parametrize("rate", RATES)
def test_one_tone_or_three_tones_are_not_a_digit(rate: int) -> None:
    sender = Sender(rate)
    one = sender.tone("1", 500, levels=(-9.0, -90.0))
    both = sender.tone("1", 500) + sender.tone("6", 500)
    assert sender.hear([one, sender.pause(50), both]) == ""


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("voice", ["en", "en+f4", "de", "it"])
def test_speech_is_not_detected_as_digits(rate: int, voice: str) -> None:
    said = speak(SENTENCES + " Oooh, aaah, eeee! Who are you? La la la la.", rate, voice=voice)
    assert detect(said, rate) == ""


def detect_in_every_window(sound: Samples, rate: int, lost: list[range]) -> str:
    """As :class:`DigitDetector`, with a close look at each window; ``lost`` are samples."""
    judge, press = ToneJudge(rate), KeyPress()
    digits = ""
    silence = np.zeros(judge.window, np.int16)
    for index, key in enumerate(judge.keys(np.concatenate((silence, sound)))):
        end = (index + 1) * judge.hop
        concealed = any(one.start < end and end - judge.window < one.stop for one in lost)
        digits += press.follow(key, lost=concealed)
    return digits


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("voice", ["en", "it"])
def test_a_rough_look_first_finds_what_a_close_look_at_each_window_finds(
    rate: int, voice: str
) -> None:
    """Digits of all lengths and levels, also off their frequencies, in all kinds of sound."""
    sender = Sender(rate)
    rng = sender.rng
    speech = speak(SENTENCES, rate, voice=voice).astype(np.float64)
    parts: list[NDArray[np.float64]] = []
    for key in sender.keys(400):
        start = rng.integers(len(speech) - rate)
        between = speech[start : start + rng.integers(rate // 4)] * rng.choice((0.0, 0.1, 1.0))
        levels = rng.uniform(-35, 0) + rng.uniform(-6, 6, 2)
        off = rng.uniform(-0.03, 0.03, 2)
        digit = sender.tone(
            key, rng.uniform(15, 120), off=(off[0], off[1]), levels=(levels[0], levels[1])
        )
        digit += rng.normal(0, rng.choice((0.0, 10.0, 100.0)), len(digit))
        parts += [between, digit]
    sound = np.clip(np.rint(np.concatenate(parts)), -32768, 32767).astype(np.int16)
    size = rate // 50
    sound = sound[: len(sound) // size // 50 * size * 50]
    detector = DigitDetector(rate)
    digits, lost = "", []
    for start in range(0, len(sound), size):
        concealed = rng.random() < 0.05
        if concealed:
            lost.append(range(start, start + size))
            sound[start : start + size] = sound[start - size : start] if start else 0
        digits += detector.feed(sound[start : start + size], lost=concealed)
    assert digits == detect_in_every_window(sound, rate, lost)
    assert len(digits) > 100
