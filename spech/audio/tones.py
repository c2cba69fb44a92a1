"""Computed sounds: sines and DTMF digits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spech.codecs.base import Samples

ROWS = (697, 770, 852, 941)
COLUMNS = (1209, 1336, 1477, 1633)
KEYPAD = ("123A", "456B", "789C", "*0#D")
"""The digits by row and column (ITU-T Q.23)."""

# A sine of full scale has 3.14 dBm0 (ITU-T G.711).
_ROW_PEAK = 32767 * 10 ** ((-9 - 3.14) / 20)
_COLUMN_PEAK = 32767 * 10 ** ((-7 - 3.14) / 20)


def tone(
    frequencies: Sequence[float], seconds: float, rate: int, *, level: float = -12.0
) -> Samples:
    """Return a sum of sines, each with a level of ``level`` dBFS (RMS).

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
    """Return the two tones of a DTMF digit (ITU-T Q.23), each with a level of ``level`` dBFS.

    Raises:
        ValueError: ``key`` is not one of ``0123456789*#ABCD``.
    """
    return tone(_frequencies(key), seconds, rate, level=level)


def digit_samples(key: str, start: int, count: int, rate: int) -> Samples:
    """Return a part of a digit as a telephone sends it, from its sample ``start`` on.

    The row's tone has -9 dBm0, the column's 2 dB more, because lines attenuate high tones more
    (ETSI ES 201 235-2 section 4.2).

    Raises:
        ValueError: ``key`` is not one of ``0123456789*#ABCD``.
    """
    row, column = _frequencies(key)
    time = np.arange(start, start + count) / rate
    sound = _ROW_PEAK * np.sin(2 * np.pi * row * time)
    sound += _COLUMN_PEAK * np.sin(2 * np.pi * column * time)
    return np.rint(sound).astype(np.int16)


def _frequencies(key: str) -> tuple[int, int]:
    for row, keys in zip(ROWS, KEYPAD, strict=True):
        if len(key) == 1 and key.upper() in keys:
            return row, COLUMNS[keys.index(key.upper())]
    raise ValueError(f"{key!r} is not a DTMF digit")
