"""A stream and its sockets: kernel timestamps, and send errors."""

from __future__ import annotations

import errno
import logging
import random
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

from spech.allowance import Allowance
from spech.incidents import Incidents
from spech.rtp import packet as rtp
from spech.rtp import rtcp
from spech.rtp.ports import SO_TIMESTAMPNS, PortPair, PortRange, lease
from spech.rtp.session import RtpSession
from spech.rtp.stream import Stream

PEER = ("192.0.2.1", 4000)


class Waiting:
    """A socket with kernel-timestamped datagrams, which may refuse to send."""

    def __init__(self) -> None:
        self.datagrams: list[tuple[bytes, float]] = []
        self.error: OSError | None = None
        self.sent: list[tuple[bytes, tuple[str, int]]] = []

    def recvmsg(self, size: int, _: int) -> tuple[Any, ...]:
        if self.error is not None:
            raise self.error
        if not self.datagrams:
            raise BlockingIOError(errno.EAGAIN, "nothing waits")
        data, stamp = self.datagrams.pop(0)
        seconds, rest = divmod(stamp, 1)
        timespec = struct.pack("@ll", int(seconds), int(rest * 1e9))
        return data[:size], [(1, SO_TIMESTAMPNS, timespec)], 0, PEER

    def sendto(self, data: bytes, destination: tuple[str, int]) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append((data, destination))


def make(incidents: Incidents | None = None) -> tuple[Stream, RtpSession, Waiting, Waiting]:
    session = RtpSession(rng=random.Random(1), epoch=0.0)
    session.configure(
        clock_rate=8000, audio_send=0, audio_receive=0, event_send=None, event_receive=None
    )
    media, control = Waiting(), Waiting()
    pair = PortPair(media, control, "192.0.2.9", 5000)  # type: ignore[arg-type]
    stream = Stream(pair, session, incidents=incidents)
    stream.negotiate(PEER, (PEER[0], PEER[1] + 1))
    return stream, session, media, control


def sound(number: int) -> bytes:
    return rtp.build(0, False, number, number * 160, 7, bytes(160))


def test_invalid_rtcp_is_logged_as_such(caplog: pytest.LogCaptureFixture) -> None:
    stream, _, _, control = make()
    stream.negotiate(PEER, (PEER[0], PEER[1] + 1))
    goodbye = rtcp.build(rtcp.Goodbye(7)) + rtcp.build(rtcp.SourceDescription(7, "x"))
    control.datagrams = [(goodbye, time.time()), (b"nonsense", time.time())]
    stream.drain_rtcp(1.0)
    assert stream.invalid == 1
    assert [record.getMessage().split(" from ")[0] for record in caplog.records] == ["dropped RTCP"]


def test_many_streams_log_each_source_once(caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise an attacker with many calls fills the log."""
    incidents = Incidents(logging.getLogger("spech"))
    for _ in range(10):
        stream, _, media, _ = make(incidents=incidents)
        media.datagrams = [(bytes(5), time.time()), (b"nonsense", time.time())]
        stream.drain(1.0)
        media.error = OSError(errno.EINVAL, "Invalid argument")
        stream.send(sound(1))
        assert stream.invalid == 2
        assert stream.send_errors == 1
    assert incidents.count == 30
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "dropped RTP from 192.0.2.1",
        "RTP is not sent",
    ]


def test_zero_bytes_as_nat_keepalives_are_not_faults(caplog: pytest.LogCaptureFixture) -> None:
    stream, _, media, control = make()
    for waiting in (media, control):
        waiting.datagrams = [(bytes(4), time.time()), (bytes(1), time.time())]
    with caplog.at_level("DEBUG"):
        stream.drain(1.0)
        stream.drain_rtcp(1.0)
    assert stream.invalid == 0
    assert {record.levelname for record in caplog.records} == {"DEBUG"}
    media.datagrams = [(bytes(5), time.time()), (b"", time.time()), (b"\0\0\0\1", time.time())]
    stream.drain(1.0)
    assert stream.invalid == 3


def test_jitter_is_measured_from_kernel_timestamps() -> None:
    stream, session, media, _ = make()
    wall = time.time() - 0.9
    # All are read at once, long after they arrived at perfect intervals.
    media.datagrams = [(sound(number), wall + number * 0.02) for number in range(40)]
    stream.drain(1000.0)
    assert session.counts.received == 40
    assert session.jitter < 0.005


def test_jitter_of_bunched_packets_is_measured() -> None:
    stream, session, media, _ = make()
    wall = time.time() - 0.1
    media.datagrams = [(sound(number), wall) for number in range(40)]
    stream.drain(1000.0)
    assert session.jitter > 0.015


@pytest.mark.parametrize("wrong", [-1e6, 1e6])
def test_a_step_of_the_wall_clock_does_not_shift_playout(wrong: float) -> None:
    stream, session, media, _ = make()
    media.datagrams = [(sound(0), time.time()), (sound(1), time.time() + wrong)]
    stream.drain(1000.0)
    assert session.jitter < 0.1
    assert session.counts.received == 2


def test_send_errors_are_counted_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream, session, media, control = make()
    media.error = control.error = OSError(errno.ENETUNREACH, "Network is unreachable")
    for _ in range(5):
        assert stream.drain(1.0) == []
        stream.drain_rtcp(1.0)
        stream.send(session.send(b"x", 0))
        stream.send_rtcp(session.report(1.0))
    assert stream.send_errors == 10
    assert len(caplog.records) == 2


def test_multiplexed_rtcp_is_read() -> None:
    stream, session, media, control = make()
    stream.negotiate(PEER, PEER)
    peer = RtpSession(rng=random.Random(2), epoch=0.0)
    session.send(b"x", 0)
    report = session.report(1.0)
    stream.send_rtcp(report)
    assert media.sent == [(report, PEER)]
    assert control.sent == []
    peer.receive_rtcp(report, 1.0)
    media.datagrams = [(peer.report(1.0), time.time())]
    stream.drain(2.0)
    assert stream.invalid == stream.foreign == 0


@pytest.mark.parametrize(
    "size", [12 + 2 * 48000 * 20 // 1000, 12 + 2 * 48000 * 100 // 1000, 12 + 2 * 48000 // 5 + 16]
)
def test_packets_of_the_largest_size_are_received_completely(size: int) -> None:
    stream, session, media, _ = make()
    media.datagrams = [
        (rtp.build(0, False, 1, 160, 7, bytes(size - 12)), time.time()),
    ]
    stream.drain(1.0)
    assert session.counts.received_octets == size - 12
    assert stream.invalid == 0


def test_a_poll_before_a_read_misses_nothing() -> None:
    """Random bursts of any size, with empty and foreign datagrams, at real sockets.

    Beside them are the same sockets without poll(2), where only a read tells what waits.
    """
    rng = random.Random(5)
    with (
        lease("127.0.0.1", PortRange(20000, 40000), rng) as polled,
        lease("127.0.0.1", PortRange(20000, 40000), rng) as other,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        peer.bind(("127.0.0.1", 0))
        read = PortPair(other.rtp, other.rtcp, other.address, other.port)
        streams = []
        for pair in (polled, read):
            session = RtpSession(rng=random.Random(1), epoch=0.0)
            session.configure(
                clock_rate=8000, audio_send=0, audio_receive=0, event_send=None, event_receive=None
            )
            stream = Stream(pair, session)
            stream.negotiate(peer.getsockname(), ("127.0.0.1", 9))
            streams.append((stream, session))
        number = sent = 0
        for tick in range(300):
            for _ in range(rng.choice((0, 1, 1, 1, 2, 7))):
                data = b"" if rng.random() < 0.1 else sound(number)
                sent += len(data) > 0
                number += 1
                for pair in (polled, read):
                    peer.sendto(data, (pair.address, pair.port))
            for stream, _ in streams:
                stream.drain(tick * 0.02)
            counts = [session.counts for _, session in streams]
            assert counts[0] == counts[1]
            assert counts[0].received == sent
            assert streams[0][0].invalid == streams[1][0].invalid == number - sent


class Broken:
    """A component that raises at every packet, as code with a bug may."""

    def __init__(self, session: RtpSession) -> None:
        self.error: Exception = IndexError("index out of range")
        session.receive_rtp = session.receive_rtcp = self.fail  # type: ignore[method-assign]

    def fail(self, *_: object) -> Any:
        raise self.error


@pytest.mark.interpreted
@pytest.mark.parametrize("error", [IndexError("x"), struct.error("x"), RecursionError("x")])
def test_a_packet_that_triggers_a_bug_is_dropped_counted_and_logged_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    stream, session, media, control = make()
    Broken(session).error = error
    media.datagrams = [(sound(number), time.time()) for number in range(5)]
    control.datagrams = [(rtcp.build(rtcp.Goodbye(7)), time.time())] * 5
    stream.drain(1.0)
    stream.drain_rtcp(1.0)
    assert stream.faults == 10
    assert stream.invalid == 0
    (record,) = caplog.records
    assert (
        record.getMessage() == "dropped a packet from 192.0.2.1:4000: our code failed (logged once)"
    )
    assert record.exc_info is not None


def test_the_last_arrival_is_known_by_kind() -> None:
    stream, _, media, control = make()
    assert stream.last_rtp is stream.last_rtcp is None
    media.datagrams = [(sound(1), time.time())]
    stream.drain(1.0)
    stream.drain_rtcp(1.0)
    assert (stream.last_rtp, stream.last_rtcp) == (1.0, None)
    control.datagrams = [(rtcp.build(rtcp.Goodbye(7)), time.time())]
    stream.drain(7.0)
    stream.drain_rtcp(7.0)
    assert stream.last_rtp == 1.0
    assert stream.last_rtcp == pytest.approx(7.0, abs=0.5)
    media.datagrams = [(b"nonsense", time.time())]
    stream.drain(8.0)
    assert stream.last_rtp == 1.0


def talk(stream: Stream, session: RtpSession, *, ticks: int, payload: int, now: float) -> None:
    for tick in range(ticks):
        stream.drain(now + tick * 0.02)
        stream.send(session.send(bytes(payload), tick * 160))
        if tick % 10 == 0:
            stream.send_rtcp(session.report(now + tick * 0.02))


#: Bytes of the smallest INVITE with a description, with IP and UDP headers.
SMALL_INVITE = 300


def allowance() -> Allowance:
    """What a call of an unknown source may cost it."""
    earned = Allowance()
    earned.earn(SMALL_INVITE - 28)
    return earned


@pytest.mark.parametrize("payload", [20, 160, 1920, 19200])
def test_an_unconfirmed_peer_gets_half_a_second_and_ten_times_an_invite(
    payload: int,
) -> None:
    stream, session, media, control = make()
    stream.allowance = allowance()
    talk(stream, session, ticks=1600, payload=payload, now=100.0)
    sent = [datagram for datagram, _ in media.sent + control.sent]
    assert sum(len(datagram) + 28 for datagram in sent) <= 10 * SMALL_INVITE
    assert len(media.sent) <= 25


def confirm_by_sound(stream: Stream, media: Waiting) -> None:
    media.datagrams = [(sound(1), time.time())]
    stream.drain(200.0)


def confirm_by_the_signalling(stream: Stream, media: Waiting) -> None:
    assert stream.allowance is not None
    stream.allowance.proven = True


@pytest.mark.parametrize("confirm", [confirm_by_sound, confirm_by_the_signalling])
def test_a_confirmed_peer_gets_everything(confirm: Callable[[Stream, Waiting], None]) -> None:
    stream, session, media, _ = make()
    stream.allowance = allowance()
    talk(stream, session, ticks=100, payload=160, now=100.0)
    confirm(stream, media)
    media.sent.clear()
    talk(stream, session, ticks=100, payload=160, now=200.0)
    assert len(media.sent) == 100


@pytest.mark.parametrize("datagram", [b"nonsense" * 5, rtp.build(99, False, 1, 160, 7, b"x")])
def test_only_sound_of_the_peer_confirms_it(datagram: bytes) -> None:
    stream, _, media, _ = make()
    stream.allowance = allowance()
    media.datagrams = [(datagram, time.time())] * 10
    stream.drain(1.0)
    assert not stream.allowance.proven
