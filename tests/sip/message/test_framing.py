"""Framing of messages in a stream, independent of chunk boundaries."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spech.errors import RemoteProtocolError
from spech.sip.message.framing import StreamFramer
from spech.sip.message.parser import MAX_HEADERS, MAX_MESSAGE, parse

PROPERTY = settings(deadline=None, derandomize=True, database=None)

PING = b"\r\n\r\n"
PONG = b"\r\n"
SHORT = b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 0\r\n\r\n"
LONG = b"MESSAGE sip:x SIP/2.0\r\nVia: SIP/2.0/TCP h\r\nl:\r\n 11\r\n\r\nhi\r\n\r\nthere"
BARE = b"SIP/2.0 200 OK\nContent-Length : 3\n\nabc"


def feed(chunks: list[bytes]) -> tuple[list[bytes], int]:
    framer = StreamFramer()
    messages = [message for chunk in chunks for message in framer.receive_data(chunk)]
    return messages, framer.pings


def test_one_message_is_framed() -> None:
    for message in (SHORT, LONG, BARE):
        assert feed([message]) == ([message], 0)
        parse(message)


def test_several_messages_in_one_chunk_are_framed() -> None:
    assert feed([SHORT + LONG + BARE + SHORT]) == ([SHORT, LONG, BARE, SHORT], 0)


def test_messages_may_arrive_byte_by_byte() -> None:
    stream = PING + SHORT + PONG + LONG + PING + PING + BARE + PONG + SHORT
    chunks = [stream[index : index + 1] for index in range(len(stream))]
    assert feed(chunks) == ([SHORT, LONG, BARE, SHORT], 3)


@pytest.mark.parametrize(
    ("stream", "pings"),
    [
        (b"", 0),
        (PONG, 0),
        (PING, 1),
        (PING + PONG, 1),
        (PING * 5, 5),
        (PONG + SHORT, 0),
        (PING + SHORT, 1),
        (SHORT + PING, 1),
        (SHORT + PONG + SHORT + PONG, 0),
        (PING + PONG + SHORT + PING, 2),
        (b"\n" + SHORT, 0),
        # NULs are keepalives, too.
        (b"\0" + SHORT, 0),
        (SHORT + b"\0\0\0\0" + SHORT, 0),
        (PING + b"\0" + PING + SHORT, 2),
        (PONG + b"\0" + SHORT + b"\0" * 70_000 + SHORT, 0),
    ],
)
def test_keepalives_are_recognized(stream: bytes, pings: int) -> None:
    messages, counted = feed([stream])
    assert counted == pings
    assert messages == [SHORT] * stream.count(SHORT)


def test_an_unfinished_message_waits() -> None:
    framer = StreamFramer()
    assert framer.receive_data(LONG[:-1]) == []
    assert framer.receive_data(b"") == []
    assert framer.receive_data(LONG[-1:] + SHORT[:4]) == [LONG]
    assert framer.receive_data(SHORT[4:]) == [SHORT]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"OPTIONS sip:x SIP/2.0\r\n\r\n", 400),
        (b"OPTIONS sip:x SIP/2.0\r\nl: x\r\n\r\n", 400),
        (b"OPTIONS sip:x SIP/2.0\r\nl: -1\r\n\r\n", 400),
        (b"OPTIONS sip:x SIP/2.0\r\nl: 1\r\nl: 2\r\n\r\n12", 400),
        (b"OPTIONS sip:x SIP/2.0\r\nno colon\r\n\r\n", 400),
        (b"OPTIONS sip:x SIP/2.0\r\n" + b"a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n", 513),
        (b"OPTIONS sip:x SIP/2.0\r\nl: 65535\r\n\r\n", 513),
        (b"OPTIONS sip:x SIP/2.0\r\nl: 4294967295\r\n\r\n", 513),
        (b"x" * (MAX_MESSAGE + 1), 513),
        (b"OPTIONS sip:x SIP/2.0\r\n" + b"a: b\r\n" * 20_000, 513),
    ],
)
def test_a_stream_without_boundaries_fails(data: bytes, status: int) -> None:
    framer = StreamFramer()
    with pytest.raises(RemoteProtocolError) as caught:
        framer.receive_data(data)
    assert caught.value.status == status
    with pytest.raises(RemoteProtocolError):
        framer.receive_data(SHORT)


def test_messages_before_a_failure_are_returned_first() -> None:
    framer = StreamFramer()
    assert framer.receive_data(SHORT + LONG + b"nonsense\r\n\r\n" + SHORT) == [SHORT, LONG]
    with pytest.raises(RemoteProtocolError):
        framer.receive_data(b"")


def test_messages_up_to_the_limit_are_accepted() -> None:
    head = b"MESSAGE sip:x SIP/2.0\r\nContent-Length: 65000\r\n\r\n"
    message = head + b"x" * 65000
    assert feed([message[:40_000], message[40_000:]]) == ([message], 0)


PIECES = st.lists(st.sampled_from([SHORT, LONG, BARE, PING]), max_size=6)


@PROPERTY
@given(PIECES, st.lists(st.integers(1, 40), max_size=40))
def test_chunk_boundaries_do_not_matter(pieces: list[bytes], lengths: list[int]) -> None:
    stream = b"".join(pieces)
    chunks = []
    position = 0
    for length in lengths:
        chunks.append(stream[position : position + length])
        position += length
    chunks.append(stream[position:])
    expected = [piece for piece in pieces if piece != PING]
    assert feed(chunks) == feed([stream]) == (expected, pieces.count(PING))


@PROPERTY
@given(st.lists(st.binary(max_size=40) | st.sampled_from([SHORT, PING, b"l: 3\r\n\r\n"])))
def test_any_stream_raises_remote_errors_only(chunks: list[bytes]) -> None:
    framer = StreamFramer()
    failed = False
    for chunk in chunks:
        try:
            framer.receive_data(chunk)
        except RemoteProtocolError:
            failed = True
        else:
            assert not failed
