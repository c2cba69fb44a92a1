"""iLBC: our encoder with both decoders, modes, and sounds that are not speech."""

from __future__ import annotations

import io
from collections.abc import Callable

import av
import numpy as np
import pytest

from spech import codecs
from spech.codecs import Samples
from spech.codecs.ilbc import filters
from spech.codecs.ilbc.bits import LAYOUTS, Fields
from spech.codecs.ilbc.tables import INPUT_FILTER, LSF_MEAN, OUTPUT_FILTER
from spech.errors import RemoteProtocolError
from spech.testing.speech import intelligibility, signal_to_noise

Speech = Callable[[int], Samples]

MODES = [20, 30]
TIME = np.arange(8000)
SOUNDS = {
    "silence": np.zeros(8000),
    "a whisper of noise": np.random.default_rng(1).integers(-1, 2, 8000),
    "noise at full scale": np.random.default_rng(2).integers(-32768, 32768, 8000),
    "a constant": np.full(8000, -32768),
    "a step": np.where(TIME < 4000, -32768, 32767),
    "clicks": np.where(TIME % 1000 == 500, 32767, 0),
    "a square wave": 32767 * np.sign(np.sin(TIME / 3)),
    "a clipped tone": np.clip(60000 * np.sin(TIME / 10), -32768, 32767),
    "half the sampling rate": 32767 * (-1.0) ** TIME,
    "a tone out of silence": np.where(TIME < 4000, 0, 16000 * np.sin(TIME / 2)),
}


def encode(mode: int, sound: Samples) -> list[bytes]:
    codec = codecs.create(f"iLBC/{mode}")
    size = codec.packet_samples(mode)
    assert size == mode * 8
    starts = range(0, len(sound) - size + 1, size)
    return [codec.encode(sound[at : at + size]) for at in starts]


def decode(payloads: list[bytes]) -> Samples:
    codec = codecs.create("iLBC/20")
    return np.concatenate([codec.decode(payload) for payload in payloads])


def ffmpeg(mode: int, payloads: list[bytes]) -> Samples:
    """These frames, decoded by FFmpeg from a file (RFC 3952 section 6 has the header)."""
    file = io.BytesIO(b"#!iLBC%d\n" % mode + b"".join(payloads))
    with av.open(file, format="ilbc") as container:
        return np.concatenate(
            [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
        )


def high_passed(sound: Samples) -> Samples:
    """Apply the codec's own filters, which are used before encoding and after decoding."""
    parts = sound[: len(sound) // 80 * 80].astype(np.float64).reshape(-1, 80)
    before, after = filters.HighPass(INPUT_FILTER), filters.HighPass(OUTPUT_FILTER)
    filtered = np.concatenate([after.process(before.process(part)) for part in parts])
    return np.asarray(np.rint(filtered), np.int16)


@pytest.mark.parametrize("mode", MODES)
def test_both_decoders_preserve_the_waveform(mode: int, speech: Speech) -> None:
    said = speech(8000)
    payloads = encode(mode, said)
    ours, theirs = decode(payloads), ffmpeg(mode, payloads)
    # FFmpeg starts with line spectral frequencies of zero instead of the mean.
    ours, theirs, said = (sound[1200:] for sound in (ours, theirs, said[: len(ours)]))
    # It computes with 16 bits, so the two differ by rounding.
    assert signal_to_noise(ours, theirs, 8000) > 35
    for heard in (ours, theirs):
        assert signal_to_noise(high_passed(said)[800 : len(heard)], heard[800:], 8000) > 12
        assert intelligibility(said, heard, 8000) > 0.95


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SOUNDS)
def test_non_speech_sounds_are_encoded_without_harm(mode: int, name: str) -> None:
    sound = SOUNDS[name].astype(np.int16)
    payloads = encode(mode, sound)
    ours, theirs = decode(payloads), ffmpeg(mode, payloads)
    # Nothing gets louder, except that the filters amplify a step or a click.
    level = float(np.sqrt(np.mean(sound.astype(np.float64) ** 2)))
    assert np.sqrt(np.mean(ours.astype(np.float64) ** 2)) < 1.1 * level + 2
    # The only difference is that FFmpeg clips within the filter and we after it.
    difference = ours[1600:].astype(np.float64) - theirs[1600:]
    assert np.sqrt(np.mean(difference**2)) < 0.05 * level + 2


def test_silence_stays_silent() -> None:
    for mode in MODES:
        assert np.abs(decode(encode(mode, np.zeros(8000, np.int16)))).max() <= 2


@pytest.mark.parametrize("mode", MODES)
def test_a_packet_may_hold_several_frames(mode: int, speech: Speech) -> None:
    codec = codecs.create(f"iLBC/{mode}")
    said = speech(8000)[: codec.packet_samples(2 * mode)]
    assert len(said) == 2 * mode * 8
    assert codec.encode(said) == b"".join(encode(mode, said))


@pytest.mark.parametrize(
    ("ours", "theirs", "both"),
    [
        ("iLBC/20", "mode=20", 20),
        ("iLBC/20", "mode=30", 30),
        ("iLBC/20", None, 30),
        ("iLBC/20", "mode=25; other", 30),
        ("iLBC/30", "mode=20", 30),
        ("iLBC/30", "mode=30", 30),
        ("iLBC/30", None, 30),
    ],
)
def test_the_lower_bitrate_is_negotiated(
    ours: str, theirs: str | None, both: int, speech: Speech
) -> None:
    """The packet length follows (RFC 3952 section 5)."""
    codec = codecs.create(ours)
    assert codec.fmtp == f"mode={ours[-2:]}"
    assert codec.answer(theirs) == f"mode={both}"
    codec.configure(theirs)
    size = codec.packet_samples(20)
    assert size == both * 8
    assert len(codec.encode(speech(8000)[:size])) == LAYOUTS[both].bytes
    codec.configure("mode=20")
    assert codec.packet_samples(60) == 480


def test_both_registry_names_share_the_encoding() -> None:
    assert codecs.create("ilbc").name == "iLBC/20"
    assert {codecs.create(f"iLBC/{mode}").encoding for mode in MODES} == {"iLBC"}


def test_a_decoder_accepts_both_modes(speech: Speech) -> None:
    codec = codecs.create("iLBC/20")
    said = speech(8000)[8000:]
    for mode in (20, 30, 20):
        heard = np.concatenate([codec.decode(payload) for payload in encode(mode, said)])
        assert intelligibility(said, heard, 8000) > 0.93


@pytest.mark.parametrize("length", [0, 1, 37, 39, 49, 51, 88, 418, 350, 950, 1400])
def test_payloads_of_other_lengths_are_refused(length: int) -> None:
    with pytest.raises(RemoteProtocolError, match="not whole frames of iLBC"):
        codecs.create("iLBC/20").decode(bytes(length))


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_frame_is_concealed(mode: int, speech: Speech) -> None:
    """Its last bit is set, or its start state is invalid (RFC 3951 sections 3.8, 4.5)."""
    codec = codecs.create(f"iLBC/{mode}")
    heard = [codec.decode(payload) for payload in encode(mode, speech(8000)[4000:8000])]
    size = LAYOUTS[mode].bytes
    for empty in (bytes(size), bytes(size - 1) + b"\x01", b"\xff" * size):
        concealed = codec.decode(empty)
        assert len(concealed) == len(heard[0])
    assert np.abs(codec.decode(bytes(size))).max() <= np.abs(np.concatenate(heard)).max()


@pytest.mark.parametrize("mode", MODES)
def test_every_field_is_read_back_from_the_bits(mode: int) -> None:
    layout = LAYOUTS[mode]
    chance = np.random.default_rng(mode)
    for _ in range(50):
        made = np.packbits(chance.integers(0, 2, layout.bytes * 8).astype(np.uint8))
        made[-1] &= 0xFE
        fields = layout.unpack(made.tobytes())
        if fields is None:
            continue
        assert layout.pack(fields) == made.tobytes()
        assert isinstance(fields, Fields)
        assert fields.vectors.max() < 256


def test_line_spectral_frequencies_convert_to_filters_and_back() -> None:
    chance = np.random.default_rng(3)
    lsf = np.sort(LSF_MEAN + chance.uniform(-0.1, 0.1, (20, 10)), axis=1)
    assert filters.frequencies(filters.polynomials(lsf)) == pytest.approx(lsf, abs=1e-6)
    crowded = filters.separate(np.full((1, 10), 1.0))
    assert (np.abs(np.roots(filters.polynomials(crowded)[0])) < 1).all()


@pytest.mark.parametrize("mode", MODES)
def test_a_frame_with_an_unstable_filter_has_no_lasting_effect(mode: int, speech: Speech) -> None:
    codec = codecs.create(f"iLBC/{mode}")
    chance = np.random.default_rng(mode)
    layout = LAYOUTS[mode]
    for _ in range(40):
        bits = chance.integers(0, 256, layout.bytes).astype(np.uint8)
        bits[-1] &= 0xFE
        for _ in range(20):
            codec.decode(bits.tobytes())
    said = speech(8000)[8000:24000]
    heard = np.concatenate([codec.decode(payload) for payload in encode(mode, said)])
    assert signal_to_noise(decode(encode(mode, said))[2400:], heard[2400:], 8000) > 40
