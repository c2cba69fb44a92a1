"""Call progress tones: measured pitches and cadences."""

from __future__ import annotations

import numpy as np
import pytest

from spech.audio.level import dbfs
from spech.audio.progress import TONES, ProgressTone, cadence, countries
from spech.codecs import Samples


def peaks(sound: Samples, rate: int, count: int) -> list[float]:
    """The strongest frequencies, in Hz."""
    padded = sound[: rate // 4] * np.hanning(len(sound[: rate // 4]))
    spectrum = np.abs(np.fft.rfft(padded, rate * 2))
    found = []
    for _ in range(count):
        best = int(np.argmax(spectrum))
        found.append(best / 2)
        spectrum[max(0, best - 18) : best + 18] = 0
    return sorted(found)


def steps(sound: Samples, rate: int) -> list[tuple[bool, float]]:
    """Alternating lengths of sound and silence, in seconds."""
    size = rate // 200
    frames = sound[: len(sound) // size * size].reshape(-1, size)
    loud = np.abs(frames).max(axis=1) > 300
    borders = np.flatnonzero(np.diff(loud)) + 1
    parts = np.split(loud, borders)
    return [(bool(part[0]), len(part) * 0.005) for part in parts]


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize(
    ("country", "name", "frequencies", "on_off"),
    [
        ("de", "busy", [425], [0.48, 0.48]),
        ("us", "ringback", [440, 480], [2, 4]),
        ("us", "busy", [480, 620], [0.5, 0.5]),
        ("gb", "ringback", [400, 450], [0.4, 0.2, 0.4, 2]),
        ("gb", "congestion", [400], [0.4, 0.35, 0.225, 0.525]),
        ("GB", "waiting", [400], [0.1, 4]),
        ("xx", "congestion", [425], [0.25, 0.25]),
    ],
)
def test_tones_have_the_pitch_and_cadence_of_their_country(
    country: str, name: str, frequencies: list[float], on_off: list[float], rate: int
) -> None:
    player = ProgressTone(name, country)
    length = 2 * sum(on_off)
    sound = np.concatenate([player.read(rate // 50, rate) for _ in range(round(length * 50) + 2)])
    assert peaks(sound[rate // 100 :], rate, len(frequencies)) == pytest.approx(
        frequencies, abs=3 if on_off[0] > 0.2 else 8
    )
    found = steps(sound, rate)[: 2 * len(on_off) - 1]
    assert [each[0] for each in found] == ([True, False] * len(on_off))[: len(found)]
    expected = (on_off * 2)[: len(found)]
    assert [each[1] for each in found] == pytest.approx(expected, abs=0.011)
    assert dbfs(sound[rate // 50 : rate // 12]) == pytest.approx(-16, abs=1)


def test_a_modulated_tone_varies_in_amplitude() -> None:
    sound = ProgressTone("ringback", "in").read(3200, 8000)
    assert peaks(sound, 8000, 3) == pytest.approx([375, 400, 425], abs=3)


def test_steps_begin_and_end_without_clicks() -> None:
    sound = ProgressTone("busy", "us").read(16000, 8000).astype(float)
    bend = np.abs(np.diff(sound, 2)).max()
    assert bend < 1.3 * np.abs(sound).max() * (2 * np.pi * 620 / 8000) ** 2


def test_a_tone_ends_after_its_duration() -> None:
    tone = ProgressTone("busy", "de", seconds=1.5)
    lengths = [len(tone.read(160, 8000)) for _ in range(80)]
    assert sum(lengths) == 12000
    assert lengths[:75] == [160] * 75
    endless = ProgressTone("busy")
    assert len(endless.read(80000, 8000)) == 80000
    endless.close()
    assert len(endless.read(160, 8000)) == 0


def test_the_rate_may_change_within_a_step() -> None:
    tone = ProgressTone("busy", "fr")
    first, second = tone.read(2000, 8000), tone.read(8000, 16000)
    assert steps(second, 16000)[0] == (True, pytest.approx(0.25, abs=0.006))
    assert np.abs(first[-100:]).max() > 5000


def test_every_country_has_every_tone() -> None:
    assert len(countries()) >= 40
    for code in (*countries(), ""):
        for name in TONES:
            parsed = cadence(name, code)
            assert parsed[0].frequencies
            for step in parsed:
                assert 0.02 <= step.seconds <= 15
                assert all(300 <= each <= 1500 for each in step.frequencies)
    with pytest.raises(ValueError, match="not one of ringback"):
        cadence("melody")
