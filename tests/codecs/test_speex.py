"""The format of Speex packets (RFC 5574), bit by bit."""

from __future__ import annotations

import numpy as np
import pytest

from spech.codecs import speex
from spech.codecs.speex import SpeexCodec
from spech.errors import RemoteProtocolError

pytestmark = pytest.mark.skipif(not speex.LIBRARY.available, reason="libspeex1 is not installed")


def packed(*bits: str) -> bytes:
    """Bits as bytes, padded as in RFC 5574 section 3.3: a zero, then ones."""
    text = "".join(bits)
    text += ("0" + "1" * 7)[: -len(text) % 8]
    return int(text, 2).to_bytes(len(text) // 8, "big")


SILENT = "00000"  # narrowband submode 0
MESSAGE = "01110" + "0010" + "1111"  # "may be ignored by an old decoder", four bits
USER = "01101" + "0010" + "0" * 5 + "10101010" * 2


@pytest.mark.parametrize(
    ("bits", "frames"),
    [
        ((SILENT,), 1),
        ((SILENT,) * 5, 5),
        ((SILENT, "1001", "0" * 32), 1),  # and a layer of wideband
        ((SILENT, "1001", "0" * 32, "1001", "0" * 32, SILENT), 2),  # and of ultra-wideband
        ((MESSAGE, SILENT), 1),
        ((SILENT, USER, SILENT), 2),
        ((SILENT, "01111", SILENT), 1),  # bits after a terminator are ignored
    ],
)
@pytest.mark.parametrize("rate", [8000, 16000, 32000])
def test_packets_are_split_into_frames(bits: tuple[str, ...], frames: int, rate: int) -> None:
    assert len(SpeexCodec(rate).decode(packed(*bits))) == frames * rate // 50


@pytest.mark.parametrize(
    "bits",
    [
        ("01111",),  # a terminator alone
        ("01001", "0" * 60),  # reserved submodes
        ("01100", "0" * 60),
        (SILENT, "1101", "0" * 60),  # no such layer
        (SILENT, "1000", "1010", "0" * 200),
        (SILENT, "1001", "0" * 32, "1000", SILENT),  # silence for a decoder that has no such layer
        (SILENT, *(("1001", "0" * 32) * 3), SILENT),  # a third layer
        ("00011", "0" * 20),  # cut off
        (MESSAGE[:-1],),
        (USER, USER),
        (SILENT,) * 11,
    ],
)
def test_invalid_packets_are_refused(bits: tuple[str, ...]) -> None:
    with pytest.raises(RemoteProtocolError):
        SpeexCodec(16000).decode(packed(*bits))


@pytest.mark.parametrize("rate", [8000, 16000, 32000])
def test_frames_are_packed_without_gaps(rate: int) -> None:
    codec = SpeexCodec(rate)
    one = codec.encode(np.zeros(rate // 50, np.int16))
    three = codec.encode(np.zeros(3 * rate // 50, np.int16))
    assert len(three) <= 3 * len(one)
    assert len(codec.decode(three)) == 3 * rate // 50
    assert codec.encoding == "speex"
    assert codec.payload_type is None
