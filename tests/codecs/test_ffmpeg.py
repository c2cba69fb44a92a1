"""Our payloads in FFmpeg's decoders, and those of FFmpeg's encoders in ours.

``test_ilbc`` has iLBC, which FFmpeg reads from files. Of GSM, G.729, iLBC and Speex the FFmpeg in
PyAV's wheel has decoders only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext

from spech import codecs
from spech.codecs import Codec, Samples
from spech.testing.speech import intelligibility

Speech = Callable[[int], Samples]
Carry = Callable[..., Samples]

DECODERS = {
    "PCMU": ("pcm_mulaw", 8000),
    "PCMA": ("pcm_alaw", 8000),
    "L16/44100": ("pcm_s16be", 44100),
    "G722": ("g722", 16000),
    "opus": ("opus", 48000),
    "G729": ("g729", 8000),
    "GSM": ("gsm", 8000),
    "speex/8000": ("speex", 8000),
    "speex/16000": ("speex", 16000),
    "speex/32000": ("speex", 32000),
}
ENCODERS = {
    "PCMU": ("pcm_mulaw", 8000),
    "PCMA": ("pcm_alaw", 8000),
    "L16/44100": ("pcm_s16be", 44100),
    "G722": ("g722", 16000),
    "opus": ("libopus", 48000),
}


def context(name: str, rate: int, mode: str) -> AudioCodecContext:
    made = AudioCodecContext.create(name, mode)
    made.sample_rate = rate
    made.layout = "mono"
    made.format = "s16"
    return made


def need(name: str) -> Codec:
    info = next(info for info in codecs.describe() if info.name == name)
    if not info.available:
        pytest.skip(f"{info.package} is not installed")
    return codecs.create(name)


def pcm(frames: Iterable[av.AudioFrame]) -> Samples:
    parts = [frame.to_ndarray().reshape(-1) for frame in frames]
    sound = np.concatenate(parts) if parts else np.zeros(0)
    if sound.dtype.kind == "f":
        sound = np.clip(sound * 32768, -32768, 32767)
    return sound.astype(np.int16)


@pytest.mark.parametrize("name", DECODERS)
def test_ffmpeg_decodes_our_payloads(name: str, speech: Speech, carry: Carry) -> None:
    """Its output equals that of our decoder."""
    codec = need(name)
    decoder = context(*DECODERS[name], "r")
    said = speech(codec.rate)
    size = codec.packet_samples(20)
    frames = [
        frame
        for at in range(0, len(said) - size + 1, size)
        for frame in decoder.decode(av.Packet(codec.encode(said[at : at + size])))
    ]
    theirs = pcm(frames)
    ours = carry(codecs.create(name), said)
    score = intelligibility(said, theirs, codec.rate)
    assert score == pytest.approx(intelligibility(said, ours, codec.rate), abs=0.01)


@pytest.mark.parametrize("name", ENCODERS)
def test_we_decode_ffmpegs_payloads(name: str, speech: Speech) -> None:
    codec = need(name)
    said = speech(codec.rate)
    encoder = context(*ENCODERS[name], "w")
    if name == "opus":
        encoder.bit_rate = 32000
    size = codec.packet_samples(20)
    packets = []
    for number, at in enumerate(range(0, len(said) - size + 1, size)):
        frame = av.AudioFrame.from_ndarray(said[at : at + size].reshape(1, -1), "s16", "mono")
        frame.sample_rate = codec.rate
        frame.pts = number * size
        packets += encoder.encode(frame)
    heard = np.concatenate([codec.decode(bytes(packet)) for packet in packets])
    assert intelligibility(said, heard, codec.rate) > 0.95
