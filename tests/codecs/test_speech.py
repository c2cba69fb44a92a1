"""The quality of speech after each codec.

The codecs that keep the waveform are judged by their signal-to-noise ratio, the others by STOI.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from spech import codecs
from spech.codecs import Codec, Samples
from spech.testing.speech import intelligibility, signal_to_noise

Speech = Callable[[int], Samples]
Carry = Callable[..., Samples]

#: The minimum signal-to-noise ratio in dB. Logarithmic PCM has 37 dB over its whole range (G.711,
#: figure 1 of G.712); sub-band ADPCM has 6 bits for the lower band, 2 for the upper.
WAVEFORM = {"PCMU": 35, "PCMA": 35, "G722": 20, "L16/8000": 90, "L16/44100": 90}
#: The minimum STOI: above 0.9 does not impair the intelligibility of clean speech.
VOCODERS = {
    "opus": 0.95,
    "G729": 0.9,
    "GSM": 0.9,
    "iLBC/20": 0.95,
    "iLBC/30": 0.95,
    "speex/8000": 0.95,
    "speex/16000": 0.95,
    "speex/32000": 0.95,
}


def need(name: str) -> Codec:
    info = next(info for info in codecs.describe() if info.name == name)
    if not info.available:
        pytest.skip(f"{info.package} is not installed")
    return codecs.create(name)


@pytest.mark.parametrize(("name", "decibels"), WAVEFORM.items())
def test_waveform_codecs_keep_their_signal_to_noise_ratio(
    name: str, decibels: float, speech: Speech, carry: Carry
) -> None:
    codec = need(name)
    said = speech(codec.rate)
    assert signal_to_noise(said, carry(codec, said), codec.rate) > decibels


@pytest.mark.parametrize(("name", "least"), VOCODERS.items())
def test_decoded_speech_is_intelligible(
    name: str, least: float, speech: Speech, carry: Carry
) -> None:
    codec = need(name)
    said = speech(codec.rate)
    assert intelligibility(said, carry(codec, said), codec.rate) > least


@pytest.mark.parametrize("name", codecs.names())
def test_speech_is_intelligible_at_5_percent_loss(name: str, speech: Speech, carry: Carry) -> None:
    """Concealment is better than silence in the gaps."""
    codec = codecs.create(name)
    said = speech(codec.rate)
    scores = []
    for concealed in (False, True):
        codec = codecs.create(name)
        heard = carry(codec, said, lost=lambda number: number % 20 == 7, concealed=concealed)
        scores.append(intelligibility(said, heard, codec.rate))
    assert scores == sorted(scores)
    assert scores[1] > 0.85


@pytest.mark.parametrize("name", codecs.names())
@pytest.mark.parametrize("ptime", [5, 10, 20, 30, 40, 60, 100, 120])
def test_other_packet_lengths_are_decoded(name: str, ptime: int, carry: Carry) -> None:
    codec = codecs.create(name)
    size = codec.packet_samples(ptime)
    # Whole frames of at most 20 ms, except in one mode of iLBC.
    longest = 0.03 if name == "iLBC/30" else 0.02
    assert abs(size / codec.rate - ptime / 1000) < longest
    sound = np.zeros(size * 3, np.int16)
    assert abs(len(carry(codec, sound, ptime)) - len(sound)) <= 1


@pytest.mark.parametrize("name", codecs.names())
def test_a_packet_fits_into_one_of_ethernet(name: str) -> None:
    """With the headers of IPv6, UDP and RTP, and what encryption adds."""
    codec = codecs.create(name)
    samples = codec.packet_samples(codec.ptime_ms)
    assert samples == codec.rate * codec.ptime_ms // 1000
    rng = np.random.default_rng(1)
    sound = rng.integers(-20_000, 20_000, samples).astype(np.int16)
    assert len(codec.encode(sound)) + 40 + 8 + 12 + 16 <= 1500


@pytest.mark.parametrize("name", codecs.names())
def test_no_packet_is_longer_than_200_ms(name: str) -> None:
    codec = codecs.create(name)
    assert codec.packet_samples(100000) <= codec.rate // 5


@pytest.mark.parametrize("name", [name for name in VOCODERS if name in codecs.names()])
def test_a_partial_frame_is_refused(name: str) -> None:
    codec = codecs.create(name)
    for samples in (0, 1, codec.packet_samples(20) - 1, codec.rate):
        with pytest.raises(ValueError, match=codec.name):
            codec.encode(np.zeros(samples, np.int16))
