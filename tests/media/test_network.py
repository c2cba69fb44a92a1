"""A call's sound over its network, end to end: losses, strangers, NAT, hold, reports."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import trio

from spech.agreement import Agreed
from spech.audio.level import dbfs
from spech.audio.tones import tone
from spech.codecs import create
from spech.media.engine import Media
from spech.media.events import EventDigit, MediaEvent
from spech.rtp import packet as rtp
from spech.rtp import rtcp
from spech.rtp.clock import MediaClock
from spech.rtp.ports import PortRange, lease

from ..ports import reserve
from .conftest import Address, Call, frequency, noise, speak


async def test_hold_pauses_sending_and_keeps_sequence_numbers(call: Call, wav: Path) -> None:
    call.configure()
    call.tick(10)
    call.left.configure(direction="inactive")
    call.left.play(wav)
    call.tick(50)
    assert len(call.left.packets()) == 10
    call.left.configure()
    call.tick(40)
    packets = call.left.packets()
    assert len(packets) == 50
    assert packets[10].marker
    assert packets[10].ssrc == packets[0].ssrc
    assert (packets[10].sequence - packets[9].sequence) & 0xFFFF == 1
    assert (packets[10].timestamp - packets[9].timestamp) & 0xFFFFFFFF == 51 * 160
    await call.left.media.speech.played()


async def test_the_codec_may_change_in_mid_call(call: Call) -> None:
    call.configure("PCMU")
    await speak(call, tone((1000,), 0.5, 8000), 8000)
    ssrc = call.left.packets()[0].ssrc
    call.configure("L16/16000")
    heard = await speak(call, tone((1000,), 1, 16000), 16000)
    assert frequency(heard[8000:], 16000) == pytest.approx(1000, abs=3)
    assert {packet.ssrc for packet in call.left.packets()} == {ssrc}


@pytest.mark.parametrize("in_flight", [0, 3])
async def test_late_packets_of_the_previous_codec_are_decoded(call: Call, in_flight: int) -> None:
    """They are in the buffer or in flight when the negotiation is complete."""
    call.configure("PCMU")
    sound = tone((1000,), 2, 8000)
    heard: list[bytes] = []
    with call.left.open_audio() as microphone, call.right.open_audio() as speaker:
        for index in range(100):
            if index == 50:
                call.right.configure("PCMA")
            if index == 50 + in_flight:
                call.left.configure("PCMA")
            microphone.send(sound[index * 160 : index * 160 + 160].tobytes())
            call.tick()
            heard.append(await speaker.receive())
    middle = np.frombuffer(b"".join(heard), np.int16)[4000:12000]
    assert noise(middle, 8000, 1000) > 30
    assert call.right.media.monitor.statistics.received == 100
    assert call.right.media.monitor.statistics.dropped_invalid == 0


async def test_packets_at_another_rate_are_heard_at_a_codec_change(call: Call) -> None:
    call.configure("G722")  # It runs on the same RTP clock as PCMU, at twice the sampling rate.
    await speak(call, tone((1000,), 0.5, 16000), 16000)
    call.configure("PCMU")
    heard = await speak(call, tone((1000,), 1, 8000, level=-30), 8000)
    assert dbfs(heard[1600:]) == pytest.approx(-30, abs=1)
    assert call.right.media.monitor.statistics.dropped_invalid == 0


async def test_sound_may_have_a_payload_type_for_each_direction(call: Call) -> None:
    """An answer may give a codec another payload type than the offer (RFC 3264 section 6.1)."""
    for side, send, receive in ((call.left, 110, 96), (call.right, 96, 110)):
        host, port = side.peer
        side.media.configure(
            Agreed("L16/16000", send, receive, None, None, (host, port), (host, port + 1))
        )
    for _ in range(2):
        heard = await speak(call, tone((1000,), 1, 16000), 16000)
        assert noise(heard[4000:-4000], 16000, 1000) > 60
        call.left, call.right = call.right, call.left
    assert {packet.payload_type for packet in call.left.packets()} == {110}
    assert {packet.payload_type for packet in call.right.packets()} == {96}
    assert call.left.media.monitor.statistics.dropped_invalid == 0


async def test_losses_are_concealed_and_counted(call: Call) -> None:
    call.configure()
    count = 0

    def judge(datagram: bytes) -> list[bytes]:
        nonlocal count
        count += 1
        return [] if count % 10 == 0 else [datagram]

    call.left.rtp.judge = judge
    heard = await speak(call, tone((1000,), 2, 8000), 8000)
    middle = heard[4000:12000]
    statistics = call.right.media.monitor.statistics
    assert statistics.lost in (9, 10)
    assert frequency(middle, 8000) == pytest.approx(1000, abs=2)
    assert dbfs(middle) == pytest.approx(-12, abs=0.5)


async def test_nothing_is_counted_as_concealed_without_losses(call: Call) -> None:
    call.left.configure()
    call.left.rtp.judge = lambda datagram: []
    call.right.configure()
    call.tick(100)
    call.left.rtp.judge = lambda datagram: [datagram]
    call.tick(100)
    assert call.right.media.monitor.statistics.concealed == 0
    call.left.configure(direction="recvonly")
    call.tick(100)
    call.left.configure()
    call.tick(100)
    assert call.right.media.monitor.statistics.concealed == 0


async def test_hostile_datagrams_are_dropped_counted_and_logged_once(
    call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    call.configure()
    call.tick(5)
    good = call.left.rtp.sent[-1][0]
    stranger = ("10.6.6.6", 6666)
    hostile = [
        b"",
        b"\x80",
        good[:11],
        b"\x00" + good[1:],
        b"\x80\x03" + good[2:],
        b"\xbf" + good[1:12],
        b"\x90\x00" + good[2:],
        good[:12] + bytes(9000),
        good[:12] + bytes(60000),
        b"\x80\xe5" + good[2:12] + b"\x01",
        b"\x80\xc8\xff\xff" + good[4:],
        b"\x80\xc9\x00\x01" + good[4:8] + b"\x9f\xc8\x00\x01" + good[4:8],
        *(random.Random(seed).randbytes(seed) for seed in range(200)),
    ]
    for datagram in hostile:
        call.right.rtp.waiting.append((datagram, stranger))
        call.right.rtcp.waiting.append((datagram, stranger))
    for datagram in hostile:
        call.right.rtp.waiting.append((datagram, call.right.peer))
        call.right.rtcp.waiting.append((datagram, (call.right.peer[0], 30001)))
    heard = await speak(call, tone((1000,), 1, 8000), 8000)
    statistics = call.right.media.monitor.statistics
    assert statistics.dropped_invalid + statistics.dropped_foreign >= 2 * len(hostile)
    assert frequency(heard[4000:], 8000) == pytest.approx(1000, abs=3)
    assert 1 <= len(caplog.records) <= 4


async def test_nothing_is_sent_to_a_port_that_does_not_exist(call: Call) -> None:
    """RTP at port 65535 has no port above it for RTCP."""
    call.left.media.configure(
        Agreed("PCMU", 0, 0, None, None, ("10.0.0.1", 65535), ("10.0.0.1", 65536))
    )
    call.tick(1000)
    call.left.media.close()
    judged = [destination for _, destination in call.left.rtp.sent + call.left.rtcp.sent]
    assert set(judged) == {("10.0.0.1", 65535)}
    assert call.left.media.monitor.statistics.send_errors == 0


async def test_a_faster_stranger_is_neither_heard_nor_sent_to(call: Call) -> None:
    call.left.configure()
    call.right.configure()
    loud = create("PCMU").encode(tone((2000,), 0.02, 8000))
    for sequence in (1, 2, 3, 9, 10):
        datagram = rtp.build(0, False, sequence, sequence * 160, 1, loud)
        call.right.rtp.waiting.append((datagram, ("10.6.6.6", 6666)))
    call.tick(5)
    assert {destination for _, destination in call.right.rtp.sent} == {call.right.peer}
    assert call.right.media.voices.levels[1] == -96


async def test_only_the_peer_is_heard(call: Call) -> None:
    call.configure()
    call.tick(5)
    stray = rtp.build(0, False, 1, 1, 1, create("PCMU").encode(tone((2000,), 0.02, 8000)))
    for _ in range(50):
        call.right.rtp.waiting.append((stray, ("10.6.6.6", 6666)))
    call.tick(5)
    assert call.right.media.monitor.statistics.dropped_foreign == 50
    assert call.right.rtp.sent[-1][1] == call.right.peer


async def test_media_is_sent_to_the_nat_address_of_the_peer(call: Call) -> None:
    call.configure()
    call.right.peer = ("192.168.7.7", 4000)  # the unreachable address in its SDP
    call.right.configure()
    call.tick(6)
    assert call.right.rtp.sent[-1][1] == ("10.0.0.1", 30000)
    call.tick(20)
    assert call.left.media.monitor.statistics.received > 15


@pytest.mark.parametrize("remote", [("0.0.0.0", 30002), ("10.0.0.1", 0)])
async def test_nothing_is_sent_to_the_unspecified_address(call: Call, remote: Address) -> None:
    call.configure()
    call.tick(3)
    call.left.peer = remote
    call.left.configure()
    call.tick(10)
    assert len(call.left.packets()) == 3
    assert call.left.media.monitor.statistics.send_errors == 0


async def test_nothing_is_sent_to_an_unresolved_name(call: Call) -> None:
    call.left.peer = ("pbx.example", 4000)
    with pytest.raises(ValueError, match=r"pbx\.example"):
        call.left.configure()
    call.tick(3)


async def test_reports_measure_loss_and_the_round_trip(call: Call) -> None:
    call.configure()
    sequence = 0

    def judge(datagram: bytes) -> list[bytes]:
        nonlocal sequence
        sequence += 1
        return [] if sequence % 4 == 0 else [datagram]

    call.left.rtp.judge = judge
    call.tick(1500)
    statistics = call.left.media.monitor.statistics
    assert statistics.remote_lost == pytest.approx(375, abs=100)
    assert statistics.round_trip_ms == pytest.approx(200, abs=210)
    reports = [datagram for datagram, _ in call.left.rtcp.sent]
    assert 4 <= len(reports) <= 12
    first = rtcp.parse(reports[-1])
    assert isinstance(first[0], rtcp.Report)
    assert first[0].sender is not None
    assert isinstance(first[1], rtcp.SourceDescription)


async def test_a_silent_side_sends_keepalives(call: Call) -> None:
    call.left.configure(direction="inactive")
    call.right.configure()
    call.tick(10)
    assert [packet.payload for packet in call.left.packets()] == [
        b""
    ]  # A peer with symmetric RTP learns our address.
    call.tick(50 * 61)
    empty = call.left.packets()
    assert len(empty) == 5
    assert {packet.payload_type for packet in empty} == {0}
    numbers = [packet.sequence - empty[0].sequence & 0xFFFF for packet in empty]
    assert numbers == [0, 1, 2, 3, 4]
    statistics = call.right.media.monitor.statistics
    assert statistics.received == 5
    assert statistics.dropped_invalid == statistics.concealed == 0


async def test_a_speaking_side_sends_no_keepalives(call: Call) -> None:
    call.configure()
    call.tick(50 * 20)
    assert all(packet.payload for packet in call.left.packets())


async def test_multiplexed_rtcp_replaces_keepalives(call: Call) -> None:
    peer = call.left.peer
    call.left.media.configure(Agreed("PCMU", 0, 0, None, None, peer, peer, direction="inactive"))
    call.tick(50 * 40)
    sent = [datagram for datagram, destination in call.left.rtp.sent if destination == peer]
    assert len(sent) >= 4
    assert all(rtp.is_rtcp(datagram) for datagram in sent)
    assert not call.left.rtcp.sent


async def test_sound_is_carried_over_real_sockets() -> None:
    first = reserve(4)
    ports = PortRange(first, first + 3)
    rng = random.Random(3)
    clock = MediaClock()
    with lease("127.0.0.1", ports, rng) as one, lease("127.0.0.1", ports, rng) as two:
        left, right = Media(one, rng=rng), Media(two, rng=rng)
        happened: list[MediaEvent] = []
        right.on_event = happened.append
        for media, peer in ((left, two), (right, one)):
            media.configure(
                Agreed(
                    "PCMA", 8, 8, 101, 101, ("127.0.0.1", peer.port), ("127.0.0.1", peer.port + 1)
                )
            )
        errors: list[Exception] = []
        heard: list[bytes] = []
        async with trio.open_nursery() as nursery:
            await nursery.start(clock.run)
            with (
                clock.attach(left.tick, errors.append),
                clock.attach(right.tick, errors.append),
                left.voices.open(8000) as microphone,
                right.voices.open(8000) as speaker,
            ):
                sound = tone((1000,), 1, 8000)
                left.speech.keypad.send("7")
                for start in range(0, len(sound), 160):
                    microphone.send(sound[start : start + 160].tobytes())
                    heard.append(await speaker.receive())
                await left.speech.played()
            nursery.cancel_scope.cancel()
        left.close()
        right.close()
    assert not errors
    assert happened == [EventDigit("7")]
    pcm = np.frombuffer(b"".join(heard), np.int16)
    assert frequency(pcm[4000:], 8000) == pytest.approx(1000, abs=4)
    assert left.monitor.statistics.sent > 40
