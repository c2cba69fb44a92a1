"""Tickets and frames, without a socket."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spech.codecs.opus import OPUS_RATES, OpusCodec
from spech.testing.audio import assert_tone, sine
from spech.web.audio import TICKET_SECONDS, TICKETS_KEPT, Grant, Tickets
from spech.web.audio_frames import HEADER, FrameReader, OpusSound
from spech.web.sessions import PageSession
from spech.web.switchboard import Switchboard

OPUS = '{"format": "opus"}'
PCM = '{"format": "pcm"}'


class Clock:
    """A time that tests set, in seconds."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def frame(sequence: int, pcm: bytes = b"\x01\x02" * 160) -> bytes:
    return HEADER.pack(sequence, 0) + pcm


def grant(call: str, session: PageSession) -> Grant:
    return Grant(call, cast(Switchboard, None), session)


ALICE = PageSession("alice", 0.0)
BOB = PageSession("bob", 0.0)


def test_a_ticket_works_once() -> None:
    tickets = Tickets()
    ticket = tickets.issue(grant("c1", ALICE), 0.0)
    other = tickets.issue(grant("c2", ALICE), 0.0)
    assert ticket != other
    assert len(ticket) >= 32
    assert tickets.redeem(ticket, 1.0) == grant("c1", ALICE)
    assert tickets.redeem(ticket, 1.0) is None
    assert tickets.redeem("", 1.0) is None
    assert tickets.redeem(other, 1.0) == grant("c2", ALICE)


def test_a_ticket_expires() -> None:
    tickets = Tickets()
    ticket = tickets.issue(grant("c1", ALICE), 5.0)
    assert tickets.redeem(ticket, 5.0 + TICKET_SECONDS) is None
    ticket = tickets.issue(grant("c1", ALICE), 5.0)
    assert tickets.redeem(ticket, 4.9 + TICKET_SECONDS) == grant("c1", ALICE)


def test_the_number_of_unused_tickets_of_a_session_is_limited() -> None:
    tickets = Tickets()
    others = tickets.issue(grant("c1", BOB), 0.0)
    issued = [tickets.issue(grant("c1", ALICE), 0.0) for _ in range(TICKETS_KEPT + 1)]
    assert tickets.redeem(issued[0], 0.0) is None
    assert tickets.redeem(issued[1], 0.0) == grant("c1", ALICE)
    assert tickets.redeem(others, 0.0) == grant("c1", BOB)


def test_frames_of_up_to_100_ms_are_accepted() -> None:
    reader = FrameReader(16000, Clock())
    for sequence, samples in enumerate([1, 320, 319, 1600]):
        assert reader.receive_frame(frame(sequence, b"ab" * samples)) == b"ab" * samples
    assert reader.bad == 0


def test_gaps_and_wrapping_of_the_sequence_are_accepted() -> None:
    reader = FrameReader(8000, Clock())
    for sequence in (5, 6, 100, 2**31, 2**32 - 1, 0, 1):
        assert reader.receive_frame(frame(sequence)) is not None
    assert reader.bad == 0
    assert reader.lost == 93 + (2**31 - 101) + (2**31 - 2)


@pytest.mark.parametrize(
    "nonsense",
    [
        "text",
        b"",
        b"\x00" * 11,
        frame(7, b""),
        frame(7, b"\x00"),
        frame(7, b"\x00" * 3),
        frame(7, b"\x00" * 1602),
        frame(6),
        frame(5),
    ],
)
def test_invalid_frames_are_dropped_and_counted(nonsense: str | bytes) -> None:
    reader = FrameReader(8000, Clock())
    assert reader.receive_frame(frame(6)) is not None
    assert reader.receive_frame(nonsense) is None
    assert reader.bad == 1
    assert reader.receive_frame(frame(7)) is not None


@given(st.lists(st.binary(max_size=200) | st.text(max_size=20) | st.sampled_from([OPUS, PCM])))
def test_any_frame_is_accepted_or_dropped(frames: list[bytes | str]) -> None:
    reader = FrameReader(8000, Clock())
    for each in frames:
        reader.receive_frame(each)


@pytest.mark.parametrize("rate", OPUS_RATES)
def test_a_tone_passes_in_opus_between_frames_of_pcm(rate: int) -> None:
    """At each rate, there and back, in a fifth of the bytes at most."""
    clock = Clock()
    reader, page = FrameReader(rate, clock), OpusSound(rate, clock)
    assert reader.formats == ("pcm", "opus")
    tone = sine(700.0, rate, 1.2, level=-20.0)
    heard = []
    for sequence in range(60):
        pcm = tone[sequence * (rate // 50) :][: rate // 50].astype("<i2").tobytes()
        if sequence == 5:
            assert reader.receive_frame(OPUS) == b""
        if sequence == 55:
            assert reader.receive_frame(PCM) == b""
        in_opus = 5 <= sequence < 55
        sound = page.encode(pcm) if in_opus else pcm
        received = reader.receive_frame(frame(sequence, sound))
        assert received is not None
        assert len(received) == len(pcm)
        assert (reader.opus is not None) == in_opus
        assert len(sound) < 150 or not in_opus
        heard.append(np.frombuffer(received, "<i2"))
        clock.now += 0.02
    assert (reader.bad, reader.lost) == (0, 0)
    assert_tone(np.concatenate(heard[10:50]), rate, 700.0, level=-20.0, level_tolerance=1)


@pytest.mark.parametrize("rate", [11050, 44100])
def test_opus_has_no_other_rates(rate: int) -> None:
    reader = FrameReader(rate, Clock())
    assert reader.formats == ("pcm",)
    assert reader.receive_frame(OPUS) is None
    assert reader.bad == 1
    assert reader.receive_frame(frame(0)) is not None


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\xff" * 40,  # a code 3 packet with impossible lengths
        b"\x00" * 8000,
        OpusCodec(rate=8000).encode(np.zeros(960, np.int16)),  # 120 ms
        b"",
        '{"format": "mp3"}',
        '{"format": "pcm", "more": 1}',
        "[" * 16000,
    ],
)
def test_invalid_frames_in_opus_are_dropped_and_counted(nonsense: bytes | str) -> None:
    clock = Clock()
    reader = FrameReader(8000, clock)
    reader.receive_frame(OPUS)
    sent = nonsense if isinstance(nonsense, str) else frame(0, nonsense)
    assert reader.receive_frame(sent) is None
    assert reader.bad == 1
    assert reader.receive_frame(frame(0, OpusSound(8000, clock).encode(bytes(320))))


def test_opus_is_decoded_no_faster_than_it_is_spoken() -> None:
    clock = Clock()
    reader = FrameReader(48000, clock)
    packet = OpusSound(48000, clock).encode(bytes(1920))
    reader.receive_frame(OPUS)
    for sequence in range(1000):
        reader.receive_frame(frame(sequence, packet))
    assert (reader.bad, reader.lost) == (0, 1000 - 101)
    # Who goes on at the speed of sound is heard again.
    clock.now += 0.02
    assert reader.receive_frame(frame(1000, packet))
    assert reader.receive_frame(frame(1001, packet)) == b""


def test_frames_that_wait_in_the_network_are_late() -> None:
    clock = Clock()
    reader = FrameReader(8000, clock)

    def receive(position: int) -> float | None:
        reader.receive_frame(HEADER.pack(position // 160, position) + bytes(320))
        return reader.lateness()

    clock.now += 5.0
    assert reader.lateness() is None  # nothing came yet
    clock.now += 1.0
    assert receive(8000) == 0.0
    clock.now += 1.5
    assert receive(16000) == pytest.approx(0.48)
    # The queue empties, and nothing came but a second of silence.
    clock.now += 0.5
    assert receive(24000) == pytest.approx(0.0, abs=0.01)
    clock.now += 1.0
    assert reader.lateness() is None
    # A microphone that paused is not late.
    clock.now += 5.0
    assert receive(32000) == 0.0
    # One that stopped within a second is not for long.
    clock.now += 1.6
    late = [receive(40000)]
    for position in range(48000, 48000 + 30 * 8000, 8000):
        clock.now += 1.0
        late.append(receive(position))
    assert late[0] == pytest.approx(0.58)
    assert late[-1] == pytest.approx(0.0)
