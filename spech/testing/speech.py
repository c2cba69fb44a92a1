"""Speech for tests, and a measure of its intelligibility at the other end.

said = speak("The quick brown fox", 8000)
...
assert intelligibility(said, heard, 8000) > 0.9
"""

from __future__ import annotations

import io
import shutil
import subprocess
import wave

import numpy as np
import soxr
from numpy.typing import NDArray

from spech.media.playback import Pcm
from spech.testing.audio import samples

#: Sentences of the Harvard list (IEEE 1969), which balances the sounds of English.
SENTENCES = (
    "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background. "
    "It's easy to tell the depth of a well. These days a chicken leg is a rare dish."
)

_STOI_RATE = 10000
_WINDOW = 256
_HOP = 128
_SPECTRUM = 512
_BANDS = 15
_LOWEST_BAND = 150.0
_SEGMENT = 30
_DYNAMIC_RANGE = 40.0
_CLIP = 10 ** (15 / 20)


class SpeechUnavailable(Exception):
    """There is no espeak-ng on this machine."""


def speak(text: str, rate: int, *, voice: str = "en", peak: float = 0.5) -> NDArray[np.int16]:
    """Synthesize speech with espeak-ng: int16 mono at ``rate`` Hz, ``peak`` of full scale.

    Raises:
        SpeechUnavailable: it is not installed.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise SpeechUnavailable("espeak-ng is not installed (Debian's package espeak-ng)")
    command = [program, "-v", voice, "--stdout", text]
    said = subprocess.run(command, check=True, capture_output=True, timeout=30).stdout
    with wave.open(io.BytesIO(said)) as file:
        # On a pipe, the header does not contain the length.
        made = file.getframerate()
        pcm = np.frombuffer(said[44:], "<i2").astype(np.float64)
    resampled = soxr.resample(pcm, made, rate, quality="VHQ")
    scaled = resampled * (peak * 32767 / np.abs(resampled).max())
    return np.asarray(np.rint(scaled), np.int16)


def align(
    said: Pcm, heard: Pcm, rate: int, *, longest: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Remove the delay: both as floats from -1 to 1, of equal length, at the best match.

    Args:
        said: the input.
        heard: the output, delayed by up to ``longest`` seconds.
        rate: of both, in Hz.
        longest: the largest delay to search for, in seconds.
    """
    original, received = samples(said), samples(heard)
    size = len(original) + len(received)
    product = np.fft.irfft(np.fft.rfft(received, size) * np.conj(np.fft.rfft(original, size)), size)
    delay = int(np.argmax(product[: int(longest * rate)]))
    length = min(len(original), len(received) - delay)
    return original[:length], received[delay : delay + length]


def signal_to_noise(said: Pcm, heard: Pcm, rate: int) -> float:
    """The signal-to-noise ratio in dB, after correction of delay and gain."""
    original, received = align(said, heard, rate)
    gain = float(original @ received) / float(original @ original)
    noise = received - gain * original
    return float(10 * np.log10((gain * original) @ (gain * original) / (noise @ noise + 1e-12)))


def intelligibility(said: Pcm, heard: Pcm, rate: int) -> float:
    """STOI: 0 (unintelligible) to 1, after C. H. Taal et al., IEEE TASLP 19(7), 2011.

    At about 0.7, listeners understand nearly every word of a sentence. Sound above 5 kHz, level
    and delay do not count.

    Raises:
        ValueError: there is less than half a second of speech.
    """
    original, received = align(said, heard, rate)
    pairs = [
        _frames(soxr.resample(part, rate, _STOI_RATE, quality="VHQ"))
        for part in (original, received)
    ]
    energy = 10 * np.log10(np.sum(pairs[0] ** 2, axis=1) + 1e-12)
    loud = energy > energy.max() - _DYNAMIC_RANGE
    clean, degraded = (_band_levels(frames[loud]) for frames in pairs)
    count = clean.shape[1] - _SEGMENT + 1
    if count < 1:
        raise ValueError("too little speech to measure")
    return float(np.mean([_likeness(clean, degraded, start) for start in range(count)]))


def _frames(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    windows = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::_HOP]
    framed: NDArray[np.float64] = windows * np.hanning(_WINDOW + 2)[1:-1]
    return framed


def _band_levels(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """The level of each third of an octave in each frame: bands x frames."""
    power = np.abs(np.fft.rfft(frames, _SPECTRUM)) ** 2
    frequencies = np.fft.rfftfreq(_SPECTRUM, 1 / _STOI_RATE)
    levels = []
    for band in range(_BANDS):
        centre = _LOWEST_BAND * 2 ** (band / 3)
        inside = (frequencies >= centre * 2 ** (-1 / 6)) & (frequencies < centre * 2 ** (1 / 6))
        levels.append(np.sqrt(power[:, inside].sum(axis=1)))
    return np.stack(levels)


def _likeness(clean: NDArray[np.float64], degraded: NDArray[np.float64], start: int) -> float:
    """The correlation of the envelopes of all bands over 384 ms."""
    said = clean[:, start : start + _SEGMENT]
    heard = degraded[:, start : start + _SEGMENT]
    scale = np.linalg.norm(said, axis=1) / (np.linalg.norm(heard, axis=1) + 1e-12)
    heard = np.minimum(heard * scale[:, None], said * (1 + _CLIP))
    said = said - said.mean(axis=1, keepdims=True)
    heard = heard - heard.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(said, axis=1) * np.linalg.norm(heard, axis=1) + 1e-12
    return float(np.mean((said * heard).sum(axis=1) / norms))
