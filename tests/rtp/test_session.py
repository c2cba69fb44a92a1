"""A session, and which packets of its peer it accepts."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable

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


def test_a_digit_from_another_ssrc_is_a_new_digit(session: RtpSession) -> None:
    assert session.receive_rtp(event(7), 1.0) == "5"
    assert session.receive_rtp(event(7, sequence=2), 1.02) is None
    # The timestamp is the same but has another meaning.
    assert session.receive_rtp(event(8), 1.04) == "5"
    assert session.receive_rtp(event(8, sequence=2), 1.06) is None
    assert session.counts.received == 4


def talk(session: RtpSession, numbers: Iterable[int], *, ssrc: int = 7, kind: int = 0) -> None:
    for number in numbers:
        packet = RtpPacket(kind, False, number, 160 * number, ssrc, bytes(160))
        session.receive_rtp(packet, number * 0.02)


def press(key: int, sequence: int, ssrc: int, began: int) -> list[RtpPacket]:
    """The seven packets of a digit."""
    return [
        RtpPacket(
            101,
            number == 0,
            sequence + number,
            began,
            ssrc,
            bytes((key, 0x8A if number >= 4 else 0x0A)) + (160 * (number + 1)).to_bytes(2, "big"),
        )
        for number in range(7)
    ]


def digits_of(session: RtpSession, packets: Iterable[RtpPacket]) -> str:
    return "".join(digit for one in packets if (digit := session.receive_rtp(one, 1.0)) is not None)


def test_digits_with_their_own_ssrc_are_received_beside_the_sound(
    session: RtpSession,
) -> None:
    talk(session, range(50))
    heard = ""
    for count, key in enumerate((1, 2, 3, 3, 11)):
        for number, packet in enumerate(press(key, 40000 + 7 * count, 9, 9000 + 8000 * count)):
            talk(session, [50 + 7 * count + number])
            heard += digits_of(session, [packet])
    assert heard == "1233#"
    assert session.counts.resynchronised == session.counts.stray == session.lost == 0
    assert len(session.buffer) > 0


def test_digits_with_their_own_ssrc_do_not_replace_paused_sound(
    session: RtpSession,
) -> None:
    talk(session, range(50))
    assert digits_of(session, press(5, 1, 9, 0)) == "5"
    talk(session, range(50, 60))
    assert session.counts.resynchronised == session.lost == 0


@pytest.mark.parametrize("skipped", [0, 7])
def test_loss_is_counted_for_the_ssrc_of_the_sound_alone(session: RtpSession, skipped: int) -> None:
    """RFC 3550 A.1: the numbers of the digits fill no gap in those of the sound, and make none.

    A gateway that keeps counting in the stream of the sound while it sends digits in another one
    leaves out numbers of the sound, and these are lost by definition.
    """
    number = 0
    heard = ""
    for count, key in enumerate((1, 2, 3, 3, 11)):
        talk(session, range(number, number + 43))
        number += 43 + skipped
        heard += digits_of(session, press(key, 40000 + 7 * count, 9, 9000 + 8000 * count))
    talk(session, [number])
    assert heard == "1233#"
    assert session.expected == number + 1
    assert session.lost == 5 * skipped
    assert session.counts.received == 5 * 43 + 5 * 7 + 1


def test_digits_before_the_sound_of_their_ssrc_are_received_once(
    session: RtpSession,
) -> None:
    packets = press(5, 1, 7, 0)
    assert digits_of(session, packets[:3]) == "5"
    talk(session, range(4, 6))
    assert digits_of(session, packets[5:]) == ""
    assert digits_of(session, press(5, 20, 7, 9000)) == "5"


def test_losses_of_digits_alone_are_counted(session: RtpSession) -> None:
    for count in range(10):
        lossy = [packet for packet in press(5, 7 * count, 7, 8000 * count) if packet.sequence % 5]
        digits_of(session, lossy)
    assert session.expected == 69
    assert session.lost == 13


def test_sound_with_another_ssrc_is_heard_at_once_after_digits_only(
    session: RtpSession,
) -> None:
    packets = press(5, 1, 9, 0)
    heard = ""
    for number, packet in enumerate(packets):
        heard += digits_of(session, [packet])
        talk(session, [number])
    assert heard == "5"
    assert len(session.buffer) == 7
    assert session.counts.resynchronised == session.counts.stray == session.lost == 0


def test_digits_with_their_own_sequence_numbers_do_not_interrupt_the_sound(
    session: RtpSession,
) -> None:
    talk(session, range(50))
    heard = ""
    for number, packet in enumerate(press(8, 40000, 7, 9000)):
        heard += digits_of(session, [packet])
        talk(session, [50 + number])
    assert heard == "8"
    assert session.counts.stray == session.lost == 0
    assert session.counts.received == 64


def foreign(number: int) -> RtpPacket:
    return RtpPacket(126, False, number, 160 * number, 7, b"\0\0\0\0")


def empty(number: int) -> RtpPacket:
    return RtpPacket(0, False, number, 160 * number, 7, b"")


def digit(number: int) -> RtpPacket:
    return RtpPacket(101, number % 10 == 5, number, 160 * number, 7, b"\x05\x8a\x00\xa0")


@pytest.mark.parametrize("other", [foreign, empty, digit])
def test_packets_without_sound_are_not_losses(
    session: RtpSession, other: Callable[[int], RtpPacket]
) -> None:
    for number in range(200):
        if number % 10 == 5:
            with contextlib.suppress(RemoteProtocolError):
                session.receive_rtp(other(number), number * 0.02)
        else:
            talk(session, [number])
    assert session.lost == 0
    assert session.expected == session.counts.received == 200


@pytest.mark.parametrize("other", [foreign, empty, digit])
@pytest.mark.parametrize("count", [1, 7])
def test_packets_without_sound_in_a_pause_leave_no_gap(
    session: RtpSession, other: Callable[[int], RtpPacket], count: int
) -> None:
    talk(session, range(10))
    for number in range(10, 10 + count):
        with contextlib.suppress(RemoteProtocolError):
            session.receive_rtp(other(number), number * 0.02)
    for number in range(10):
        assert session.buffer.take(number * 0.02 + 0.06) is not None
        session.buffer.played(160)
    after = RtpPacket(0, False, 10 + count, 160 * 50, 7, bytes(160))
    session.receive_rtp(after, 50 * 0.02)
    assert session.buffer.missing() == (0, None)
    assert session.buffer.take(1.2) is not None
    assert session.buffer.resumed


def test_the_first_of_two_simultaneous_streams_is_heard(session: RtpSession) -> None:
    for number in range(100):
        for source in (7, 8):
            packet = RtpPacket(0, False, number, 160 * number, source, bytes(160))
            session.receive_rtp(packet, number * 0.02)
    assert session.counts.received == 100
    assert session.counts.resynchronised == 0
    assert session.counts.stray == 99


def test_a_change_of_ssrc_loses_nothing(session: RtpSession) -> None:
    for source in (7, 8, 9):
        for number in range(10):
            packet = RtpPacket(0, False, number, 160 * number, source, bytes(160))
            session.receive_rtp(packet, source + number * 0.02)
    assert session.counts.received == 30
    assert session.counts.resynchronised == 2
    assert session.lost == session.counts.stray == 0


def test_late_packets_of_the_previous_codec_are_accepted(session: RtpSession) -> None:
    with pytest.raises(RemoteProtocolError):
        session.check(sound(8))
    configure(session, 8)
    session.check(sound(8))
    session.check(sound(0))
    configure(session, 9)
    session.check(sound(8))
    with pytest.raises(RemoteProtocolError):
        session.check(sound(0))


def test_late_packets_at_another_clock_rate_are_dropped(session: RtpSession) -> None:
    configure(session, 97, clock_rate=48000)
    with pytest.raises(RemoteProtocolError):
        session.check(sound(0))


def test_a_payload_type_reused_for_digits_is_not_sound(session: RtpSession) -> None:
    configure(session, 101)
    session.check(sound(101))
    configure(session, 0)
    assert session.receive_rtp(event(7), 1.0) == "5"


def test_drops_stay_counted_when_the_clock_changes(session: RtpSession) -> None:
    for number in range(60):
        packet = RtpPacket(0, False, number, number * 160, 7, b"sound")
        session.receive_rtp(packet, number * 0.02)
    assert session.buffer.take(1.6) is not None
    before = session.discarded
    assert before > 0
    configure(session, 97, clock_rate=48000)
    assert session.discarded == before
