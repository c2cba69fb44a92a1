"""RTP packets, read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spech.errors import RemoteProtocolError
from spech.rtp.packet import RtpPacket, build, is_rtcp, parse

BASE = build(0, True, 65535, 0xFFFFFFFF, 0x01020304, b"sound")


def test_a_packet_has_the_expected_bytes() -> None:
    assert BASE == b"\x80\x80\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04sound"
    assert parse(BASE) == RtpPacket(0, True, 65535, 0xFFFFFFFF, 0x01020304, b"sound")


@given(
    st.integers(0, 127),
    st.booleans(),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.binary(max_size=200),
)
def test_written_packets_are_read_back(
    kind: int, marker: bool, sequence: int, timestamp: int, ssrc: int, payload: bytes
) -> None:
    data = build(kind, marker, sequence, timestamp, ssrc, payload)
    assert parse(data) == RtpPacket(kind, marker, sequence, timestamp, ssrc, payload)


def test_csrcs_extension_and_padding_are_skipped() -> None:
    data = b"\xb2" + BASE[1:12] + bytes(8) + b"\xbe\xde\x00\x01\x10\xff\x00\x00" + b"sound\0\0\x03"
    assert parse(data).payload == b"sound"
    assert parse(memoryview(data)).payload == b"sound"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        BASE[:11],
        b"\x00" + BASE[1:],
        b"\x40" + BASE[1:],
        b"\xc0" + BASE[1:],
        b"\x8f" + BASE[1:],
        b"\x90" + BASE[1:14],
        b"\x90" + BASE[1:12] + b"\xbe\xde\xff\xff",
        b"\xa0" + BASE[1:] + b"\x00",
        b"\xa0" + BASE[1:] + b"\xff",
    ],
)
def test_invalid_packets_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse(data)


@given(st.binary(max_size=100))
def test_any_bytes_raise_only_protocol_errors(data: bytes) -> None:
    try:
        packet = parse(data)
    except RemoteProtocolError:
        return
    assert len(packet.payload) <= len(data) - 12


def test_rtcp_is_distinguished_from_rtp() -> None:
    assert is_rtcp(b"\x80\xc8\x00\x06")
    assert not is_rtcp(BASE)
    assert not is_rtcp(b"")
