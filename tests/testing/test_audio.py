"""The assertions about sound measure correctly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spech.audio.tones import digit
from spech.testing import audio


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("frequency", [100.0, 440.0, 1004.0, 3333.3])
@pytest.mark.parametrize("level", [-3.1, -20.0, -50.0])
def test_frequency_and_level_of_a_sine_are_measured(
    rate: int, frequency: float, level: float
) -> None:
    found = audio.tone(audio.sine(frequency, rate, 0.5, level=level), rate)
    assert found.frequency == pytest.approx(frequency, abs=0.1)
    assert found.level == pytest.approx(level, abs=0.1)
    assert found.purity > 0.99


def test_bytes_and_arrays_are_measured_equally() -> None:
    pcm = audio.sine(440, 8000, 0.2)
    assert audio.tone(pcm.tobytes(), 8000) == audio.tone(pcm, 8000)


def test_the_stronger_of_two_tones_is_found_and_is_not_pure() -> None:
    both = audio.sine(440, 8000, 0.5, level=-20) + audio.sine(1000, 8000, 0.5, level=-26)
    found = audio.tone(both, 8000)
    assert found.frequency == pytest.approx(440, abs=0.1)
    assert found.level == pytest.approx(-20, abs=0.1)
    assert found.purity == pytest.approx(0.8, abs=0.01)
    with pytest.raises(AssertionError, match="less than"):
        audio.assert_tone(both, 8000, 440)


def test_silence_has_no_tone() -> None:
    silence = np.zeros(8000, dtype=np.int16)
    assert audio.tone(silence, 8000) == audio.Tone(0.0, audio.DIGITAL_SILENCE, 0.0)
    assert audio.assert_silence(silence) == audio.DIGITAL_SILENCE
    with pytest.raises(AssertionError, match="no samples"):
        audio.assert_silence(b"")


def test_noise_has_no_pure_tone() -> None:
    noise = np.random.default_rng(1).integers(-3000, 3000, 8000).astype(np.int16)
    assert audio.tone(noise, 8000).purity < 0.1
    with pytest.raises(AssertionError):
        audio.assert_silence(noise)


def test_wrong_frequency_and_level_are_reported() -> None:
    pcm = audio.sine(440, 8000, 0.5, level=-20)
    audio.assert_tone(pcm, 8000, 442, level=-21)
    with pytest.raises(AssertionError, match=r"wanted a tone of 450 Hz"):
        audio.assert_tone(pcm, 8000, 450)
    with pytest.raises(AssertionError, match=r"wanted at -10 dBFS"):
        audio.assert_tone(pcm, 8000, 440, level=-10)
    audio.assert_level(pcm, -20)
    with pytest.raises(AssertionError, match=r"wanted -10 dBFS"):
        audio.assert_level(pcm, -10)


def test_silence_around_the_sound_is_trimmed() -> None:
    silence = np.zeros(4000, dtype=np.int16)
    pcm = audio.sine(440, 8000, 0.5)
    whole = np.concatenate([silence, pcm, silence])
    assert len(audio.sounding(whole, 8000)) == len(pcm)
    assert len(audio.sounding(silence, 8000)) == 0


def test_digits_are_detected_between_silence() -> None:
    silence = np.zeros(800, dtype=np.int16)
    keys = [np.concatenate([digit(key, 0.1, 8000), silence]) for key in "1234*0#"]
    assert audio.digits(np.concatenate(keys), 8000) == "1234*0#"
    assert audio.digits(audio.sine(697, 8000, 1), 8000) == ""


def test_wav_files_are_written_and_read_back(tmp_path: Path) -> None:
    pcm = audio.sine(440, 16000, 0.1)
    audio.write_wav(tmp_path / "tone.wav", pcm, 16000)
    back, rate = audio.read_wav(tmp_path / "tone.wav")
    assert rate == 16000
    assert back.tobytes() == pcm.tobytes()
