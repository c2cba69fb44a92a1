"""A stream and its sockets: kernel arrival times, and systems that refuse."""

from __future__ import annotations

import errno
import random
import struct
import time
from typing import Any

import pytest

from spech.rtp import packet as rtp
from spech.rtp import rtcp
from spech.rtp.ports import SO_TIMESTAMPNS, PortPair
from spech.rtp.session import RtpSession
from spech.rtp.stream import Stream

PEER = ("192.0.2.1", 4000)


class Waiting:
    """A socket with datagrams that the kernel stamped, and that may refuse to send."""

    def __init__(self) -> None:
        self.datagrams: list[tuple[bytes, float]] = []
        self.error: OSError | None = None
        self.sent: list[tuple[bytes, tuple[str, int]]] = []

    def recvmsg_into(self, buffers: list[bytearray], _: int) -> tuple[Any, ...]:
        if self.error is not None:
            raise self.error
        if not self.datagrams:
            raise BlockingIOError(errno.EAGAIN, "nothing waits")
        data, stamp = self.datagrams.pop(0)
        buffers[0][: len(data)] = data
        seconds, rest = divmod(stamp, 1)
        timespec = struct.pack("@ll", int(seconds), int(rest * 1e9))
        return len(data), [(1, SO_TIMESTAMPNS, timespec)], 0, PEER

    def sendto(self, data: bytes, destination: tuple[str, int]) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append((data, destination))


def make() -> tuple[Stream, RtpSession, Waiting, Waiting]:
    session = RtpSession(rng=random.Random(1), epoch=0.0)
    session.configure(
        clock_rate=8000, audio_send=0, audio_receive=0, event_send=None, event_receive=None
    )
    media, control = Waiting(), Waiting()
    stream = Stream(PortPair(media, control, "192.0.2.9", 5000), session)  # type: ignore[arg-type]
    stream.negotiate(PEER, (PEER[0], PEER[1] + 1))
    return stream, session, media, control


def sound(number: int) -> bytes:
    return rtp.build(0, False, number, number * 160, 7, bytes(160))


def test_what_is_no_rtcp_is_called_so(caplog: pytest.LogCaptureFixture) -> None:
    stream, _, _, control = make()
    stream.negotiate(PEER, (PEER[0], PEER[1] + 1))
    goodbye = rtcp.build(rtcp.Farewell(7)) + rtcp.build(rtcp.SourceDescription(7, "x"))
    control.datagrams = [(goodbye, time.time()), (b"nonsense", time.time())]
    stream.drain_rtcp(1.0)
    assert stream.invalid == 1
    assert [record.getMessage().split(" from ")[0] for record in caplog.records] == ["dropped RTCP"]


def test_jitter_is_measured_from_the_kernels_times() -> None:
    stream, session, media, _ = make()
    wall = time.time() - 0.9
    # All are read at once, long after they came, and had come in perfect time.
    media.datagrams = [(sound(number), wall + number * 0.02) for number in range(40)]
    stream.drain(1000.0)
    assert session.counts.received == 40
    assert session.jitter < 0.005


def test_jitter_of_packets_that_came_at_once_is_seen() -> None:
    stream, session, media, _ = make()
    wall = time.time() - 0.1
    media.datagrams = [(sound(number), wall) for number in range(40)]
    stream.drain(1000.0)
    assert session.jitter > 0.015


@pytest.mark.parametrize("wrong", [-1e6, 1e6])
def test_a_wall_clock_that_steps_does_not_move_the_sound(wrong: float) -> None:
    stream, session, media, _ = make()
    media.datagrams = [(sound(0), time.time()), (sound(1), time.time() + wrong)]
    stream.drain(1000.0)
    assert session.jitter < 0.1
    assert session.counts.received == 2


def test_a_system_that_refuses_is_counted_and_logged_once(
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


def test_reports_on_the_port_of_the_sound_are_understood() -> None:
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
