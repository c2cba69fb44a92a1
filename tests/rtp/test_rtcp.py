"""RTCP: reports, their arithmetic and their timing (RFC 3550 section 6)."""

from __future__ import annotations

import random
import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spech.errors import RemoteProtocolError
from spech.rtp import packet as rtp
from spech.rtp import rtcp
from spech.rtp.session import RtpSession

from .conftest import decode

BLOCK = rtcp.ReportBlock(7, 64, -3, 70000, 12, 0xABCD0123, 65536)
SENDER = rtcp.SenderInfo(0x0123456789ABCDEF, 160, 10, 1600)
COMPOUND = (
    rtcp.Report(1, SENDER, (BLOCK,)),
    rtcp.SourceDescription(1, "someone@spech"),
    rtcp.Goodbye(1),
)


def compound(*packets: rtcp.RtcpPacket) -> bytes:
    return b"".join(rtcp.build(packet) for packet in packets)


def test_a_written_compound_is_read_back() -> None:
    data = compound(*COMPOUND)
    assert len(data) % 4 == 0
    assert rtcp.parse(data) == COMPOUND
    assert rtcp.parse(compound(rtcp.Report(1, None, ()))) == (rtcp.Report(1, None, ()),)


@pytest.mark.parametrize("length", range(1, 9))
def test_descriptions_are_padded_to_a_word(length: int) -> None:
    description = rtcp.SourceDescription(5, "x" * length)
    data = rtcp.build(description)
    assert len(data) % 4 == 0
    assert data.endswith(b"\0")
    assert rtcp.parse(compound(rtcp.Report(5, None, ()), description))[1] == description


def test_a_bye_has_the_expected_bytes() -> None:
    assert rtcp.build(rtcp.Goodbye(0x01020304)) == b"\x81\xcb\x00\x01\x01\x02\x03\x04"


APPLICATION = struct.pack("!BBHI4s", 0x80, 204, 2, 1, b"test")


@pytest.mark.parametrize(
    ("data", "packets"),
    [
        (compound(COMPOUND[0]) + APPLICATION, COMPOUND[:1]),
        # Telephones send these besides compounds; RFC 5506 allows it if negotiated.
        (APPLICATION, ()),
        (compound(COMPOUND[2], COMPOUND[1]), (COMPOUND[2], COMPOUND[1])),
        (compound(COMPOUND[1]), COMPOUND[1:2]),
        (b"\x80\xcb\x00\x00", ()),
        (b"\x80\xca\x00\x00" + compound(COMPOUND[2]), COMPOUND[2:]),
    ],
)
def test_a_compound_may_hold_packets_of_any_kind_in_any_order(
    data: bytes, packets: tuple[rtcp.RtcpPacket, ...]
) -> None:
    assert rtcp.parse(data) == packets


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\xc9",
        b"\x80\xbf\x00\x00",
        compound(COMPOUND[0])[:-4],
        b"\x40" + compound(COMPOUND[0])[1:],
        b"\x9f" + compound(COMPOUND[0])[1:],
        b"\xa0\xc9\x00\x01\x00\x00\x00\x00",
        compound(COMPOUND[0]) + b"\x80",
    ],
)
def test_an_invalid_compound_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        rtcp.parse(data)


@given(st.binary(max_size=120))
def test_any_bytes_raise_only_protocol_errors(data: bytes) -> None:
    for candidate in (data, b"\x81\xc8" + data, compound(COMPOUND[0]) + b"\x81\xca" + data):
        try:
            rtcp.parse(candidate)
        except RemoteProtocolError:
            continue


def test_ntp_timestamps_are_converted() -> None:
    assert rtcp.ntp_time(0.0) >> 32 == 2208988800
    assert rtcp.middle(rtcp.ntp_time(0.5)) == (2208988800 & 0xFFFF) << 16 | 0x8000


def test_the_round_trip_matches_the_example_of_rfc_3550() -> None:
    # RFC 3550 section 6.4.1: the figure's example.
    assert rtcp.round_trip(0xB710_8000, 0xB705_2000, 0x0005_4000) == pytest.approx(6.125)
    assert rtcp.round_trip(0x0000_0010, 0xFFFF_FFF0, 0x10) == pytest.approx(16 / 65536)
    assert rtcp.round_trip(100, 200, 0) == 0.0


class Peer:
    """A session, and the packets of sound it would send."""

    def __init__(self, seed: int) -> None:
        self.session = RtpSession(rng=random.Random(seed), epoch=1_700_000_000.0)
        self.session.configure(
            clock_rate=8000, audio_send=0, audio_receive=0, event_send=None, event_receive=None
        )

    def sound(self) -> bytes:
        datagram = self.session.send(bytes(160), self.session.timestamp)
        self.session.advance(160)
        return datagram


def test_two_sessions_measure_each_other() -> None:
    one, two = Peer(1), Peer(2)
    now = 50.0
    one.session.report_due(now)
    for number in range(100):
        now += 0.02
        heard = rtp.parse(one.sound())
        if number % 10 != 5:
            two.session.receive_rtp(heard, now + 0.03)
        one.session.receive_rtp(rtp.parse(two.sound()), now)
    two.session.receive_rtcp(one.session.report(now), now + 0.030)
    one.session.receive_rtcp(two.session.report(now + 1.0), now + 1.080)
    assert one.session.reports.round_trip == pytest.approx(0.110, abs=0.001)
    block = one.session.reports.remote_report
    assert block is not None
    assert block.lost == 10
    assert block.fraction_lost == 25  # 10 of 100, in 1/256
    assert two.session.reports.round_trip is None
    farewell = two.session.farewell(now)
    assert farewell is not None
    last = rtcp.parse(farewell)
    assert last[-1] == rtcp.Goodbye(two.session.ssrc)


def test_a_listener_sends_receiver_reports() -> None:
    (report, _) = rtcp.parse(Peer(1).session.report(1.0))
    assert isinstance(report, rtcp.Report)
    assert report.sender is None
    assert report.blocks == ()


def test_reports_about_other_sources_are_ignored() -> None:
    one = Peer(1)
    one.sound()
    one.session.report(1.0)
    forged = rtcp.Report(9, None, (rtcp.ReportBlock(one.session.ssrc, 0, 0, 0, 0, 12345, 0),))
    one.session.receive_rtcp(compound(forged), 2.0)
    assert one.session.reports.round_trip is None
    assert one.session.reports.remote_report == forged.blocks[0]


def test_a_bye_stops_reports_until_the_peer_is_heard_again() -> None:
    one, two = Peer(1), Peer(2)
    for number in range(10):
        one.session.receive_rtp(rtp.parse(two.sound()), number * 0.02)

    def blocks() -> int:
        (report, *_) = rtcp.parse(one.session.report(1.0))
        assert isinstance(report, rtcp.Report)
        return len(report.blocks)

    assert blocks() == 1
    one.session.receive_rtcp(rtcp.build(rtcp.Goodbye(99)), 1.0)
    assert blocks() == 1
    one.session.receive_rtcp(rtcp.build(rtcp.Goodbye(two.session.ssrc)), 1.0)
    assert blocks() == 0
    one.session.receive_rtp(rtp.parse(two.sound()), 1.1)
    assert blocks() == 1


def test_statistics_of_a_departed_peer_are_dropped() -> None:
    one, two = Peer(1), Peer(2)
    now = 0.0
    one.sound()
    two.session.receive_rtp(rtp.parse(one.sound()), now)
    two.session.receive_rtcp(one.session.report(now), now)
    one.session.receive_rtcp(two.session.report(now), now + 0.1)
    assert one.session.reports.round_trip is not None
    while now < 30:
        now += 0.2
        if one.session.report_due(now):
            one.session.report(now)
    assert one.session.reports.round_trip is None
    assert one.session.reports.remote_report is None


def test_a_session_that_sent_nothing_sends_no_bye() -> None:
    one = Peer(1)
    assert one.session.farewell(1.0) is None
    one.session.report(2.0)
    assert one.session.farewell(3.0) is not None


def test_an_ssrc_collision_changes_our_ssrc() -> None:
    one, two = Peer(1), Peer(2)
    shared = one.session.ssrc
    two.session.ssrc = shared
    one.sound()
    for number in range(10):
        one.session.receive_rtp(rtp.parse(two.sound()), number * 0.02)
    assert one.session.ssrc != shared
    assert one.session.counts.collisions == 1
    assert one.session.report_due(0.3)
    packets = rtcp.parse(one.session.report(0.3))
    assert packets[0].ssrc == one.session.ssrc
    assert packets[-1] == rtcp.Goodbye(shared)
    assert rtp.parse(one.sound()).ssrc == one.session.ssrc
    assert one.session.counts.received == 10
    assert rtcp.Goodbye not in [type(packet) for packet in rtcp.parse(one.session.report(1.0))]


def test_a_peer_that_reflects_our_packets_is_heard_and_its_reports_are_ignored() -> None:
    one = Peer(1)
    ours = set()
    for number in range(100):
        sent = one.sound()
        ours.add(rtp.parse(sent).ssrc)
        one.session.receive_rtp(rtp.parse(sent), number * 0.02)
        if number % 20 == 19:
            one.session.receive_rtcp(one.session.report(number * 0.02), number * 0.02)
    assert len(ours) == 2
    assert one.session.counts.received == 100
    assert one.session.reports.remote_report is None
    assert one.session.reports.round_trip is None


def test_a_new_ssrc_restarts_the_count_and_keeps_the_losses() -> None:
    one, two, three = Peer(1), Peer(2), Peer(3)
    for number in range(10):
        heard = rtp.parse(two.sound())
        if number != 4:
            one.session.receive_rtp(heard, number * 0.02)
    for number in range(10):
        one.session.receive_rtp(rtp.parse(three.sound()), 0.2 + number * 0.02)
    assert one.session.lost == 1
    assert one.session.counts.received == 19
    assert one.session.counts.resynchronised == 1


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_accepts_our_packets(tmp_path: Path) -> None:
    datagrams = [(31001, compound(*COMPOUND)), (31001, Peer(1).session.report(1.0))]
    datagrams += [(31000, rtp.build(0, True, 1, 160, 1, bytes(160)))]
    shown = decode(tmp_path, datagrams)
    assert "Malformed" not in shown
    assert shown.count("Real-time Transport Control Protocol (Sender Report)") == 1
    assert shown.count("Real-time Transport Control Protocol (Receiver Report)") == 1
    assert "Real-time Transport Control Protocol (Goodbye)" in shown
    assert "someone@spech" in shown
    assert shown.count("Real-Time Transport Protocol") == 1


@pytest.mark.parametrize("kind", range(192, 224))
def test_invalid_padding_is_refused(kind: int) -> None:
    for count in (0, 1, 6, 31):
        for body in (b"", b"\0\0\0\0", b"\0\0\0\5", b"\0\0\0\xff"):
            with pytest.raises(RemoteProtocolError):
                rtcp.parse(bytes((0xA0 | count, kind, 0, len(body) // 4)) + body)


@pytest.mark.parametrize("size", [rtcp.MAX_RTCP + 4, 65504])
def test_a_datagram_longer_than_any_report_is_refused_at_once(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match="too long"):
        rtcp.parse(bytes((0x80, 204, 0, 0)) * (size // 4))
