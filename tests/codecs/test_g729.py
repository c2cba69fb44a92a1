"""Annex B: silence descriptions of two bytes."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from spech.audio.level import dbfs
from spech.codecs import Samples, g729
from spech.codecs.g729 import G729Codec
from spech.codecs.library import LibraryState
from spech.errors import RemoteProtocolError

pytestmark = pytest.mark.skipif(not g729.LIBRARY.available, reason="libbcg729-0 is not installed")


def with_pauses(sound: Samples) -> list[bytes]:
    """Frames of 10 ms from an encoder with Annex B: 10 bytes, 2, or none."""
    encoder = LibraryState(g729._make_encoder(1), g729._destroy_encoder)
    payload, size = ctypes.create_string_buffer(10), ctypes.c_uint8()
    frames = []
    for at in range(0, len(sound) - 79, 80):
        part = np.ascontiguousarray(sound[at : at + 80])
        g729._encode(encoder.pointer, part.ctypes.data, payload, ctypes.byref(size))
        frames.append(payload.raw[: size.value])
    return frames


def background(level: float) -> Samples:
    values = np.random.default_rng(729).normal(0, 32768 * 10 ** (level / 20), 48000)
    return np.asarray(np.clip(values, -32768, 32767), np.int16)


@pytest.mark.parametrize("level", [-60, -50, -40])
def test_a_pause_is_filled_with_noise_at_the_far_ends_level(level: float) -> None:
    frames = with_pauses(background(level))
    # Its detector needs a second to detect that this is not speech.
    assert sum(len(frame) in (0, 2) for frame in frames[300:]) > 200
    codec = G729Codec()
    heard = [codec.decode(frame) if frame else codec.conceal(80) for frame in frames]
    noise = np.concatenate(heard[300:])
    assert dbfs(noise) == pytest.approx(level, abs=2)
    # It is noise, and no frame is repeated.
    assert len({frame.tobytes() for frame in heard[300:]}) == len(heard[300:])


def test_a_pause_may_begin_in_a_packet() -> None:
    codec = G729Codec()
    voice = codec.encode(np.zeros(80, np.int16))
    assert len(codec.decode(voice + b"\x12\x34")) == 160
    assert len(codec.decode(b"\x12\x34")) == 80
    for length in (1, 3, 9, 11, 13):
        with pytest.raises(RemoteProtocolError):
            codec.decode(bytes(length))


def test_annex_b_is_not_used_if_the_offer_forbids_it() -> None:
    """RFC 7261 section 3. Without the option, no pauses are sent."""
    codec = G729Codec()
    assert codec.fmtp is None
    for offered in (None, "annexb=yes", "", "annexa=yes"):
        assert codec.answer(offered) is None
    for offered in ("annexb=no", "AnnexB = NO", "annexa=yes;annexb=no"):
        assert codec.answer(offered) == "annexb=no"
    assert {len(codec.encode(np.zeros(160, np.int16))) for _ in range(100)} == {20}


def test_pauses_are_described_if_wanted_and_allowed() -> None:
    """RFC 3551 section 4.5.6: sound frames, then one description, or only a description."""
    room = background(-55)
    sizes = {}
    for fmtp in (None, "annexb=yes", "annexb=no"):
        codec = G729Codec()
        codec.suppress_silence(True)
        codec.configure(fmtp)
        payloads = [codec.encode(room[at : at + 160]) for at in range(0, len(room) - 159, 160)]
        sizes[fmtp] = [len(payload) for payload in payloads]
        if fmtp != "annexb=no":
            other = G729Codec()
            heard = [other.decode(one) if one else other.conceal(160) for one in payloads]
            assert dbfs(np.concatenate(heard[200:])) == pytest.approx(-55, abs=2)
    assert set(sizes["annexb=no"]) == {20}
    assert sizes[None] == sizes["annexb=yes"]
    assert set(sizes[None]) <= {0, 2, 10, 12, 20}
    late = sizes[None][200:]
    assert late.count(0) > 0.7 * len(late)
    # Even constant noise is described every two seconds.
    silent = 0
    for size in late:
        silent = 0 if size else silent + 1
        assert silent <= 100
