"""A fast path for sound through a WebSocket: whole frames bypass trio-websocket.

A frame of sound is 20 ms: 50 frames a second in each direction of each call. The work of a general
WebSocket library for each (events, locks, task switches) costs more than the rest of the call.
:class:`FrameStream` stands between trio-websocket and the TCP or TLS connection. trio-websocket
keeps the handshake, pings, fragmented messages and the close; single binary frames, and text frames
where they are asked for (RFC 6455 5.2), are built and read here, by plain functions that the media
clock's tick calls and that never wait.

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
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Self

import trio

from spech.websocket.tls import NOT_NOW, SecureStream

#: Bytes taken at one poll: more than a peer may send in 20 ms, so the rest waits in TCP.
_CHUNK: Final = 16384
#: Bytes taken at one poll of a message that is longer than that.
_LARGE_CHUNK: Final = 1 << 18
#: Messages taken at one poll: a peer that sends more waits, and the other calls do not.
_MOST_MESSAGES: Final = 64
_LARGEST_HEAD: Final = 16384
_LARGEST_FRAME: Final = 65535
#: FIN and the opcode in the first byte, no extension bits.
_WHOLE_BINARY: Final = 0x82
_WHOLE_TEXT: Final = 0x81
_CLOSE: Final = 0x88
_PING: Final = 0x89
#: The bit of an opcode that control frames have.
_CONTROL: Final = 0x08
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


class FrameStream:
    """A stream for trio-websocket that handles whole frames itself.

    It has the methods of a :class:`trio.abc.Stream`. It does not inherit from that, because a
    compiled class can only inherit from compiled ones.

    Args:
        stream: the TCP stream or TLS connection. It belongs to this object from now on.
        client: which end of the WebSocket we are; clients mask what they send (RFC 6455 5.3).
        largest: bytes of the longest frame that is handled here; trio-websocket judges others.
        received: what has already been read from the stream.

    Attributes:
        sent: frames that the kernel accepted.
        dropped: frames that it did not accept, because the peer does not read.
    """

    def __init__(
        self,
        stream: trio.SocketStream | SecureStream,
        *,
        client: bool,
        largest: int = _LARGEST_FRAME,
        received: bytes = b"",
    ) -> None:
        self.sent = 0
        self.dropped = 0
        self._stream = stream
        self._tls = stream if isinstance(stream, SecureStream) else None
        self._descriptor = stream.socket.fileno()
        self._client = client
        self._largest = largest
        self._stage = _Stage.HANDSHAKE
        self._left = bytearray()
        #: Bytes that ``_left`` must have before another frame can be taken from it.
        self._needed = 0
        self._backlog = False
        self._passed = bytearray()
        self._on_frame: Callable[[bytes], object] | None = None
        self._on_text: Callable[[str], object] | None = None
        self._polled = False
        self._news = trio.lowlevel.ParkingLot()
        self._reading = trio.CancelScope()
        self._rest = b""
        self._writing = False
        self._closing = False
        self._ended = False
        self._closed = False
        self._masks = b""
        if received:
            self._take(received)

    def keep_queue_short(self, unsent: int) -> None:
        """Let about ``unsent`` bytes wait in the kernel. When a peer does not read, frames are
        then dropped and counted here, instead of adding delay there."""
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            self._stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent)

    # ------------------------------------------------------------------ sound, without waiting

    @contextmanager
    def polled(
        self,
        on_frame: Callable[[bytes], object],
        on_text: Callable[[str], object] | None = None,
    ) -> Iterator[None]:
        """While the block runs, only :meth:`poll` reads.

        Args:
            on_frame: called by ``poll`` with the payload of each whole binary frame.
            on_text: called with that of each whole text frame, in order with the others. After the
                first fragmented message, everything goes to trio-websocket, so that the order is
                kept. None leaves text to trio-websocket.
        """
        self._on_frame, self._on_text, self._polled = on_frame, on_text, True
        self._reading.cancel()
        try:
            yield
        finally:
            self._on_frame, self._on_text, self._polled = None, None, False
            self._take(b"")
            self._news.unpark_all()

    def poll(self) -> None:
        """Read what has arrived. Never waits and never raises; trio-websocket sees the end."""
        if self._ended or self._closed:
            return
        if self._backlog:
            self._take(b"")
        else:
            missing = self._needed - len(self._left) if self._left else 0
            try:
                size = _CHUNK if missing <= _CHUNK else min(missing, _LARGE_CHUNK)
                tls = self._tls
                data = os.read(self._descriptor, size) if tls is None else tls.receive_now(size)
            except NOT_NOW:
                return
            except OSError:
                data = b""
            if data and self._stage is _Stage.FRAMES and not self._left:
                self._take_frames(data)
            elif data:
                self._take(data)
            else:
                self._ended = True
        if self._ended or self._passed:
            self._news.unpark_all()

    def send_frame(self, payload: bytes, kind: int = _WHOLE_BINARY) -> bool:
        """Send one binary message, or drop it. Never waits, never raises.

        After a Close, nothing is sent any more (RFC 6455 5.5.1).
        """
        if (
            self._writing
            or self._closing
            or self._closed
            or (self._rest and not self._write_rest())
        ):
            self.dropped += 1
            return False
        frame = self._frame(payload, kind)
        written = self._write(frame)
        if not written and not self._rest:
            self.dropped += 1
            return False
        if written < len(frame):
            self._rest = frame[written:]
        self.sent += 1
        return True

    def send_text(self, text: str) -> bool:
        """Send one text message, or drop it, as :meth:`send_frame`."""
        return self.send_frame(text.encode(), _WHOLE_TEXT)

    def _write_rest(self) -> bool:
        """Finish a partly sent frame. False if that is not possible yet."""
        self._rest = self._rest[self._write(self._rest) :]
        return not self._rest

    def _write(self, data: bytes) -> int:
        try:
            if self._tls is None:
                return os.write(self._descriptor, data)
            return self._tls.socket.send(data)
        except ssl.SSLWantWriteError:
            # TLS has begun to send this, and has to be given the same bytes again.
            self._rest = data
            return 0
        except OSError:
            return 0  # The buffer is full, or the connection broke, which a read reports as well.

    def _frame(self, payload: bytes, kind: int) -> bytes:
        """Build a frame (RFC 6455 5.2)."""
        size = len(payload)
        bit = _MASKED if self._client else 0
        if size < _LENGTH_16:
            head = bytes((kind, bit | size))
        elif size < 1 << 16:
            head = bytes((kind, bit | _LENGTH_16, size >> 8, size & 0xFF))
        else:
            head = bytes((kind, bit | _LENGTH_64)) + size.to_bytes(8)
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
            self._left += data
            if len(self._left) < self._needed:
                return
            data = bytes(self._left)
            self._left.clear()
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
            self._left += data
            return b""
        accepted = not self._client or data[:12] == b"HTTP/1.1 101"
        self._stage = _Stage.FRAMES if accepted else _Stage.ALL_PASSED
        self._passed += data[:end]
        return data[end:]

    def _take_frames(self, data: bytes) -> None:
        position, size = 0, len(data)
        messages = self._needed = 0
        self._backlog = False
        while size - position >= 2:
            length = data[position + 1] & ~_MASKED
            start = position + 2
            if length == _LENGTH_16:
                start += 2
                length = int.from_bytes(data[position + 2 : start])
            elif length == _LENGTH_64:
                start += 8
                length = int.from_bytes(data[position + 2 : start])
                # A short frame has a short length (RFC 6455 5.2).
                if size >= start and not _LARGEST_FRAME < length <= self._largest:
                    self._pass_all(data[position:])
                    return
            masked = data[position + 1] & _MASKED
            if masked:
                start += 4
            end = start + length
            if end > size:
                self._needed = end - position if size >= start else start - position
                break
            kind = data[position]
            # RFC 6455 5.1: clients mask and servers do not. trio-websocket refuses the others.
            fits = self._client is not bool(masked)
            if kind == _WHOLE_BINARY and fits and self._on_frame is not None:
                if messages == _MOST_MESSAGES:
                    self._backlog = True
                    break
                messages += 1
                payload = data[start:end]
                self._on_frame(_mask(payload, data[start - 4 : start]) if masked else payload)
            elif kind & _CONTROL or self._on_text is None:
                # After our Close nothing may be sent, so no pong either (RFC 6455 5.5.1).
                if kind != _PING or not self._closing:
                    self._passed += data[position:end]
            elif kind == _WHOLE_TEXT and fits:
                if messages == _MOST_MESSAGES:
                    self._backlog = True
                    break
                messages += 1
                payload = data[start:end]
                try:
                    text = (_mask(payload, data[start - 4 : start]) if masked else payload).decode()
                except UnicodeDecodeError:
                    self._pass_all(data[position:])  # trio-websocket closes it with 1007.
                    return
                self._on_text(text)
            else:
                self._pass_all(data[position:])
                return
            position = end
        if position < size:
            self._left += data[position:]

    def _pass_all(self, data: bytes) -> None:
        """Leave these bytes and all that follow to trio-websocket."""
        self._stage = _Stage.ALL_PASSED
        self._passed += data

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
            if self._tls is not None and self._tls.socket.pending():
                self.poll()
                continue
            with trio.CancelScope() as self._reading:
                await trio.lowlevel.wait_readable(self._descriptor)
                self.poll()
        taken = bytes(self._passed[:max_bytes])
        del self._passed[: len(taken)]
        return taken

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, after the rest of a partly sent frame."""
        await trio.lowlevel.checkpoint()
        if data[0] == _CLOSE:
            self._closing = True
        rest = self._rest + bytes(data)
        self._rest = b""
        rest = rest[self._write(rest) :]
        self._rest = b""
        if not rest:
            return
        self._writing = True
        await self._stream.send_all(rest)
        # Not in a finally block: a task that is cancelled within a frame has broken the stream.
        self._writing = False

    async def wait_send_all_might_not_block(self) -> None:
        """See :class:`trio.abc.SendStream`."""
        await trio.lowlevel.wait_writable(self._descriptor)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection. Pending reads raise :class:`trio.ClosedResourceError`."""
        self._closed = True
        self._news.unpark_all()
        await self._stream.aclose()


def _mask(payload: bytes, mask: bytes) -> bytes:
    """XOR with the repeated mask, in one operation on long integers (RFC 6455 5.3)."""
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    mixed = int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")
    return mixed.to_bytes(size, "little")
