"""Opus: parameters in SDP, loss, redundancy and invalid payloads."""

from __future__ import annotations

import random
from collections.abc import Callable

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext

from spech import codecs
from spech.audio.tones import tone
from spech.codecs import Codec, Samples, opus
from spech.codecs.opus import OpusCodec
from spech.errors import RemoteProtocolError
from spech.testing.speech import intelligibility

Speech = Callable[[int], Samples]

RATE = 48000
SIZE = 960

pytestmark = pytest.mark.skipif(opus.opuslib is None, reason="libopus0 is not installed")


def payloads(codec: Codec, sound: Samples) -> list[bytes]:
    return [codec.encode(sound[at : at + SIZE]) for at in range(0, len(sound) - SIZE + 1, SIZE)]


def bitrate(packets: list[bytes]) -> float:
    return sum(map(len, packets)) * 8 * 50 / len(packets)


def highest(sound: Samples) -> float:
    """The frequency below which 99.9 % of the power lies, in Hz."""
    power = np.cumsum(np.abs(np.fft.rfft(sound)) ** 2)
    return float(np.searchsorted(power, 0.999 * power[-1])) * RATE / len(sound)


def hiss() -> Samples:
    return np.random.default_rng(1).normal(0, 3000, RATE).astype(np.int16)


def test_parameters_follow_rfc_7587() -> None:
    codec = OpusCodec()
    assert (codec.encoding, codec.clock_rate, codec.channels) == ("opus", 48000, 2)
    assert codec.payload_type is None
    assert codec.fmtp == "useinbandfec=1"


def test_the_encoder_limits_its_bandwidth_to_what_the_peer_plays() -> None:
    for rate, edge in ((8000, 4500), (16000, 8500), (24000, 12500), (48000, 20500)):
        codec = OpusCodec(bitrate=64000)
        codec.configure(f"maxplaybackrate={rate}; sprop-stereo=1")
        heard = np.concatenate([codec.decode(packet) for packet in payloads(codec, hiss())])
        assert 0.7 * edge < highest(heard) < edge


def test_the_peer_can_lower_the_bitrate_but_not_raise_it(speech: Speech) -> None:
    said = speech(RATE)
    codec = OpusCodec()
    assert bitrate(payloads(codec, said)) == pytest.approx(32000, rel=0.15)
    codec.configure("maxaveragebitrate=12000")
    assert bitrate(payloads(codec, said)) == pytest.approx(12000, rel=0.15)
    codec.configure("maxaveragebitrate=400000")
    assert bitrate(payloads(codec, said)) == pytest.approx(32000, rel=0.15)
    codec.configure("cbr=1")
    assert len({len(packet) for packet in payloads(codec, said)}) == 1


def test_a_program_can_set_bitrate_and_complexity(speech: Speech) -> None:
    said = speech(RATE)
    sent = {}
    for complexity in (0, 10):
        codec = codecs.create(f"opus;bitrate=16000;complexity={complexity}")
        sent[complexity] = payloads(codec, said)
        assert bitrate(sent[complexity]) == pytest.approx(16000, rel=0.15)
        heard = np.concatenate([codec.decode(packet) for packet in sent[complexity]])
        assert intelligibility(said, heard, RATE) > 0.9
    assert sent[0] != sent[10]
    codec.configure("maxaveragebitrate=8000")
    assert bitrate(payloads(codec, said)) == pytest.approx(8000, rel=0.15)


@pytest.mark.parametrize(
    ("ptime", "milliseconds"),
    [(1, 10), (10, 10), (19, 10), (20, 20), (30, 20), (60, 60), (200, 120)],
)
def test_packet_lengths_are_valid_for_opus(ptime: int, milliseconds: int, speech: Speech) -> None:
    """RFC 6716 section 3.2.1: frames of 10 and 20 ms, and packets of up to six of the latter."""
    codec = OpusCodec()
    size = codec.packet_samples(ptime)
    assert size == milliseconds * 48
    said = speech(RATE)[: 3 * RATE // size * size]
    parts = [codec.decode(codec.encode(part)) for part in np.split(said, len(said) // size)]
    assert {len(part) for part in parts} == {size}
    assert intelligibility(said, np.concatenate(parts), RATE) > 0.95
    with pytest.raises(ValueError, match="not a packet of opus"):
        codec.encode(np.zeros(1440, np.int16))


@pytest.mark.parametrize(
    "fmtp",
    [
        "",
        ";;=;",
        "maxplaybackrate=",
        "maxplaybackrate=-1",
        "maxaveragebitrate=²",
        "cbr",
        "maxaveragebitrate=99999999999999999999",
        "maxplaybackrate=0;maxaveragebitrate=0",
        "0-15",
    ],
)
def test_invalid_parameters_from_the_peer_are_ignored(fmtp: str) -> None:
    codec = OpusCodec()
    codec.configure(fmtp)
    assert len(codec.decode(codec.encode(np.zeros(SIZE, np.int16)))) == SIZE


def test_silence_is_sent_unless_the_peer_requests_dtx() -> None:
    codec = OpusCodec()
    silence = np.zeros(RATE, np.int16)
    assert min(map(len, payloads(codec, silence)[10:])) > 2
    codec.configure("usedtx=1")
    assert sum(len(packet) <= 2 for packet in payloads(codec, silence)[25:]) > 15


def test_fec_is_better_than_concealment(speech: Speech) -> None:
    said = speech(RATE)

    def heard(recovered: bool) -> Samples:
        codec = OpusCodec()
        codec.configure("useinbandfec=1")
        packets = payloads(codec, said)
        parts = []
        for number, packet in enumerate(packets[:-1]):
            if number % 5 != 3:
                parts.append(codec.decode(packet))
            elif recovered:
                parts.append(codec.recover(packets[number + 1], SIZE))
            else:
                parts.append(codec.conceal(SIZE))
        return np.concatenate(parts)

    invented, recovered = (intelligibility(said, heard(flag), RATE) for flag in (False, True))
    assert recovered > invented + 0.02
    assert recovered > 0.93


def test_stereo_is_mixed_to_one_channel() -> None:
    encoder = AudioCodecContext.create("libopus", "w")
    encoder.sample_rate = RATE
    encoder.layout = "stereo"
    encoder.format = "s16"
    left, right = tone((500,), 1, RATE), tone((1500,), 1, RATE)
    both = np.stack((left, right), axis=1).reshape(1, -1)
    codec = OpusCodec()
    heard = []
    for at in range(0, RATE, SIZE):
        frame = av.AudioFrame.from_ndarray(both[:, 2 * at : 2 * (at + SIZE)], "s16", "stereo")
        frame.sample_rate = RATE
        heard += [codec.decode(bytes(packet)) for packet in encoder.encode(frame)]
    spectrum = np.abs(np.fft.rfft(np.concatenate(heard)[-RATE // 2 :]))
    strongest = sorted(np.argsort(spectrum)[-2:] * 2)
    assert strongest == [500, 1500]


def test_packets_longer_than_120_ms_are_refused() -> None:
    codec = OpusCodec()
    assert codec.packet_samples(200) == 5760
    assert len(codec.decode(codec.encode(np.zeros(5760, np.int16)))) == 5760
    # 48 frames of 2.5 ms are 120 ms; 49 are invalid (RFC 6716 section 3.2.5, [R5]).
    assert len(codec.decode(bytes([0x83, 48]))) == 5760
    with pytest.raises(RemoteProtocolError):
        codec.decode(bytes([0x83, 49]))


def test_gaps_of_any_length_are_concealed() -> None:
    codec = OpusCodec()
    for samples in (1, 119, 120, 959, 960, 961, 5760):
        assert len(codec.conceal(samples)) == samples


def test_hostile_payloads_do_no_harm() -> None:
    codec = OpusCodec()
    chance = random.Random(7587)
    for _ in range(3000):
        payload = chance.randbytes(chance.choice((1, 2, 3, 10, 80, 500, 1400)))
        try:
            assert len(codec.decode(payload)) <= 5760
        except RemoteProtocolError:
            assert len(codec.recover(payload, SIZE)) == SIZE
    for payload in (b"", bytes(70000)):
        with pytest.raises(RemoteProtocolError):
            codec.decode(payload)
        assert len(codec.recover(payload, SIZE)) == SIZE
