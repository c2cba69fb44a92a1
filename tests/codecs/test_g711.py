"""G.711 against the values of ITU-T G.711 and against FFmpeg's decoder."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext

from spech.codecs import Codec, Samples, create

ALL_CODES = bytes(range(256))
ALL_SAMPLES = np.arange(-32768, 32768, dtype=np.int32).astype(np.int16)
FFMPEG = {"PCMU": "pcm_mulaw", "PCMA": "pcm_alaw"}


def ffmpeg_decode(name: str, payload: bytes) -> Samples:
    context: Any = AudioCodecContext.create(FFMPEG[name], "r")
    context.sample_rate = 8000
    context.layout = "mono"
    context.format = "s16"
    frames = context.decode(av.Packet(payload))
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])


@pytest.fixture(params=["PCMU", "PCMA"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return create(request.param)


@pytest.mark.parametrize(
    ("name", "code", "value"),
    [
        # G.711 tables 2a and 2b: the quantized values, scaled to 16 bits.
        ("PCMU", 0xFF, 0),
        ("PCMU", 0x7F, 0),
        ("PCMU", 0xFE, 8),
        ("PCMU", 0x7E, -8),
        ("PCMU", 0xEF, 132),
        ("PCMU", 0x8F, 16764),
        ("PCMU", 0x80, 32124),
        ("PCMU", 0x00, -32124),
        ("PCMA", 0xD5, 8),
        ("PCMA", 0x55, -8),
        ("PCMA", 0xC5, 264),
        ("PCMA", 0xAA, 32256),
        ("PCMA", 0x2A, -32256),
    ],
)
def test_decoded_values_match_the_recommendation(name: str, code: int, value: int) -> None:
    assert create(name).decode(bytes([code])).tolist() == [value]


def test_every_code_decodes_as_in_ffmpeg(codec: Codec) -> None:
    assert np.array_equal(codec.decode(ALL_CODES), ffmpeg_decode(codec.name, ALL_CODES))


def test_every_code_survives_decoding_and_encoding(codec: Codec) -> None:
    again = codec.encode(codec.decode(ALL_CODES))
    differing = [code for code in range(256) if again[code] != code]
    # µ-law has two zeros, and the negative one is never sent.
    assert differing == ([0x7F] if codec.name == "PCMU" else [])


def test_quantization_error_is_at_most_half_a_step(codec: Codec) -> None:
    heard = codec.decode(codec.encode(ALL_SAMPLES)).astype(np.int32)
    wide = ALL_SAMPLES.astype(np.int32)
    # Sixteen steps a segment, and each segment begins where the magnitude has doubled. The
    # recommendation quantizes 14 and 13 bits, which adds what the lowest bits of 16 hold.
    half_a_step = (np.abs(wide) + 132) // 32 + (4 if codec.name == "PCMU" else 16)
    assert (np.abs(heard - wide) <= half_a_step).all()


def test_encoding_is_monotonic(codec: Codec) -> None:
    heard = codec.decode(codec.encode(ALL_SAMPLES)).astype(np.int32)
    assert (np.diff(heard) >= 0).all()


def test_payload_types_are_static() -> None:
    assert (create("PCMU").payload_type, create("PCMA").payload_type) == (0, 8)


def test_payloads_of_any_length_decode(codec: Codec) -> None:
    assert len(codec.decode(b"")) == 0
    assert len(codec.decode(bytes(5000))) == 5000
