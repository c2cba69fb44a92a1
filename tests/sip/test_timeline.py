"""The timeline of a call: complete, readable, and without secrets."""

from __future__ import annotations

import ipaddress
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from spech.errors import RemoteProtocolError
from spech.sip.dialog.digest import DigestServer
from spech.sip.message.parser import parse
from spech.sip.timeline import Entry, Timeline, from_pcap, ladder, masked_data, to_pcap
from spech.sip.transaction.flow import Flow
from spech.testing.wire import FakeWire

from .conftest import Pair
from .registrar import challenging


@pytest.fixture
def call() -> Pair:
    """A call with a password, a hold and a BYE."""
    wire = FakeWire(seed=7)
    pair = Pair(wire)
    server = DigestServer("spech", random.Random(1), 60)
    pair.bob = wire.peer("10.0.0.2", screen=challenging(server, {"alice": "secret"}))
    ours = pair.call(password="secret")
    theirs = pair.incoming()
    pair.ring(theirs)
    wire.run(2)
    pair.answer(theirs)
    wire.run(1)
    ours.hold(wire.now)
    wire.run(1)
    pair.hang_up(pair.alice, ours)
    wire.run(40)
    return pair


def test_the_ladder_shows_all_events(call: Pair) -> None:
    session_id = next(p.message.call_id for p in call.wire.log)
    lines = ladder(call.alice.agent.timeline.entries(session_id)).splitlines()
    text = "\n".join(lines)
    assert "10.0.0.1:5060" in lines[0]
    assert "10.0.0.2:5060" in lines[0]
    for word in ("INVITE", "401", "180 Ringing", "200 OK", "ACK", "BYE", "now CONFIRMED"):
        assert word in text
    assert "+ a=sendonly" in text
    assert "- a=sendrecv" in text
    assert "timer K of BYE (completed)" in text


def test_a_capture_contains_every_message_and_no_secret(call: Pair) -> None:
    session_id = next(p.message.call_id for p in call.wire.log)
    entries = call.alice.agent.timeline.entries(session_id)
    capture = to_pcap(entries, wall=1_700_000_000)
    restored = from_pcap(capture)
    messages = [entry for entry in entries if entry.data]
    assert len(restored) == len(messages) > 8
    for entry, original in zip(restored, messages, strict=True):
        assert entry.source == original.source
        assert entry.destination == original.destination
        assert entry.data == masked_data(original.data)
        parse(entry.data)
    assert b"response=" not in capture
    assert b"Authorization: Digest ***" in capture


def test_keys_of_encrypted_calls_are_masked_everywhere() -> None:
    body = (
        b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 0\r\n"
        b"k=clear:SECRET\r\na=key-mgmt:mikey SECRET\r\n"
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:SECRET|2^20;inline:SECRET WSH=64\r\n"
        b"A=CRYPTO:2 AES_CM_128_HMAC_SHA1_32 INLINE:SECRET\na=sendrecv\r\n"
    )
    head = (
        b"OPTIONS sip:a@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK%d\r\n"
        b"Max-Forwards: 70\r\nFrom: <sip:b@192.0.2.2>;tag=1\r\nTo: <sip:a@192.0.2.1>\r\n"
        b"Call-ID: keys\r\nCSeq: 1 OPTIONS\r\nContent-Type: application/sdp\r\n"
        b"Content-Length: %d\r\n\r\n"
    )
    flow = Flow("udp", ("192.0.2.1", 5060), ("192.0.2.2", 5060))
    timeline = Timeline()
    timeline.open("keys")
    for number, data in enumerate((body, body.replace(b"a=crypto:1", b"a=crypto:3"))):
        timeline.received(head % (number, len(data)) + data, flow, float(number))
    entries = timeline.entries("keys")
    shown = ladder(entries)
    assert "+ a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:***" in shown
    assert "SECRET" not in shown
    capture = to_pcap(entries, wall=0.0)
    assert b"SECRET" not in capture
    for entry in from_pcap(capture):
        assert b"a=sendrecv" in parse(entry.data).body
    assert "SECRET" not in repr(parse(entries[0].data))
    assert "SECRET" not in repr(entries)


def test_tshark_reads_the_capture(call: Pair, tmp_path: Path) -> None:
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is not installed")
    session_id = next(p.message.call_id for p in call.wire.log)
    file = tmp_path / "call.pcap"
    file.write_bytes(to_pcap(call.alice.agent.timeline.entries(session_id), wall=1_700_000_000))
    command = [
        tshark,
        "-r",
        str(file),
        "-T",
        "fields",
        "-e",
        "sip.CSeq.method",
        "-e",
        "_ws.malformed",
    ]
    seen = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.strip() for line in seen[:4]] == ["INVITE", "INVITE", "ACK", "INVITE"]
    assert "Malformed" not in "".join(seen)


@pytest.mark.parametrize(
    "uri",
    [
        "sip:600:s3cret@example.test",
        "SIPS:a%20b:s3cret@example.test;user=phone",
        f"sip:{'6' * 300}:s3cret@example.test",
    ],
)
def test_a_password_in_a_uri_is_masked_everywhere(uri: str) -> None:
    data = (
        f"INVITE {uri} SIP/2.0\r\nTo: <{uri}>\r\nFrom: <sip:a@b>\r\nCall-ID: c\r\n"
        f"CSeq: 1 INVITE\r\nVia: SIP/2.0/UDP h\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    masked = masked_data(data)
    assert b"s3cret" not in masked
    assert len(masked) == len(data)
    assert masked.count(b":******@example.test") == 2
    entry = Entry(0.0, "", ("192.0.2.1", 5060), ("192.0.2.2", 5060), data, True)
    assert "s3cret" not in ladder([entry])
    assert b"s3cret" not in to_pcap([entry], 0.0)


def test_a_long_password_in_a_uri_is_masked() -> None:
    assert b"x" not in masked_data(b"sip:600:" + b"x" * 300 + b"@h")


def test_masking_takes_linear_time() -> None:
    """No URI here has a password, but each could."""
    for data in (b"sip:a:" * 10_000, b"sip:" * 16_000, b"sip:a:" + b"x" * 65_000):
        assert masked_data(data) == data


def test_the_timeline_is_bounded() -> None:
    timeline = Timeline()
    flow = Flow("udp", ("10.0.0.1", 5060), ("10.0.0.2", 5060))
    timeline.received(b"i:stranger\r\n", flow, 0.0)
    assert timeline.entries("stranger") == ()
    for number in range(2000):
        timeline.open(str(number))
        timeline.received(b"OPTIONS sip:a SIP/2.0\r\nCall-ID: %d\r\n\r\n" % number, flow, 0.0)
    assert timeline.entries("0") == ()
    assert len(timeline.entries("1999")) == 1
    for _ in range(1000):
        timeline.received(b"i:1999\r\n", flow, 0.0)
    assert 100 < len(timeline.entries("1999")) < 500
    for _ in range(10):
        timeline.received(b"i:1999\r\n" + bytes(60_000), flow, 0.0)
    assert len(timeline.entries("1999")) == 1


def test_folded_credentials_are_masked() -> None:
    data = (
        b"REGISTER sip:a SIP/2.0\r\nAuthorization:\r\n Digest a=1,\r\n response=x\r\nTo: y\r\n\r\n"
    )
    assert (
        masked_data(data) == b"REGISTER sip:a SIP/2.0\r\nAuthorization: Digest ***\r\nTo: y\r\n\r\n"
    )


@pytest.mark.parametrize("data", [b"", b"rubbish" * 9, to_pcap([], 0.0) + b"\x00" * 20])
def test_a_file_that_is_not_a_trace_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        from_pcap(data)


def test_ipv6_addresses_are_captured() -> None:
    timeline = Timeline()
    flow = Flow("udp", ("2001:db8::1", 5060), ("2001:db8::2", 5061))
    data = b"OPTIONS sip:a SIP/2.0\r\nCall-ID: six\r\n\r\n"
    timeline.open("six")
    timeline.sent(data, flow, 0.0)
    restored = from_pcap(to_pcap(timeline.entries("six"), 0.0))
    assert restored[0].source == ("2001:db8::1", 5060)
    assert restored[0].destination == ("2001:db8::2", 5061)
    assert restored[0].data == data


def test_a_capture_maps_mixed_addresses_and_truncates_large_messages() -> None:
    udp, ipv6 = ("192.0.2.1", 5060), ("2001:db8::1", 5060)
    entries = [Entry(0.0, "", udp, ipv6, b"mixed"), Entry(0.0, "", udp, udp, bytes(65_535))]
    mixed, large = from_pcap(to_pcap(entries, 0.0))
    assert (mixed.source, mixed.data) == (
        (str(ipaddress.ip_address("::ffff:192.0.2.1")), 5060),
        b"mixed",
    )
    assert len(large.data) == 65_507


@pytest.mark.parametrize(
    ("kind", "body", "masked"),
    [
        (
            b"application/dtmf-relay",
            b"Signal=5\r\nDuration=160\r\n",
            b"Signal=x\r\nDuration=160\r\n",
        ),
        (b"application/dtmf-relay", b"signal = 10\n", b"signal = xx\n"),
        (b"application/dtmf ; q=1", b"7\r\n", b"xxx"),
        (b"text/plain", b"7\r\n", b"7\r\n"),
    ],
)
def test_digits_of_info_are_masked_and_the_length_stays(
    kind: bytes, body: bytes, masked: bytes
) -> None:
    head = b"INFO sip:a SIP/2.0\r\nX-Signal: 1\r\nContent-Type: " + kind + b"\r\n\r\n"
    assert masked_data(head + body) == head + masked
    reply = b"SIP/2.0 200 OK\r\n\r\nSignal=5"
    assert masked_data(reply) == reply
