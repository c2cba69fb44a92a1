"""Comfort noise (RFC 3389): our encoder and decoder, and compatibility with FFmpeg."""

from __future__ import annotations

import itertools

import av
import numpy as np
import pytest

from spech.audio.level import dbfs
from spech.codecs.base import Samples
from spech.codecs.comfort import NoiseAnalyzer, NoiseGenerator

SIZES = [(8000, 8000), (16000, 16000), (22050, 22050), (44100, 44100), (48000, 48000)]


def noise(rate: int, seconds: float, pole: float, level: float) -> Samples:
    """White noise through a one-pole filter: low-pass above 0, high-pass below."""
    white = np.random.default_rng(3389).normal(0, 1, round(rate * seconds) + 200)
    kernel = pole ** np.arange(200)
    coloured = np.convolve(white, kernel)[200 : len(white)]
    coloured *= 32768 * 10 ** (level / 20) / np.sqrt(np.mean(coloured**2))
    return np.asarray(np.rint(coloured), np.int16)


def describe(sound: Samples, rate: int, clock_rate: int) -> bytes:
    analyzer = NoiseAnalyzer(rate, clock_rate)
    for start in range(0, len(sound) - rate // 50 + 1, rate // 50):
        analyzer.learn(sound[start : start + rate // 50])
    return analyzer.payload()


def make(payload: bytes, rate: int, clock_rate: int, seconds: float = 4) -> Samples:
    generator = NoiseGenerator(rate, clock_rate)
    generator.describe(payload)
    return generator.generate(round(seconds * rate))


def tilt(sound: Samples) -> float:
    """The correlation of neighboring samples: near 1 if low frequencies dominate."""
    values = sound.astype(np.float64)
    return float(values[1:] @ values[:-1] / (values @ values))


def spectrum(sound: Samples) -> np.ndarray:
    """Power in eight bands of equal width, in dB."""
    size = len(sound) // 256 * 256
    frames = sound[:size].reshape(-1, 256).astype(np.float64) * np.hanning(256)
    power = (np.abs(np.fft.rfft(frames, axis=1)) ** 2).mean(axis=0)[:128]
    return 10 * np.log10(power.reshape(8, 16).mean(axis=1))


@pytest.mark.parametrize(("rate", "clock_rate"), SIZES)
@pytest.mark.parametrize("pole", [0.0, 0.8, -0.6])
@pytest.mark.parametrize("level", [-30, -50, -65])
def test_comfort_noise_has_the_level_and_spectrum_of_the_room(
    rate: int, clock_rate: int, pole: float, level: float
) -> None:
    room = noise(rate, 3, pole, level)
    payload = describe(room, rate, clock_rate)
    assert len(payload) == 11
    assert payload[0] == pytest.approx(-level, abs=2)
    heard = make(payload, rate, clock_rate)
    assert dbfs(heard) == pytest.approx(level, abs=2)
    assert tilt(heard) == pytest.approx(tilt(room), abs=0.08)
    assert spectrum(heard) == pytest.approx(spectrum(room), abs=3)


def test_a_clock_below_the_sampling_rate_describes_the_lower_half() -> None:
    """G.722: 16 kHz of sound on a clock of 8 kHz."""
    room = noise(16000, 3, 0.8, -40)
    heard = make(describe(room, 16000, 8000), 16000, 8000)
    assert spectrum(heard)[:4] == pytest.approx(spectrum(room)[:4], abs=3)
    assert spectrum(heard)[5:].max() < spectrum(room)[5:].max() - 10
    narrow = make(describe(room, 16000, 8000), 8000, 8000)
    assert dbfs(narrow) == pytest.approx(dbfs(heard), abs=1)


def test_comfort_noise_of_silence_is_silent() -> None:
    assert describe(np.zeros(1600, np.int16), 8000, 8000) == b"\x7f"
    assert NoiseAnalyzer(8000, 8000).payload() == b"\x7f"
    assert not make(b"\x7f", 8000, 8000).any()
    assert not NoiseGenerator(8000, 8000).generate(480).any()


@pytest.mark.parametrize("payload", [b"", b"\xff" * 200, b"\x00" * 40, bytes([30] + [254] * 31)])
def test_any_payload_makes_noise(payload: bytes) -> None:
    heard = make(payload, 8000, 8000)
    assert len(heard) == 32000
    # The level is the described one, however odd the spectrum.
    if payload[:1] == b"\x1e":
        assert dbfs(heard) == pytest.approx(-30, abs=6)


def test_level_changes_are_smooth() -> None:
    generator = NoiseGenerator(8000, 8000)
    generator.describe(b"\x32")
    first = generator.generate(8000)
    generator.describe(b"\x28")
    heard = [dbfs(generator.generate(160)) for _ in range(60)]
    assert dbfs(first) == pytest.approx(-50, abs=1)
    assert heard[0] < -45
    assert np.mean(heard[30:]) == pytest.approx(-40, abs=1)
    assert max(abs(b - a) for a, b in itertools.pairwise(heard)) < 4


def test_any_number_of_samples_can_be_generated() -> None:
    one, other = (NoiseGenerator(8000, 8000) for _ in range(2))
    for generator in (one, other):
        generator.describe(b"\x28\x40")
    pieces = [one.generate(size) for size in (1, 159, 160, 7, 500, 0, 333)]
    assert np.array_equal(np.concatenate(pieces), other.generate(1160))


@pytest.mark.parametrize("pole", [0.8, 0.0, -0.6])
def test_ffmpeg_renders_our_description_equally(pole: float) -> None:
    room = noise(8000, 3, pole, -35)
    decoder = av.CodecContext.create("comfortnoise", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate = 8000
    decoder.layout = "mono"
    heard = []
    for _ in range(40):
        for frame in decoder.decode(av.Packet(describe(room, 8000, 8000))):
            heard.append(frame.to_ndarray()[0])
    sound = np.concatenate(heard).astype(np.int16)[4000:]
    assert tilt(sound) == pytest.approx(tilt(room), abs=0.1)


@pytest.mark.parametrize("pole", [0.8, 0.0, -0.6])
def test_we_render_ffmpegs_description_equally(pole: float) -> None:
    room = noise(8000, 3, pole, -35)
    encoder = av.CodecContext.create("comfortnoise", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate = 8000
    encoder.format = "s16"  # type: ignore[assignment]
    encoder.layout = "mono"
    encoder.open()
    generator = NoiseGenerator(8000, 8000)
    heard = []
    for start in range(0, len(room) - encoder.frame_size + 1, encoder.frame_size):
        part = room[None, start : start + encoder.frame_size]
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
        frame.sample_rate = 8000
        for packet in encoder.encode(frame):
            generator.describe(bytes(packet))
            heard.append(generator.generate(encoder.frame_size))
    sound = np.concatenate(heard)[4000:]
    assert tilt(sound) == pytest.approx(tilt(room), abs=0.1)
    assert dbfs(sound) == pytest.approx(-35, abs=4)
