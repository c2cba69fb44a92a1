"""The registry, L16, concealment and resampling."""

from __future__ import annotations

import numpy as np
import pytest

from spech import codecs
from spech.audio.level import dbfs
from spech.audio.tones import tone
from spech.codecs.resample import Resampler
from spech.errors import CodecUnavailable


def test_every_registered_name_creates_its_codec() -> None:
    for name in codecs.names():
        assert codecs.create(name).name == name
        assert codecs.create(name.lower()).name == name
    assert codecs.names()[:2] == codecs.DEFAULT


def test_l16_without_a_rate_is_wideband() -> None:
    assert codecs.create("L16").name == "L16/16000"


@pytest.mark.parametrize("name", ["", "SILK", "L16/12345", "PCMU/16000"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(CodecUnavailable):
        codecs.create(name)


def test_the_list_describes_the_codecs_correctly() -> None:
    for info in codecs.describe():
        if not info.available:
            with pytest.raises(CodecUnavailable, match=str(info.package)):
                codecs.create(info.name)
            continue
        codec = codecs.create(info.name)
        assert info.rate == codec.rate
        sound = tone((440, 1100), 1, codec.rate)
        size = codec.packet_samples(20)
        starts = range(0, len(sound) - size + 1, size)
        payloads = [codec.encode(sound[at : at + size]) for at in starts]
        # For variable bitrates, a tone is not the average.
        seconds = len(starts) * size / codec.rate
        assert sum(map(len, payloads)) * 8 == pytest.approx(info.bitrate * seconds, rel=0.2)


def test_l16_is_in_network_byte_order() -> None:
    codec = codecs.create("L16/8000")
    assert codec.encode(np.array([1, -2, 32767], np.int16)) == b"\x00\x01\xff\xfe\x7f\xff"
    assert codec.decode(b"\x00\x01\xff\xfe\x7f").tolist() == [1, -2]
    assert codecs.create("L16/44100").payload_type == 11
    assert codec.payload_type is None


@pytest.mark.parametrize("name", ["PCMU", "L16/16000", "L16/48000"])
def test_concealment_continues_a_tone_and_fades(name: str) -> None:
    codec = codecs.create(name)
    samples = codec.rate // 50
    sound = tone((440,), 0.1, codec.rate)
    for start in range(0, len(sound), samples):
        codec.decode(codec.encode(sound[start : start + samples]))
    expected = tone((440,), 0.2, codec.rate)[len(sound) :]
    first = codec.conceal(samples)
    assert first.dtype == np.int16
    likeness = np.corrcoef(first, expected[:samples])[0, 1]
    assert likeness > 0.95
    levels = [dbfs(first)] + [dbfs(codec.conceal(samples)) for _ in range(5)]
    assert levels[0] == pytest.approx(-12, abs=1)
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] == -96


def test_concealment_without_history_is_silence() -> None:
    codec = codecs.create("PCMU")
    assert not codec.conceal(160).any()
    codec.decode(b"\x80")
    assert len(codec.conceal(160)) == 160


@pytest.mark.parametrize(
    ("from_rate", "to_rate"), [(8000, 48000), (48000, 8000), (16000, 8000), (44100, 16000)]
)
def test_resampling_keeps_pitch_and_duration(from_rate: int, to_rate: int) -> None:
    resampler = Resampler(from_rate, to_rate)
    sound = tone((1000,), 2, from_rate)
    size = from_rate // 50
    parts = [resampler.process(sound[start : start + size]) for start in range(0, len(sound), size)]
    assert {len(part) for part in parts[5:]} == {to_rate // 50}
    heard = np.concatenate(parts)[to_rate // 2 :]
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    assert np.argmax(spectrum) * to_rate / len(heard) == pytest.approx(1000, abs=2)
    assert dbfs(heard) == pytest.approx(-12, abs=0.2)


def test_downsampling_does_not_alias() -> None:
    resampler = Resampler(48000, 8000)
    sound = tone((5500,), 1, 48000)
    parts = [resampler.process(sound[start : start + 960]) for start in range(0, len(sound), 960)]
    assert dbfs(np.concatenate(parts)[1000:]) < -70


def test_equal_rates_pass_through() -> None:
    sound = tone((440,), 0.02, 8000)
    assert Resampler(8000, 8000).process(sound) is sound
