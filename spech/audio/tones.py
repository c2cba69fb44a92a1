"""Sounds that are computed: sines and DTMF digits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spech.codecs.base import Samples

ROWS = (697, 770, 852, 941)
COLUMNS = (1209, 1336, 1477, 1633)
KEYPAD = ("123A", "456B", "789C", "*0#D")
"""The digits by row and column (ITU-T Q.23)."""


def tone(
    frequencies: Sequence[float], seconds: float, rate: int, *, level: float = -12.0
) -> Samples:
    """A sum of sines, each ``level`` dBFS (RMS) loud.

    Args:
        frequencies: in Hz.
        seconds: how long it lasts.
        rate: samples per second.
        level: dBFS of each sine; a single one at -3.01 is full scale.
    """
    time = np.arange(round(seconds * rate)) / rate
    amplitude = 32768 * 10 ** (level / 20) * np.sqrt(2)
    total = sum(
        (np.sin(2 * np.pi * frequency * time) for frequency in frequencies),
        start=np.zeros(len(time)),
    )
    sounded: Samples = np.clip(np.round(total * amplitude), -32768, 32767).astype(np.int16)
    return sounded


def digit(key: str, seconds: float, rate: int, *, level: float = -12.0) -> Samples:
    """The two tones of a DTMF digit (ITU-T Q.23), each ``level`` dBFS loud.

    Raises:
        ValueError: ``key`` is none of ``0123456789*#ABCD``.
    """
    for row, keys in zip(ROWS, KEYPAD, strict=True):
        if len(key) == 1 and key.upper() in keys:
            return tone((row, COLUMNS[keys.index(key.upper())]), seconds, rate, level=level)
    raise ValueError(f"{key!r} is no DTMF digit")
