"""Extended reports: RFC 3611."""

from __future__ import annotations

import dataclasses
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
from spech.rtp.xr import Delay, Delays, ExtendedReport, ReceiverReference, VoipMetrics

from .conftest import decode

METRICS = VoipMetrics(
    ssrc=0x01020304,
    loss=0.25,
    discard=0.125,
    burst_density=0.5,
    gap_density=0.0078125,
    burst=1.2,
    gap=20.0,
    round_trip=0.123,
    end_system_delay=0.08,
    rating=82.0,
    mos_listening=4.1,
    mos_conversational=4.0,
    buffer=0.06,
    most_buffer=0.2,
)
REPORT = ExtendedReport(
    0xA1A2A3A4,
    (ReceiverReference(0x0123456789ABCDEF), Delays((Delay(1, 2, 3), Delay(4, 5, 6))), METRICS),
)
#: The same, written by hand from the diagrams in sections 4.4, 4.5 and 4.7.
BYTES = bytes.fromhex(
    "80cf0014 a1a2a3a4"
    "04000002 01234567 89abcdef"
    "05000006 00000001 00000002 00000003 00000004 00000005 00000006"
    "07000008 01020304 40208002 04b04e20 007b0050 7f7f7f10 527f2928 f000003c 003c00c8"
)


def test_every_block_has_the_expected_bytes() -> None:
    assert rtcp.build(REPORT) == BYTES
    assert rtcp.parse(BYTES) == (REPORT,)


def test_unknown_values_are_reported_as_unavailable() -> None:
    unknown = dataclasses.replace(METRICS, rating=None, mos_listening=None, mos_conversational=None)
    data = rtcp.build(ExtendedReport(1, (unknown,)))
    assert data[32:36] == b"\x7f\x7f\x7f\x7f"
    (read,) = rtcp.parse(data)
    assert read == ExtendedReport(1, (unknown,))


def test_values_beyond_their_fields_are_clamped() -> None:
    wild = dataclasses.replace(METRICS, loss=1.0, burst=1e6, gap=-1.0, mos_listening=0.2)
    (read,) = rtcp.parse(rtcp.build(ExtendedReport(1, (wild,))))
    assert isinstance(read, ExtendedReport)
    (block,) = read.blocks
    assert isinstance(block, VoipMetrics)
    assert (block.loss, block.burst, block.gap, block.mos_listening) == (
        255 / 256,
        65.535,
        0.0,
        1.0,
    )


def test_unknown_blocks_are_skipped() -> None:
    other = struct.pack("!BBHI", 6, 0xE0, 1, 7)
    data = b"\x80\xcf" + struct.pack("!H", 6) + bytes(4) + other + BYTES[8:20]
    assert rtcp.parse(data) == (ExtendedReport(0, REPORT.blocks[:1]),)


@pytest.mark.parametrize(
    "block", [b"\x04\0\0\x01" + bytes(4), b"\x07\0\0\x02" + bytes(8), b"\x04\0\0\x09"]
)
def test_truncated_blocks_are_refused(block: bytes) -> None:
    data = b"\x80\xcf" + struct.pack("!H", 1 + len(block) // 4) + bytes(4) + block
    with pytest.raises(RemoteProtocolError):
        rtcp.parse(data)


@given(st.binary(max_size=80))
def test_any_bytes_raise_only_protocol_errors(body: bytes) -> None:
    body += bytes(-len(body) % 4)
    data = b"\x80\xcf" + struct.pack("!H", len(body) // 4) + body
    try:
        rtcp.parse(data)
    except RemoteProtocolError:
        return


def session(seed: int, *wanted: str) -> RtpSession:
    made = RtpSession(rng=random.Random(seed), epoch=1_700_000_000.0)
    made.configure(
        clock_rate=8000, audio_send=0, audio_receive=0, event_send=None, event_receive=None
    )
    made.reports.wanted = frozenset(wanted)
    return made


def test_a_receiver_measures_the_round_trip() -> None:
    listener, talker = session(1, "rcvr-rtt"), session(2, "rcvr-rtt")
    for number in range(10):
        listener.receive_rtp(rtp.parse(talker.send(bytes(160), number * 160)), 10 + number * 0.02)
    question = listener.report(20.0)
    assert [type(packet) for packet in rtcp.parse(question)] == [
        rtcp.Report,
        rtcp.SourceDescription,
        ExtendedReport,
    ]
    talker.receive_rtcp(question, 20.040)
    listener.receive_rtcp(talker.report(23.0), 23.050)
    assert listener.reports.round_trip == pytest.approx(0.090, abs=0.001)
    assert ExtendedReport not in [type(packet) for packet in rtcp.parse(talker.report(26.0))]


def test_extended_reports_are_sent_only_on_request() -> None:
    listener, talker = session(1), session(2)
    listener.reports.measure = lambda: METRICS
    for number in range(10):
        listener.receive_rtp(rtp.parse(talker.send(bytes(160), number * 160)), 10 + number * 0.02)
    assert [type(packet) for packet in rtcp.parse(listener.report(20.0))] == [
        rtcp.Report,
        rtcp.SourceDescription,
    ]


def test_metrics_are_sent_and_received() -> None:
    listener, talker = session(1, "voip-metrics"), session(2)
    listener.reports.measure = lambda: METRICS
    for number in range(10):
        listener.receive_rtp(rtp.parse(talker.send(bytes(160), number * 160)), 10 + number * 0.02)
    talker.receive_rtcp(listener.report(20.0), 20.0)
    assert talker.reports.remote_metrics == dataclasses.replace(METRICS, ssrc=talker.ssrc)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_reads_the_blocks(tmp_path: Path) -> None:
    shown = decode(tmp_path, [(31001, rtcp.build(rtcp.Report(1, None, ())) + BYTES)])
    assert "Malformed" not in shown
    for line in (
        "Type: VoIP Metrics Report Block (7)",
        "Fraction lost: 64 / 256",
        "Fraction discarded: 32 / 256",
        "Burst Density: 128",
        "Burst Duration(ms): 1200",
        "Gap Duration(ms): 20000",
        "Round Trip Delay(ms): 123",
        "End System Delay(ms): 80",
        "Gmin: 16",
        "R Factor: 82",
        "MOS - Listening Quality: 4.1",
        "MOS - Conversational Quality: 4",
        "Packet Loss Concealment Algorithm: Standard (3)",
        "Gap Density: 2",
        "Nominal Jitter Buffer Size: 60",
        "Maximum Jitter Buffer Size: 200",
        "Type: Receiver Reference Time Report Block (4)",
        "Type: DLRR Report Block (5)",
    ):
        assert line in shown, line
