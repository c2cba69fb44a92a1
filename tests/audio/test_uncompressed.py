"""Uncompressed sound, which is read without FFmpeg."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spech.audio.level import dbfs
from spech.audio.player import Player
from spech.audio.tones import tone
from spech.codecs import Samples, create
from spech.errors import MediaError

from .test_files import read_all

SOUND = tone((1000,), 1, 8000)


def wav(tag: int, bits: int, data: bytes, *, rate: int = 8000, channels: int = 1) -> bytes:
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(data)) + data
    chunks += b"LIST" + struct.pack("<I", 4) + b"INFO"
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def in_24_bits(sound: Samples) -> bytes:
    return b"".join((int(each) << 8).to_bytes(3, "little", signed=True) for each in sound)


@pytest.mark.parametrize(
    ("tag", "bits", "data", "error"),
    [
        (1, 8, ((SOUND.astype(int) >> 8) + 128).astype(np.uint8).tobytes(), 256),
        (1, 16, SOUND.tobytes(), 0),
        (1, 24, in_24_bits(SOUND), 0),
        (1, 32, (SOUND.astype(np.int32) << 16).tobytes(), 0),
        (3, 32, (SOUND / 32768).astype("<f4").tobytes(), 0),
        (3, 64, (SOUND / 32768).astype("<f8").tobytes(), 0),
        (6, 8, create("PCMA").encode(SOUND), 256),
        (7, 8, create("PCMU").encode(SOUND), 256),
    ],
)
def test_each_encoding_of_wav_is_read(
    tmp_path: Path, tag: int, bits: int, data: bytes, error: int
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(tag, bits, data))
    heard = read_all(Player(path), 8000)
    assert len(heard) == len(SOUND)
    assert np.abs(heard.astype(int) - SOUND).max() <= error


def test_numbers_beyond_the_range_are_clipped(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(3, 32, struct.pack("<5f", 2, -2, float("nan"), float("inf"), 0.5)))
    assert read_all(Player(path), 8000).tolist() == [32767, -32768, 0, 32767, 16384]


def test_channels_are_mixed_and_half_a_frame_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    pairs = np.column_stack((SOUND, -SOUND // 2)).reshape(-1)
    path.write_bytes(wav(1, 16, pairs.tobytes() + b"\1\2\3", channels=2)[:-12])
    heard = read_all(Player(path), 8000)
    assert len(heard) == len(SOUND)
    assert dbfs(heard) == pytest.approx(dbfs(SOUND) - 12, abs=0.1)


@pytest.mark.parametrize("size", [1, 11, 12, 19, 20, 30, 43, 44, 45])
def test_a_file_that_is_cut_in_its_header_is_an_error_or_silent(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(1, 16, SOUND.tobytes())[:size])
    try:
        player = Player(path)
    except MediaError:
        return
    assert not len(player.read(160, 8000))


@pytest.mark.parametrize(("rate", "channels"), [(0, 1), (999, 1), (8000, 0), (8000, 65)])
def test_an_impossible_format_is_refused(tmp_path: Path, rate: int, channels: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(1, 16, bytes(60_000), rate=rate, channels=channels))
    with pytest.raises(MediaError, match=f"{channels} channels at {rate} Hz"):
        Player(path)


@pytest.mark.parametrize(("rate", "wanted"), [(8000, 48000), (44100, 8000), (16000, 8000)])
def test_the_length_and_the_tone_survive_another_rate(
    tmp_path: Path, rate: int, wanted: int
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(1, 16, tone((1000,), 1, rate).tobytes(), rate=rate))
    heard = read_all(Player(path), wanted)
    assert len(heard) == pytest.approx(wanted, abs=wanted // 200)
    power = np.abs(np.fft.rfft(heard * np.hanning(len(heard)))) ** 2
    tip = int(np.argmax(power))
    assert tip * wanted / len(heard) == pytest.approx(1000, abs=2)
    assert power[tip - 3 : tip + 4].sum() / power.sum() > 0.999


def test_wav_needs_no_ffmpeg(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(1, 16, SOUND.tobytes()))
    program = f"""
import sys
from spech.audio.player import Player
from spech.audio.recorder import Recording
sound = Player({str(path)!r}).read(8000, 8000)
with Recording({str(tmp_path / "b.wav")!r}, 8000) as recording:
    recording.write(sound)
print(len(sound), "av" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("8000 False\n", "")
