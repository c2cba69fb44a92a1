"""Assertions about sound. Each returns what it measured, for further assertions.

PCM is signed 16-bit little-endian mono, as ``bytes`` or as an int16 array; rates are in Hz.
Levels are RMS in dBFS: a square wave of full scale has 0, a sine of full scale -3, silence -100.
"""

from __future__ import annotations

import wave
from dataclasses import dataclass
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from spech.audio.dtmf import DigitDetector
from spech.media.playback import Pcm

#: What :func:`level` returns for digital silence, in dBFS.
DIGITAL_SILENCE = -100.0

_FULL_SCALE = 32768.0
_FRAME_SECONDS = 0.02
#: Decibels between the level of speech and the threshold of activity (P.56, 7.2).
_SPEECH_MARGIN = 15.9


@dataclass(frozen=True, slots=True)
class Tone:
    """The strongest sine in a stretch of sound.

    Attributes:
        frequency: in Hz.
        level: RMS of that sine alone, in dBFS.
        purity: its share of the power of the whole, 0 to 1.
    """

    frequency: float
    level: float
    purity: float


def samples(pcm: Pcm) -> NDArray[np.float64]:
    """PCM as floats from -1 to 1."""
    return _integers(pcm).astype(np.float64) / _FULL_SCALE


def level(pcm: Pcm) -> float:
    """RMS level in dBFS."""
    values = samples(pcm)
    return _decibel(float(np.mean(values**2))) if len(values) else DIGITAL_SILENCE


def speech_level(pcm: Pcm, rate: int) -> float:
    """The level of speech during active speech, in dBFS, by method B of ITU-T P.56.

    Activity is judged in frames of 20 ms that are louder than 15.9 dB below the result, with 0.2 s
    of hangover.
    """
    values = samples(pcm)
    length = int(rate * _FRAME_SECONDS)
    frames = values[: len(values) // length * length].reshape(-1, length)
    power = (frames**2).mean(axis=1)
    total = float(power.sum())
    result = DIGITAL_SILENCE
    for threshold in np.arange(-80.0, 0.0, 0.5):
        loud = power > 10 ** (threshold / 10)
        active = np.convolve(loud, np.ones(1 + round(0.2 / _FRAME_SECONDS)))[: len(loud)] > 0
        if not active.any():
            break
        result = _decibel(total / int(active.sum()))
        if result - threshold <= _SPEECH_MARGIN:
            break
    return result


def tone(pcm: Pcm, rate: int) -> Tone:
    """Measure the strongest sine between 50 Hz and half the rate.

    At least 50 ms are required; with 200 ms the frequency is accurate to a fraction of a hertz.
    """
    values = samples(pcm)
    if len(values) < rate * 0.05:
        raise ValueError(f"{len(values)} samples are too few to measure a tone")
    # The Hann window has no leakage beyond two bins, so the line and its neighbors hold all of
    # the sine's power; the interpolated peak gives the frequency between the bins.
    window = np.hanning(len(values))
    power = np.abs(np.fft.rfft(values * window)) ** 2
    width = rate / len(values)
    lowest = int(50 / width) + 1
    total = float(power[1:].sum())
    if total == 0.0:
        return Tone(0.0, DIGITAL_SILENCE, 0.0)
    peak = lowest + int(np.argmax(power[lowest:-1]))
    # Parabola through the logarithms of the line and its two neighbors.
    left, middle, right = np.log(power[peak - 1 : peak + 2] + 1e-30)
    bend = left - 2 * middle + right
    offset = float(0.5 * (left - right) / bend) if bend else 0.0
    line = float(power[max(1, peak - 3) : peak + 4].sum())
    # Parseval, for one half of the spectrum and the window's own power.
    mean_square = 2 * line / (len(values) * float((window**2).sum()))
    return Tone((peak + offset) * width, _decibel(mean_square), line / total)


def sounding(pcm: Pcm, rate: int, *, above: float = -50.0) -> NDArray[np.int16]:
    """Cut the silence at both ends: from the first to the last 20 ms louder than ``above`` dBFS."""
    values = _integers(pcm)
    length = int(rate * _FRAME_SECONDS)
    count = len(values) // length
    frames = samples(values[: count * length]).reshape(count, length)
    loud = np.flatnonzero((frames**2).mean(axis=1) > 10 ** (above / 10))
    if not len(loud):
        return values[:0]
    return values[loud[0] * length : (loud[-1] + 1) * length]


def assert_tone(
    pcm: Pcm,
    rate: int,
    frequency: float,
    *,
    tolerance: float = 5.0,
    level: float | None = None,
    level_tolerance: float = 1.5,
    purity: float = 0.9,
) -> Tone:
    """Assert that the sound is one sine of ``frequency``, within ``tolerance`` Hz.

    Args:
        level: expected level in dBFS, within ``level_tolerance`` dB; None for any.
        purity: the least share of the total power that must be in it.
    """
    found = tone(pcm, rate)
    wanted = f"a tone of {frequency} Hz, but the strongest is {found}"
    assert abs(found.frequency - frequency) <= tolerance, f"wanted {wanted}"
    assert found.purity >= purity, f"wanted {wanted}: less than {purity} of the power is in it"
    if level is not None:
        assert abs(found.level - level) <= level_tolerance, f"wanted at {level} dBFS {wanted}"
    return found


def assert_level(pcm: Pcm, expected: float, *, tolerance: float = 1.5) -> float:
    """Assert the RMS level in dBFS, and return it."""
    found = level(pcm)
    assert abs(found - expected) <= tolerance, f"wanted {expected} dBFS, but it is {found:.1f}"
    return found


def assert_silence(pcm: Pcm, *, below: float = -60.0) -> float:
    """Assert that there are samples, quieter than ``below`` dBFS; return their level."""
    assert len(pcm), "wanted silence, but there are no samples at all"
    found = level(pcm)
    assert found < below, f"wanted silence below {below} dBFS, but it is {found:.1f}"
    return found


def digits(pcm: Pcm, rate: int) -> str:
    """The DTMF digits that are in the sound as tones."""
    return DigitDetector(rate).feed(_integers(pcm))


def read_wav(path: str | PathLike[str]) -> tuple[NDArray[np.int16], int]:
    """The samples of a mono 16-bit WAV file, and its rate."""
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2), f"{path} is not 16-bit mono"
        data = file.readframes(file.getnframes())
        return np.frombuffer(data, dtype="<i2"), file.getframerate()


def write_wav(path: str | PathLike[str], pcm: Pcm, rate: int) -> None:
    """Write a mono 16-bit WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(pcm))


def sine(frequency: float, rate: int, seconds: float, *, level: float = -15.0) -> NDArray[np.int16]:
    """A sine of ``level`` dBFS (RMS), to play and to detect."""
    time = np.arange(int(rate * seconds)) / rate
    peak = _FULL_SCALE * np.sqrt(2) * 10 ** (level / 20)
    values = peak * np.sin(2 * np.pi * frequency * time)
    clipped: NDArray[np.float64] = np.clip(np.round(values), -32768, 32767)
    return clipped.astype(np.int16)


def _integers(pcm: Pcm) -> NDArray[np.int16]:
    return pcm if isinstance(pcm, np.ndarray) else np.frombuffer(pcm, dtype="<i2")


def _decibel(mean_square: float) -> float:
    if mean_square == 0:
        return DIGITAL_SILENCE
    return max(DIGITAL_SILENCE, 10 * float(np.log10(mean_square)))
