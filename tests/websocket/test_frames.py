"""Whole binary frames take the fast path, everything else goes through trio-websocket."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
import trio.testing
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    wrap_client_stream,
    wrap_server_stream,
)
from wsproto.events import BytesMessage

from spech.websocket.frames import FrameStream


@dataclass
class Pair:
    """Two ends of one WebSocket, both with frame streams."""

    client: WebSocketConnection
    server: WebSocketConnection
    client_frames: FrameStream
    server_frames: FrameStream


async def tcp_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    with trio.socket.socket() as listening:
        await listening.bind(("127.0.0.1", 0))
        listening.listen()
        one = await trio.open_tcp_stream(*listening.getsockname())
        other, _ = await listening.accept()
    return one, trio.SocketStream(other)


@asynccontextmanager
async def websocket_pair() -> AsyncIterator[Pair]:
    one, other = await tcp_pair()
    client_frames, server_frames = FrameStream(one, client=True), FrameStream(other, client=False)
    async with client_frames, server_frames, trio.open_nursery() as nursery:
        ends: dict[str, WebSocketConnection] = {}

        async def accept() -> None:
            request = await wrap_server_stream(nursery, server_frames)  # type: ignore[arg-type]
            ends["server"] = await request.accept()

        async def connect() -> None:
            ends["client"] = await wrap_client_stream(
                nursery,
                client_frames,  # type: ignore[arg-type]
                "localhost",
                "/",
            )

        async with trio.open_nursery() as opening:
            opening.start_soon(accept)
            opening.start_soon(connect)
        with trio.fail_after(5):
            yield Pair(ends["client"], ends["server"], client_frames, server_frames)
        nursery.cancel_scope.cancel()


async def poll_until(frames: FrameStream, received: list[bytes], count: int) -> None:
    with trio.fail_after(5):
        while len(received) < count:
            frames.poll()
            await trio.sleep(0.001)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 320, 1920, 65535])
async def test_frames_are_carried_in_both_directions(size: int) -> None:
    payload = bytes(range(256)) * (size // 256 + 1)
    payload = payload[:size]
    async with websocket_pair() as pair:
        at_server: list[bytes] = []
        at_client: list[bytes] = []
        with (
            pair.server_frames.polled(at_server.append),
            pair.client_frames.polled(at_client.append),
        ):
            assert pair.client_frames.send_frame(payload)
            await poll_until(pair.server_frames, at_server, 1)
            assert pair.server_frames.send_frame(payload)
            await poll_until(pair.client_frames, at_client, 1)
        assert at_server == at_client == [payload]


async def test_the_library_reads_our_frames() -> None:
    async with websocket_pair() as pair:
        pair.client_frames.send_frame(b"one")
        assert await pair.server.get_message() == b"one"
        pair.server_frames.send_frame(b"two")
        assert await pair.client.get_message() == b"two"


async def test_text_fragments_and_pings_are_left_to_the_library() -> None:
    async with websocket_pair() as pair:
        received: list[bytes] = []
        with pair.server_frames.polled(received.append):
            await pair.client.send_message("text")
            await pair.client._send(BytesMessage(b"frag", message_finished=False))
            await pair.client._send(BytesMessage(b"ment", message_finished=True))
            pair.client_frames.send_frame(b"whole")
            await poll_until(pair.server_frames, received, 1)
            assert await pair.server.get_message() == "text"
            assert await pair.server.get_message() == b"fragment"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pair.client.ping)
                await trio.testing.wait_all_tasks_blocked()
                pair.server_frames.poll()
        assert received == [b"whole"]


async def test_a_close_is_noticed_while_polled_and_afterwards() -> None:
    async with websocket_pair() as pair, trio.open_nursery() as nursery:
        with pair.server_frames.polled(lambda frame: None):
            nursery.start_soon(pair.client.aclose)
            await trio.testing.wait_all_tasks_blocked()
            pair.server_frames.poll()
            with pytest.raises(ConnectionClosed):
                await pair.server.get_message()
    async with websocket_pair() as pair, trio.open_nursery() as nursery:
        with pair.server_frames.polled(lambda frame: None):
            nursery.start_soon(pair.client.aclose)
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ConnectionClosed):
            await pair.server.get_message()


async def test_a_broken_connection_is_noticed() -> None:
    async with websocket_pair() as pair:
        with pair.server_frames.polled(lambda frame: None):
            await pair.client_frames.aclose()
            pair.server_frames.poll()
            with pytest.raises(ConnectionClosed):
                await pair.server.get_message()
            assert not pair.client_frames.send_frame(b"too late")


async def test_frames_are_dropped_if_the_peer_does_not_read() -> None:
    async with websocket_pair() as pair:
        pair.server_frames.keep_queue_short(4 * 320)
        sent = 0
        while pair.server_frames.send_frame(bytes(60_000)):
            sent += 1
            assert sent < 1000
        assert pair.server_frames.sent == sent
        assert pair.server_frames.dropped == 1
        received: list[bytes] = []
        # A partly sent frame is finished first, so the framing stays intact.
        with pair.client_frames.polled(received.append):
            while not pair.server_frames.send_frame(b"next"):
                pair.client_frames.poll()
            await poll_until(pair.client_frames, received, sent + 1)
        assert {len(frame) for frame in received[:-1]} == {60_000}
        assert received[-1] == b"next"


HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


@asynccontextmanager
async def client_end() -> AsyncIterator[tuple[FrameStream, socket.socket]]:
    """The client's end of a plain TCP connection, and the socket at the other end."""
    one, other = await tcp_pair()
    async with FrameStream(one, client=True) as frames, other:
        with socket.fromfd(other.socket.fileno(), socket.AF_INET, socket.SOCK_STREAM) as raw:
            yield frames, raw


async def feed(frames: FrameStream, raw: socket.socket, data: bytes, step: int) -> None:
    for start in range(0, len(data), step):
        raw.send(data[start : start + step])
        await trio.sleep(0.0005)
        frames.poll()


@pytest.mark.parametrize("step", [1, 7, 1000])
async def test_frames_may_arrive_in_pieces_of_any_size(step: int) -> None:
    async with client_end() as (frames, raw):
        received: list[bytes] = []
        long = bytes(300)
        ping, text = b"\x89\x01p", b"\x81\x04text"
        with frames.polled(received.append):
            data = HEAD + b"\x82\x03one" + ping + b"\x82\x7e\x01\x2c" + long + text + b"\x82\x00"
            await feed(frames, raw, data, step)
        assert received == [b"one", long, b""]
        assert await frames.receive_some() == HEAD + ping + text


@pytest.mark.parametrize(
    "frame",
    [
        b"\x82\x83\0\0\0\0one",  # a server that masks
        b"\xc2\x03one",  # an extension that was not negotiated
        b"\x02\x03one",  # the first of several fragments
        b"\x82\x7f" + bytes(6) + b"\x00\x03one",  # a length of 64 bits
    ],
)
async def test_other_frames_are_left_to_the_library(frame: bytes) -> None:
    async with client_end() as (frames, raw):
        received: list[bytes] = []
        with frames.polled(received.append):
            await feed(frames, raw, HEAD + frame, 1000)
        assert received == []
        assert await frames.receive_some() == HEAD + frame


async def test_a_refused_handshake_is_left_to_the_library() -> None:
    refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n\x82\x03one"
    async with client_end() as (frames, raw):
        received: list[bytes] = []
        with frames.polled(received.append):
            await feed(frames, raw, refusal, 1000)
        assert received == []
        assert await frames.receive_some() == refusal


async def test_a_head_without_end_does_not_grow_for_ever() -> None:
    async with client_end() as (frames, raw):
        with frames.polled(lambda frame: None):
            await feed(frames, raw, b"x" * 20_000, 5000)
        assert len(await frames.receive_some()) == 20_000


def plain(kind: int, payload: bytes, *, length: int | None = None) -> bytes:
    """A frame from a server, which masks nothing."""
    size = len(payload) if length is None else length
    if size < 126:
        return bytes((kind, size)) + payload
    if size < 1 << 16:
        return bytes((kind, 126)) + size.to_bytes(2) + payload
    return bytes((kind, 127)) + size.to_bytes(8) + payload


@asynccontextmanager
async def bare_client() -> AsyncIterator[tuple[FrameStream, trio.SocketStream]]:
    """A client after its handshake, and the bare stream at its other end."""
    one, other = await tcp_pair()
    async with FrameStream(one, client=True, largest=1 << 22) as frames, other:
        await other.send_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        await frames.receive_some()
        yield frames, other


async def poll_all(frames: FrameStream, polls: int = 20) -> None:
    for _ in range(polls):
        frames.poll()
        await trio.sleep(0.001)


async def test_text_and_sound_come_in_the_order_in_which_they_were_sent() -> None:
    received: list[object] = []
    async with bare_client() as (frames, other):
        with frames.polled(received.append, received.append):
            sent = b"".join(
                plain(0x82, b"%d" % number) + plain(0x81, "é%d".encode() % number)
                for number in range(20)
            )
            for start in range(0, len(sent), 7):
                await other.send_all(sent[start : start + 7])
                frames.poll()
            await poll_all(frames)
    assert received == [value for number in range(20) for value in (b"%d" % number, f"é{number}")]


@pytest.mark.parametrize("size", [65535, 65536, 1 << 20, 1 << 22])
async def test_large_messages_are_handed_on_whole(size: int) -> None:
    received: list[bytes] = []
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with bare_client() as (frames, other), trio.open_nursery() as nursery:
        with frames.polled(received.append, lambda text: None):
            nursery.start_soon(other.send_all, plain(0x82, payload) + plain(0x82, b"next"))
            await poll_until(frames, received, 2)
    assert received == [payload, b"next"]


async def test_a_flood_of_messages_waits_for_its_turn() -> None:
    received: list[bytes] = []
    async with bare_client() as (frames, other):
        with frames.polled(received.append, lambda text: None):
            await other.send_all(plain(0x82, b"x") * 1000)
            await trio.sleep(0.01)
            counts = []
            for _ in range(20):
                before = len(received)
                frames.poll()
                counts.append(len(received) - before)
    assert len(received) == 1000
    assert max(counts) == 64


@pytest.mark.parametrize(
    "frame",
    [
        plain(0x02, b"one") + plain(0x80, b"two"),  # a message in two fragments
        plain(0x81, b"\xff"),  # no UTF-8
        plain(0x82, b"one", length=(1 << 22) + 1),
        plain(0xC2, b"compressed"),
    ],
)
async def test_after_what_is_no_whole_frame_everything_is_left_to_the_library(
    frame: bytes,
) -> None:
    received: list[object] = []
    async with bare_client() as (frames, other):
        with frames.polled(received.append, received.append):
            await other.send_all(plain(0x82, b"first") + frame + plain(0x82, b"after"))
            await poll_all(frames)
            assert received == [b"first"]
            assert await frames.receive_some() == frame + plain(0x82, b"after")


async def test_what_waits_when_polling_ends_is_left_to_the_library() -> None:
    received: list[bytes] = []
    async with bare_client() as (frames, other):
        with frames.polled(received.append, lambda text: None):
            await other.send_all(plain(0x82, b"x") * 100 + plain(0x88, b"\x03\xe8"))
            await trio.sleep(0.01)
            frames.poll()
        rest = await frames.receive_some()
    assert len(received) == 64
    assert rest == plain(0x82, b"x") * 36 + plain(0x88, b"\x03\xe8")


async def test_text_of_any_length_is_sent_whole() -> None:
    texts = ["é", "x" * 126, "y" * 70_000]
    async with websocket_pair() as pair:
        for text in texts:
            assert pair.client_frames.send_text(text)
            assert await pair.server.get_message() == text


async def test_after_the_close_nothing_is_sent() -> None:
    async with bare_client() as (frames, other):
        assert frames.send_frame(b"sound")
        await frames.send_all(plain(0x88, b"\x03\xe8"))
        assert not frames.send_frame(b"late")
        assert not frames.send_text("late")
        with frames.polled(lambda frame: None, lambda text: None):
            await other.send_all(plain(0x89, b"") + plain(0x88, b"\x03\xe8"))
            await poll_all(frames)
            # The ping is not handed on: its pong would come after the close.
            assert await frames.receive_some() == plain(0x88, b"\x03\xe8")
