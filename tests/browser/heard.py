"""What a page plays, and whether it is the sound that a test expects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spech.testing.audio import assert_tone

from .page import Telephone

#: The tone that the microphone hears, in Hz, and its level in dBFS.
TONE = 700.0
TONE_LEVEL = -20.0


def hear_tone(telephone: Telephone, frequency: float, level: float | None = None) -> None:
    """Assert that a clean tone is heard soon; a busy machine may occasionally lose a frame."""
    for attempt in range(10):
        heard, rate = telephone.hear(0.5)
        try:
            assert_tone(heard, rate, frequency, tolerance=2, level=level, level_tolerance=3)
        except AssertionError as error:
            if attempt == 9:
                error.add_note(f"The page shows: {telephone.shown}")
                raise
        else:
            return


def hear_own_tone(telephone: Telephone) -> None:
    """Assert that the microphone's tone returns from the echo."""
    hear_tone(telephone, TONE, TONE_LEVEL)


def in_call(telephone: Telephone) -> None:
    telephone.wait_for("spech.state.calls.some(call => call.state === 'answered')")
    # Sound needs a moment for the round trip.
    telephone.wait_for("spech.speakerLevel() > -40")


def loudness(heard: NDArray[np.int16], rate: int, frequency: float) -> float:
    """The level at that frequency, in dBFS."""
    window = np.hanning(len(heard))
    turns = np.exp(-2j * np.pi * frequency * np.arange(len(heard)) / rate)
    amplitude = 2 * abs(np.sum(heard * window * turns)) / np.sum(window) / 32768
    return float(20 * np.log10(max(amplitude, 1e-6)))
