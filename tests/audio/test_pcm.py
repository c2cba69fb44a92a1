"""PCM that a program hands over: in bursts, and in real time."""

from __future__ import annotations

import numpy as np
import pytest

from spech.audio.pcm import PcmQueue
from spech.audio.tones import tone
from spech.codecs.base import Samples

RATE = 8000
FRAME = 160


def words(seconds: int) -> Samples:
    """Noise that pauses each half second."""
    noise = (np.random.default_rng(1).standard_normal(seconds * RATE) * 2000).astype(np.int16)
    return (noise * (np.arange(len(noise)) % RATE < RATE // 2)).astype(np.int16)


def echo(queue: PcmQueue, sound: Samples, late: int) -> Samples:
    """Write a frame for each one that is read, after ``late`` samples at once."""
    queue.write(sound[:late])
    heard = []
    for start in range(late, len(sound), FRAME):
        queue.write(sound[start : start + FRAME])
        heard.append(queue.read(FRAME, RATE))
    return np.concatenate(heard)


def test_live_sound_that_is_late_is_shortened_and_loses_nothing() -> None:
    queue = PcmQueue(RATE, live=True)
    echo(queue, words(40), late=2 * RATE)
    assert queue.waiting <= 4 * FRAME
    assert queue.skipped == 0
    assert queue.written == queue.consumed + queue.waiting


def test_live_sound_that_is_far_too_late_is_dropped() -> None:
    queue = PcmQueue(RATE, live=True)
    echo(queue, words(80), late=60 * RATE)
    assert queue.skipped > 50 * RATE
    assert queue.waiting <= 4 * FRAME


def test_sound_that_is_not_live_waits_as_long_as_it_takes() -> None:
    queue = PcmQueue(RATE)
    sound = words(40)
    heard = echo(queue, sound, late=2 * RATE)
    assert np.array_equal(heard, sound[: len(heard)])


@pytest.mark.parametrize("burst", [0.25, 1, 3, 10])
def test_bursts_are_not_live(burst: float) -> None:
    """Speech that comes in parts, each a second before it is needed, is heard as it is."""
    queue = PcmQueue(RATE, live=True)
    sound = words(40)
    size = round(burst * RATE)
    written = 0
    heard = []
    for start in range(0, len(sound) - RATE, FRAME):
        while written < min(start + RATE, len(sound)):
            queue.write(sound[written : written + size])
            written += size
        heard.append(queue.read(FRAME, RATE))
    assert np.array_equal(np.concatenate(heard), sound[: len(heard) * FRAME])


@pytest.mark.parametrize("size", [1, 2, 319, 641, 5000])
def test_bytes_of_any_length_are_the_same_sound(size: int) -> None:
    queue = PcmQueue(RATE)
    sound = tone((1000,), 1, RATE)
    data = sound.tobytes()
    for start in range(0, len(data), size):
        queue.write(data[start : start + size])
    queue.end()
    assert np.array_equal(queue.read(RATE, RATE), sound)


def test_the_last_samples_can_be_dropped() -> None:
    queue = PcmQueue(RATE)
    sound = words(1)
    for start in range(0, RATE, 1000):
        queue.write(sound[start : start + 1000])
    queue.drop_last(2500)
    queue.end()
    assert np.array_equal(queue.read(RATE, RATE), sound[:5500])


def test_sound_at_another_rate_comes_out_whole_without_an_end() -> None:
    """What is left in the resampler's filter follows, though more may still be written."""
    queue = PcmQueue(16000)
    queue.write(tone((1000,), 1, 16000))
    heard = np.concatenate([queue.read(FRAME, RATE) for _ in range(60)])
    loud = np.flatnonzero(np.abs(heard) > 100)
    assert loud[-1] - loud[0] == pytest.approx(RATE, abs=RATE // 100)
    assert queue.tail == 0
