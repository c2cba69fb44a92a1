"""Hostile payloads for frame-based codecs do no harm."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from spech import codecs
from spech.codecs import Samples
from spech.errors import RemoteProtocolError

Speech = Callable[[int], Samples]

FRAMED = [
    name for name in codecs.names() if name.partition("/")[0] in ("GSM", "G729", "iLBC", "speex")
]


def attempt(codec: codecs.Codec, payload: bytes) -> bool:
    """Whether it was accepted; if so, for at most 210 ms of sound."""
    try:
        sound = codec.decode(payload)
    except RemoteProtocolError:
        return False
    assert 0 < len(sound) <= codec.rate * 0.21
    return True


@pytest.mark.parametrize("name", FRAMED)
def test_random_payloads_do_no_harm(name: str, speech: Speech) -> None:
    codec = codecs.create(name)
    chance = random.Random(name)
    size = codec.packet_samples(20)
    said = speech(codec.rate)[size * 20 :]
    frame = len(codec.encode(said[:size]))
    taken = 0
    for number in range(3000):
        length = chance.choice((0, 1, 2, frame - 1, frame, frame + 1, 2 * frame, 10 * frame, 1400))
        taken += attempt(codec, chance.randbytes(length))
        if number % 50 == 0:
            assert len(codec.conceal(size)) == size
            payload = codec.encode(said[:size])
            assert attempt(codec, payload)
    assert taken or name == "GSM"  # GSM frames have a signature


@pytest.mark.parametrize("name", FRAMED)
def test_corrupted_frames_do_no_harm(name: str, speech: Speech) -> None:
    """Wrong bits, truncated frames, and trailing bytes."""
    codec = codecs.create(name)
    chance = random.Random(name)
    size = codec.packet_samples(40)
    said = speech(codec.rate)
    for at in range(0, len(said) - size, size):
        payload = bytearray(codec.encode(said[at : at + size]))
        for _ in range(chance.randrange(1, 8)):
            payload[chance.randrange(len(payload))] ^= 1 << chance.randrange(8)
        attempt(codec, bytes(payload))
        attempt(codec, bytes(payload[: chance.randrange(len(payload))]))
        attempt(codec, bytes(payload) + chance.randbytes(chance.randrange(40)))


@pytest.mark.parametrize("name", FRAMED)
def test_libraries_print_nothing_to_standard_error(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    codec = codecs.create(name)
    chance = random.Random(name)
    for _ in range(1000):
        attempt(codec, chance.randbytes(chance.randrange(80)))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", FRAMED)
def test_overlong_packets_are_refused(name: str) -> None:
    codec = codecs.create(name)
    frame = codec.encode(np.zeros(codec.packet_samples(20), np.int16))
    assert not attempt(codec, b"")
    for count in (30, 2000):
        assert not attempt(codec, frame * count)


@pytest.mark.parametrize("name", FRAMED)
def test_gaps_of_any_length_are_concealed(name: str) -> None:
    codec = codecs.create(name)
    for samples in (0, 1, 79, 80, 81, codec.packet_samples(20), codec.packet_samples(100)):
        assert len(codec.conceal(samples)) == samples
