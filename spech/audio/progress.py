"""Call progress tones, as the networks of each country send them.

The table is ``countries.json``, after ITU-T E.180 Supplement 2; pages read the same table, as
``/tones.json``. A tone is a sequence of steps that repeats: ``425/480 0/480`` is 425 Hz for 480 ms
and 480 ms of silence, ``440+480`` is both frequencies at once, and ``400x25`` is 400 Hz, modulated
at 25 Hz.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from spech.codecs.base import Samples

#: Tones of every country: the far end rings, the far end is busy, the network is congested, and
#: another call arrives.
ToneName = Literal["ringback", "busy", "congestion", "waiting"]
TONES: Final[tuple[ToneName, ...]] = ("ringback", "busy", "congestion", "waiting")

#: The file itself, to be served to pages.
TABLE: Final = Path(__file__).with_name("countries.json")
#: -10 dBm0 (E.180 3.1) in dBFS, of the whole.
_LEVEL: Final = -16.0
#: Each step begins and ends softly, which makes no click.
_EDGE_SECONDS: Final = 0.004


@dataclass(frozen=True, slots=True)
class CadenceStep:
    """One sound, or silence, of a cadence.

    ``frequencies``, in Hz, sound together; ``swell`` is the frequency in Hz of their amplitude
    modulation, 0 for none.
    """

    frequencies: tuple[float, ...]
    swell: float
    seconds: float

    def sound(self, start: int, samples: int, rate: int) -> NDArray[np.float64]:
        """The samples from ``start`` on, from -1 to 1, counted from the beginning of the step."""
        if not self.frequencies:
            return np.zeros(samples)
        index = np.arange(start, start + samples)
        turns = 2 * np.pi * index / rate
        amplitude = np.sqrt(2 / len(self.frequencies)) * 10 ** (_LEVEL / 20)
        total = amplitude * sum(np.sin(each * turns) for each in self.frequencies)
        if self.swell:
            total = total * (1 - np.cos(self.swell * turns)) / 2
        edge = _EDGE_SECONDS * rate
        left = round(self.seconds * rate) - index
        return np.asarray(total * np.clip(np.minimum(index, left) / edge, 0, 1))


def countries() -> dict[str, str]:
    """Code (ISO 3166, lower case) and name of each country in the table."""
    return {code: entry["name"] for code, entry in _table().items() if code}


def cadence(name: str, country: str = "") -> tuple[CadenceStep, ...]:
    """The steps of a tone; those that ITU-T E.180 recommends if the country is not in the table.

    Args:
        name: one of :data:`TONES`.
        country: two letters, ``de``.

    Raises:
        ValueError: there is no tone of that name.
    """
    return tuple(_parse(step) for step in written(name, country).split())


def written(name: str, country: str = "") -> str:
    """The cadence as it is written in the table: ``425/480 0/480``.

    Raises:
        ValueError: there is no tone of that name.
    """
    if name not in TONES:
        raise ValueError(f"{name!r} is not one of {', '.join(TONES)}")
    table = _table()
    return table.get(country.lower(), table[""])[name]


class ProgressTone:
    """A tone that plays at any sampling rate.

    Args:
        name: one of :data:`TONES`.
        country: two letters, ``de``; by default the tone that E.180 recommends.
        seconds: how long it sounds; without limit by default.

    Raises:
        ValueError: there is no tone of that name.
    """

    def __init__(self, name: str, country: str = "", seconds: float | None = None) -> None:
        self._steps = cadence(name, country)
        self._left = float("inf") if seconds is None else seconds
        self._step = 0
        self._position = 0.0

    def read(self, samples: int, rate: int) -> Samples:
        """Return the next ``samples`` samples at ``rate`` Hz; fewer only at the end."""
        parts: list[NDArray[np.float64]] = []
        wanted = round(min(samples, self._left * rate))
        self._left -= wanted / rate
        while wanted:
            step = self._steps[self._step]
            start = round(self._position * rate)
            taken = min(wanted, round(step.seconds * rate) - start)
            parts.append(step.sound(start, taken, rate))
            wanted -= taken
            self._position += taken / rate
            if round((step.seconds - self._position) * rate) <= 0:
                self._step = (self._step + 1) % len(self._steps)
                self._position = 0.0
        if not parts:
            return np.zeros(0, np.int16)
        return np.asarray(np.rint(np.concatenate(parts) * 32768), np.int16)

    def close(self) -> None:
        """End the tone; may be called again."""
        self._left = 0.0


@cache
def _table() -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = json.loads(TABLE.read_text())
    return table


def _parse(step: str) -> CadenceStep:
    sound, milliseconds = step.split("/")
    frequencies, _, swell = sound.partition("x")
    heard = tuple(float(each) for each in frequencies.split("+") if each != "0")
    return CadenceStep(heard, float(swell or 0), int(milliseconds) / 1000)
