"""Split the byte stream of TCP or TLS into messages (RFC 3261 section 18.3)."""

from __future__ import annotations

import re
from typing import Final

from spech.errors import RemoteProtocolError
from spech.sip.message.parser import HEAD_END, MAX_MESSAGE, content_length, parse_head

_PING: Final = b"\r\n\r\n"
_KEEPALIVES: Final = re.compile(rb"(?:\r\n\r\n|\0)*")


class StreamFramer:
    """Splits the bytes of one connection into messages; it reads heads as the parser does.

    ``pings`` counts the keepalives (CRLFCRLF between messages, RFC 5626 section 4.4.1) received so
    far; answer each with one CRLF. A single CRLF, the answer to our keepalive, is dropped.
    """

    def __init__(self) -> None:
        self.pings = 0
        self._buffer = bytearray()
        #: The position from which the search for the end of the head continues.
        self._searched = 0
        #: The length in bytes of the message in the buffer, once its head has been read.
        self._length: int | None = None
        self._failure: RemoteProtocolError | None = None

    def __len__(self) -> int:
        """The number of bytes that wait for the rest of their message."""
        return len(self._buffer)

    def receive_data(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completes, each as ``parser.parse`` takes it.

        Raises:
            RemoteProtocolError: when the end of a message cannot be determined: 400 for a
                malformed head or no Content-Length, 513 for a message that is too long. The
                messages before it are returned first, and the next call raises. Nothing more can
                be read from the connection: close it.
        """
        if self._failure is not None:
            raise self._failure
        self._buffer += data
        messages: list[bytes] = []
        try:
            while (message := self._next()) is not None:
                messages.append(message)
        except RemoteProtocolError as error:
            self._failure = error
            self._buffer.clear()
            if not messages:
                raise
        return messages

    def _next(self) -> bytes | None:
        if self._length is None:
            self._length = self._measure()
        if self._length is None or len(self._buffer) < self._length:
            return None
        message = bytes(self._buffer[: self._length])
        del self._buffer[: self._length]
        self._length = None
        self._searched = 0
        return message

    def _measure(self) -> int | None:
        if self._searched == 0 and not self._skip_keepalives():
            return None
        end = HEAD_END.search(self._buffer, self._searched)
        if end is None:
            if len(self._buffer) > MAX_MESSAGE:
                raise RemoteProtocolError("the head of the message is too long", 513)
            # The last two bytes may begin the empty line.
            self._searched = max(0, len(self._buffer) - 2)
            return None
        _, headers = parse_head(bytes(self._buffer[: end.start()]))
        length = content_length(headers)
        if length is None:
            raise RemoteProtocolError("Content-Length is missing in a message on a stream")
        if end.end() + length > MAX_MESSAGE:
            raise RemoteProtocolError(f"a message of {end.end() + length} bytes", 513)
        return end.end() + length

    def _skip_keepalives(self) -> bool:
        """Remove line ends and NULs before a message. Returns False while more of them may follow.

        Some phones send NULs as keepalives, which RFC 5626 4.4.1 does not define.
        """
        found = _KEEPALIVES.match(self._buffer)
        end = found.end() if found else 0
        self.pings += self._buffer.count(_PING, 0, end)
        del self._buffer[:end]
        if len(self._buffer) <= 3 and _PING.startswith(self._buffer):
            return False
        self._buffer = self._buffer.lstrip(b"\r\n\0")
        return bool(self._buffer)
