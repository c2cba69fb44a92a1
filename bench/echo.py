"""A WebSocket server that sends all sound back: the other end of both bridges.

Sound is in binary messages, or in JSON whose event is "media".

It uses little CPU, so that two cores are left for the measured programs: one thread, epoll, no
library. It reads only what the bridges send: single frames of up to 65535 bytes.

    python bench/echo.py PORT
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import selectors
import socket
import sys

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MEDIA = b'{"event":"media"'
_PLIVO = b'{"event":"playAudio","media":{"contentType":"audio/x-mulaw","sampleRate":8000,"payload":'
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x1, 0x2, 0x8, 0x9, 0xA


class Connection:
    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._waiting = b""
        self._open = False

    def receive(self) -> bool:
        """Answer what has arrived; False when the connection is over."""
        data = self.socket.recv(65536)
        if not data:
            return False
        data = self._waiting + data
        if not self._open:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._waiting = head
                return True
            self.socket.sendall(accept(head))
            self._open = True
        return self._answer(data)

    def _answer(self, data: bytes) -> bool:
        position = 0
        while len(data) - position >= 6:
            length = data[position + 1] & 0x7F
            start = position + 6
            if length == 126:
                length = int.from_bytes(data[position + 2 : position + 4])
                start += 2
            end = start + length
            if end > len(data):
                break
            kind = data[position] & 0x0F
            payload = _unmask(data[start:end], data[start - 4 : start])
            position = end
            if kind == _TEXT and payload.startswith(b"MEDIA_START"):
                # Asterisk leaves it to its peer when the call is answered (option n).
                self._send(_TEXT, b"ANSWER")
            elif kind == _BINARY:
                self._send(_BINARY, payload)
            elif kind == _TEXT and payload.startswith(_MEDIA):
                self._send(_TEXT, _played(payload))
            elif kind == _PING:
                self._send(_PONG, payload)
            elif kind == _CLOSE:
                self._send(_CLOSE, payload)
                return False
        self._waiting = data[position:]
        return True

    def _send(self, kind: int, payload: bytes) -> None:
        size = len(payload)
        length = bytes((size,)) if size < 126 else bytes((126, size >> 8, size & 0xFF))
        head = bytes((0x80 | kind,)) + length
        self.socket.send(head + payload)


def _played(heard: bytes) -> bytes:
    """A message of sound as one that plays it. Plivo's has another name and tells its format."""
    if b'"streamId"' not in heard:
        return heard
    _, _, sound = heard.partition(b'"payload":')
    return _PLIVO + sound


def accept(head: bytes) -> bytes:
    key = re.search(rb"(?im)^sec-websocket-key:\s*(\S+)", head)
    assert key is not None
    answer = base64.b64encode(hashlib.sha1(key[1] + _GUID).digest())
    lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
    lines.append(b"Sec-WebSocket-Accept: " + answer)
    if protocol := re.search(rb"(?im)^sec-websocket-protocol:\s*([^,\s]+)", head):
        lines.append(b"Sec-WebSocket-Protocol: " + protocol[1])
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _unmask(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    mixed = int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")
    return mixed.to_bytes(size, "little")


def main() -> None:
    selector = selectors.DefaultSelector()
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=200) as listening:
        selector.register(listening, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    connected, _ = listening.accept()
                    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(connected, selectors.EVENT_READ, Connection(connected))
                    continue
                alive = False
                with contextlib.suppress(OSError):
                    alive = key.data.receive()
                if not alive:
                    selector.unregister(key.data.socket)
                    key.data.socket.close()


if __name__ == "__main__":
    main()
