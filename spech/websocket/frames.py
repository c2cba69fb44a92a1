"""A fast path for sound through a WebSocket: whole binary frames bypass trio-websocket.

A frame of sound is 20 ms: 50 frames a second in each direction of each call. The work of a general
WebSocket library for each (events, locks, task switches) costs more than the rest of the call.
:class:`FrameStream` stands between trio-websocket and the TCP stream. trio-websocket keeps the
handshake, pings, text, fragmented messages and the close; single binary frames (RFC 6455 5.2) are
built and read here, by plain functions that the media clock's tick calls and that never wait.

    frames = FrameStream(await trio.open_tcp_stream(host, port), client=True)
    connection = await trio_websocket.wrap_client_stream(nursery, frames, host, "/")
    with frames.polled(on_frame):
        ...each tick: frames.poll(); frames.send_frame(pcm)...
    await connection.aclose()
"""

from __future__ import annotations

import enum
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

#: Bytes taken at one poll: more than a peer may send in 20 ms, so the rest waits in TCP.
_CHUNK: Final = 16384
_LARGEST_HEAD: Final = 16384
#: FIN and "binary" in the first byte, no extension bits.
_WHOLE_BINARY: Final = 0x82
_MASKED: Final = 0x80
_LENGTH_16: Final = 126
_LENGTH_64: Final = 127
_MASKS: Final = 256


class _Stage(enum.Enum):
    #: The HTTP head is not complete.
    HANDSHAKE = enum.auto()
    #: WebSocket frames follow the head.
    FRAMES = enum.auto()
    #: Not a WebSocket, or frames that are too large: trio-websocket gets every byte.
    ALL_PASSED = enum.auto()


class FrameStream(trio.abc.Stream):
    """A stream for trio-websocket that handles whole binary frames itself.

    Args:
        stream: the TCP stream. It belongs to this object from now on.
        client: which end of the WebSocket we are; clients mask what they send (RFC 6455 5.3).

    Attributes:
        sent: frames that the kernel accepted.
        dropped: frames that it did not accept, because the peer does not read.
    """

    def __init__(self, stream: trio.SocketStream, *, client: bool) -> None:
        self.sent = 0
        self.dropped = 0
        self._stream = stream
        self._descriptor = stream.socket.fileno()
        self._client = client
        self._stage = _Stage.HANDSHAKE
        self._left = b""
        self._passed = bytearray()
        self._on_frame: Callable[[bytes], None] | None = None
        self._polled = False
        self._news = trio.lowlevel.ParkingLot()
        self._reading = trio.CancelScope()
        self._rest = b""
        self._writing = False
        self._ended = False
        self._closed = False
        self._masks = b""

    def keep_queue_short(self, unsent: int) -> None:
        """Let about ``unsent`` bytes wait in the kernel. When a peer does not read, frames are
        then dropped and counted here, instead of adding delay there."""
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            self._stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent)

    # ------------------------------------------------------------------ sound, without waiting

    @contextmanager
    def polled(self, on_frame: Callable[[bytes], None]) -> Iterator[None]:
        """While the block runs, only :meth:`poll` reads.

        Args:
            on_frame: called by ``poll`` with the payload of each whole binary frame.
        """
        self._on_frame, self._polled = on_frame, True
        self._reading.cancel()
        try:
            yield
        finally:
            self._on_frame, self._polled = None, False
            self._news.unpark_all()

    def poll(self) -> None:
        """Read what has arrived. Never waits and never raises; trio-websocket sees the end."""
        if self._ended or self._closed:
            return
        try:
            data = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._take(data)
        else:
            self._ended = True
        if self._ended or self._passed:
            self._news.unpark_all()

    def send_frame(self, payload: bytes) -> bool:
        """Send one binary message of up to 65535 bytes, or drop it. Never waits, never raises."""
        if self._writing or self._closed or not self._write_rest():
            self.dropped += 1
            return False
        frame = self._frame(payload)
        written = self._write(frame)
        if not written:
            self.dropped += 1
            return False
        if written < len(frame):
            self._rest = frame[written:]
        self.sent += 1
        return True

    def _write_rest(self) -> bool:
        """Finish a partly sent frame. False if that is not possible yet."""
        if self._rest:
            self._rest = self._rest[self._write(self._rest) :]
        return not self._rest

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except OSError:
            return 0  # The buffer is full, or the connection broke, which a read reports as well.

    def _frame(self, payload: bytes) -> bytes:
        """Build a frame (RFC 6455 5.2)."""
        size = len(payload)
        bit = _MASKED if self._client else 0
        if size < _LENGTH_16:
            head = bytes((_WHOLE_BINARY, bit | size))
        else:
            head = bytes((_WHOLE_BINARY, bit | _LENGTH_16, size >> 8, size & 0xFF))
        if not self._client:
            return head + payload
        if not self._masks:
            # Masks must be unpredictable (RFC 6455 10.3). One system call fetches many.
            self._masks = os.urandom(4 * _MASKS)
        mask, self._masks = self._masks[:4], self._masks[4:]
        return head + mask + _mask(payload, mask)

    # ------------------------------------------------------------------ taking apart what comes

    def _take(self, data: bytes) -> None:
        if self._left:
            data = self._left + data
            self._left = b""
        if self._stage is _Stage.HANDSHAKE:
            data = self._take_head(data)
        if self._stage is _Stage.FRAMES:
            self._take_frames(data)
        elif self._stage is _Stage.ALL_PASSED:
            self._passed += data

    def _take_head(self, data: bytes) -> bytes:
        """Pass the HTTP head on once it is complete, and return the bytes after it."""
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            if len(data) > _LARGEST_HEAD:
                self._stage = _Stage.ALL_PASSED
                return data
            self._left = data
            return b""
        accepted = not self._client or data[:12] == b"HTTP/1.1 101"
        self._stage = _Stage.FRAMES if accepted else _Stage.ALL_PASSED
        self._passed += data[:end]
        return data[end:]

    def _take_frames(self, data: bytes) -> None:
        position, size = 0, len(data)
        while size - position >= 2:
            length = data[position + 1] & ~_MASKED
            start = position + 2
            if length == _LENGTH_16:
                start += 2
                length = int.from_bytes(data[position + 2 : start])
            elif length == _LENGTH_64:
                # Larger than any frame of sound; trio-websocket has its own limit.
                self._stage = _Stage.ALL_PASSED
                self._passed += data[position:]
                return
            masked = data[position + 1] & _MASKED
            if masked:
                start += 4
            end = start + length
            if end > size:
                break
            # RFC 6455 5.1: clients mask and servers do not. trio-websocket refuses the others.
            fits = self._client is not bool(masked)
            if data[position] == _WHOLE_BINARY and fits and self._on_frame is not None:
                payload = data[start:end]
                self._on_frame(_mask(payload, data[start - 4 : start]) if masked else payload)
            else:
                self._passed += data[position:end]
            position = end
        self._left = data[position:]

    # ------------------------------------------------------------------ what trio-websocket uses

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Bytes that this class does not handle itself; b"" at the end of the stream."""
        await trio.lowlevel.checkpoint()
        while not self._passed and not self._ended:
            if self._closed:
                raise trio.ClosedResourceError
            if self._polled:
                await self._news.park()
                continue
            with trio.CancelScope() as self._reading:
                await trio.lowlevel.wait_readable(self._descriptor)
                self.poll()
        taken = bytes(self._passed[:max_bytes])
        del self._passed[: len(taken)]
        return taken

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, after the rest of a partly sent frame."""
        self._writing = True
        if self._rest:
            await self._stream.send_all(self._rest)
            self._rest = b""
        await self._stream.send_all(data)
        # Not in a finally block: a task that is cancelled within a frame has broken the stream.
        self._writing = False

    async def wait_send_all_might_not_block(self) -> None:
        """See :class:`trio.abc.SendStream`."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the TCP stream. Pending reads raise :class:`trio.ClosedResourceError`."""
        self._closed = True
        self._news.unpark_all()
        await self._stream.aclose()


def _mask(payload: bytes, mask: bytes) -> bytes:
    """XOR with the repeated mask, in one operation on long integers (RFC 6455 5.3)."""
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    mixed = int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")
    return mixed.to_bytes(size, "little")
