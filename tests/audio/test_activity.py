"""Speech is distinguished from the noise of a room."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spech.audio.activity import UtteranceDetector, VoiceActivity
from spech.audio.tones import tone
from spech.codecs.base import Samples
from spech.testing.speech import SENTENCES, speak


def room(rate: int, seconds: float, rms: float) -> np.ndarray:
    white = np.random.default_rng(1).normal(0, 1, round(rate * seconds) + 50)
    coloured = np.convolve(white, 0.7 ** np.arange(50))[50 : len(white)]
    return coloured * rms / np.sqrt(np.mean(coloured**2))


def judge(activity: VoiceActivity, sound: Samples, rate: int) -> np.ndarray:
    size = rate // 50
    starts = range(0, len(sound) - size + 1, size)
    return np.array([activity.hear(sound[start : start + size]) for start in starts])


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("voice", ["en", "en+f4", "de"])
@pytest.mark.parametrize("below", [60, 30, 20, 15])
def test_speech_is_kept_and_pauses_are_removed(rate: int, voice: str, below: float) -> None:
    """Half of it is pauses; the room is this many dB quieter than the speech."""
    parts: list[NDArray[Any]] = []
    for sentence in SENTENCES.split(". "):
        said = speak(sentence, rate, voice=voice, peak=0.4)
        loud = np.flatnonzero(np.abs(said) > 50)
        said = said[loud[0] : loud[-1] + 1]
        parts += [said, np.zeros(len(said))]
    clean = np.concatenate(parts)
    rms = np.sqrt(2 * np.mean(clean**2)) * 10 ** (-below / 20)
    activity = VoiceActivity()
    before = room(rate, 2, rms)
    judge(activity, np.rint(before).astype(np.int16), rate)
    heard = np.rint(clean + room(rate, len(clean) / rate + 1, rms)[: len(clean)])
    sent = judge(activity, np.clip(heard, -32768, 32767).astype(np.int16), rate)
    size = rate // 50
    energy = (clean[: len(sent) * size].reshape(-1, size) ** 2).sum(axis=1)
    assert energy[sent].sum() > 0.999 * energy.sum()
    assert sent.mean() < 0.6


@pytest.mark.parametrize("peak", [0.5, 0.1, 0.03])
def test_soft_speech_from_the_first_tick_is_detected(peak: float) -> None:
    """From the first tick on, before the level of the room is known."""
    said = speak(SENTENCES, 8000, peak=peak).astype(np.float64)
    said = said[np.argmax(np.abs(said) > 100) :]
    heard = np.rint(said + room(8000, len(said) / 8000 + 1, 18)[: len(said)])
    sent = judge(VoiceActivity(), heard.astype(np.int16), 8000)
    energy = (said[: len(sent) * 160].reshape(-1, 160) ** 2).sum(axis=1)
    assert energy[sent].sum() > 0.99 * energy.sum()
    assert energy[:50][sent[:50]].sum() > 0.99 * energy[:50].sum()


def test_noise_alone_soon_counts_as_a_pause() -> None:
    activity = VoiceActivity()
    for rms in (3, 30, 150, 40):
        sent = judge(activity, np.rint(room(8000, 6, rms)).astype(np.int16), 8000)
        assert not sent[150:].any(), rms
    assert not judge(activity, np.zeros(16000, np.int16), 8000)[12:].any()


@pytest.mark.parametrize("level", [-10, -30])
def test_a_steady_tone_is_not_noise(level: float) -> None:
    """A dial tone or music on hold may be steady, but is louder than any room."""
    assert judge(VoiceActivity(), tone((440,), 20, 8000, level=level), 8000).all()


def utterances(sound: Samples, rate: int) -> list[tuple[float, bool]]:
    """When speech begins (True) and ends, in seconds."""
    detector, size = UtteranceDetector(), rate // 50
    found = []
    for start in range(0, len(sound) - size + 1, size):
        changed = detector.feed(sound[start : start + size])
        if changed is not None:
            found.append(((start + size) / rate, changed))
    return found


def test_an_utterance_begins_soon_and_ends_soon() -> None:
    quiet = room(8000, 6, 30).astype(np.int16)
    said = speak("Stop", 8000, peak=0.4)
    loud = np.flatnonzero(np.abs(said) > 200)
    said = said[loud[0] : loud[-1] + 1]
    sound = quiet.copy()
    sound[16000 : 16000 + len(said)] += said
    (begun, begins), (over, ends) = utterances(sound, 8000)
    assert (begins, ends) == (True, False)
    assert 2.06 <= begun <= 2.16
    assert over - (2 + len(said) / 8000) <= 0.3


def test_silence_a_room_and_a_click_are_no_utterance() -> None:
    sound = room(8000, 6, 30).astype(np.int16)
    sound[24000:24200] = 8000
    assert utterances(sound, 8000) == []
    assert utterances(np.zeros(48000, np.int16), 8000) == []
