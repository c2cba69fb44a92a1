"""Tickets and frames, without a socket."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spech.web.audio import HEADER, TICKET_SECONDS, TICKETS_KEPT, FrameReader, Grant, Tickets
from spech.web.sessions import PageSession
from spech.web.switchboard import Switchboard


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
    reader = FrameReader(16000)
    for sequence, samples in enumerate([1, 320, 319, 1600]):
        assert reader.receive_frame(frame(sequence, b"ab" * samples)) == b"ab" * samples
    assert reader.bad == 0


def test_gaps_and_wrapping_of_the_sequence_are_accepted() -> None:
    reader = FrameReader(8000)
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
    reader = FrameReader(8000)
    assert reader.receive_frame(frame(6)) is not None
    assert reader.receive_frame(nonsense) is None
    assert reader.bad == 1
    assert reader.receive_frame(frame(7)) is not None


@given(st.lists(st.binary(max_size=200) | st.text(max_size=20)))
def test_any_frame_is_accepted_or_dropped(frames: list[bytes | str]) -> None:
    reader = FrameReader(8000)
    for each in frames:
        reader.receive_frame(each)
