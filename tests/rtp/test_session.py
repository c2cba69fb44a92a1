"""A session and what it believes of its peer's packets."""

from __future__ import annotations

import random

import pytest

from spech.errors import RemoteProtocolError
from spech.rtp.packet import RtpPacket
from spech.rtp.session import RtpSession


@pytest.fixture
def session() -> RtpSession:
    session = RtpSession(rng=random.Random(1), epoch=0.0)
    configure(session)
    return session


def configure(session: RtpSession, audio: int = 0, *, clock_rate: int = 8000) -> None:
    session.configure(
        clock_rate=clock_rate, audio_send=0, audio_receive=audio, event_send=96, event_receive=101
    )


def event(ssrc: int, *, sequence: int = 1, kind: int = 101) -> RtpPacket:
    return RtpPacket(kind, True, sequence, 4000, ssrc, b"\x05\x0a\x00\xa0")


def sound(kind: int) -> RtpPacket:
    return RtpPacket(kind, False, 1, 160, 7, bytes(160))


def test_a_digit_of_another_source_is_another_digit(session: RtpSession) -> None:
    assert session.receive(event(7), 1.0) == "5"
    assert session.receive(event(7, sequence=2), 1.02) is None
    # The timestamp is the same and means something else now.
    assert session.receive(event(8), 1.04) is None
    assert session.receive(event(8, sequence=2), 1.06) == "5"
    assert session.counts.received == 4


def test_of_two_streams_at_once_the_first_is_heard(session: RtpSession) -> None:
    for number in range(100):
        for source in (7, 8):
            packet = RtpPacket(0, False, number, 160 * number, source, bytes(160))
            session.receive(packet, number * 0.02)
    assert session.counts.received == 100
    assert session.counts.resynchronised == 0
    assert session.counts.stray == 99


def test_a_source_that_takes_over_loses_nothing(session: RtpSession) -> None:
    for source in (7, 8, 9):
        for number in range(10):
            packet = RtpPacket(0, False, number, 160 * number, source, bytes(160))
            session.receive(packet, source + number * 0.02)
    assert session.counts.received == 30
    assert session.counts.resynchronised == 2
    assert session.lost == session.counts.stray == 0


def test_what_the_codec_before_sends_is_still_accepted(session: RtpSession) -> None:
    with pytest.raises(RemoteProtocolError):
        session.check(sound(8))
    configure(session, 8)
    session.check(sound(8))
    session.check(sound(0))
    configure(session, 9)
    session.check(sound(8))
    with pytest.raises(RemoteProtocolError):
        session.check(sound(0))


def test_not_if_its_clock_was_another(session: RtpSession) -> None:
    configure(session, 97, clock_rate=48000)
    with pytest.raises(RemoteProtocolError):
        session.check(sound(0))


def test_a_number_that_became_that_of_digits_is_no_sound(session: RtpSession) -> None:
    configure(session, 101)
    session.check(sound(101))
    configure(session, 0)
    assert session.receive(event(7), 1.0) == "5"


def test_what_was_dropped_stays_counted_when_the_clock_changes(session: RtpSession) -> None:
    for number in range(60):
        packet = RtpPacket(0, False, number, number * 160, 7, b"sound")
        session.receive(packet, number * 0.02)
    assert session.buffer.take(1.6) is not None
    before = session.discarded
    assert before > 0
    configure(session, 97, clock_rate=48000)
    assert session.discarded == before
