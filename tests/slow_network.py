"""A slow network between browser and server: a relay that carries so many bytes a second.

And how a page is told what to make of it.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from urllib.parse import urlsplit

#: What the relay reads at once, and what the system keeps for it: a queue as in a modem.
_CHUNK = 1024
_QUEUE = 16384
#: Bytes of a packet, as on Ethernet. Those of loopback, up to 64 KB, do not fit into so short a
#: queue: the system drops what it should queue, and a connection may stall for many seconds.
_PACKET = 1448
#: Seconds by which a thread may wake too late without making the network slower.
_CATCH_UP = 0.3

#: Has the page use the format that the test wants.
CHOOSE_FORMAT = """async () => {
  const { $modules } = await import(document.querySelector("script[type=module]").src);
  const { Network } = $modules["sound/network.js"];
  Network.prototype.note = () => window.wanted ?? "pcm";
}"""


class Bottleneck:
    """Carries the connections to a server, all together, either way as fast as it is set.

    Args:
        url: the server's address.

    Attributes:
        url: the address for browsers.
        bytes_per_second: either way; None for no limit.
    """

    def __init__(self, url: str) -> None:
        server = urlsplit(url)
        assert server.hostname is not None
        self._server = (server.hostname, server.port)
        self._listener = _socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self._sockets = [self._listener]
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self.bytes_per_second: int | None = None

    def __enter__(self) -> Bottleneck:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        up, down = _Line(), _Line()
        with suppress(OSError):
            while True:
                browser, _ = self._listener.accept()
                server = _socket()
                server.connect(self._server)
                self._sockets += [browser, server]
                for source, target, line in [(browser, server, up), (server, browser, down)]:
                    arguments = (source, target, line)
                    threading.Thread(target=self._carry, args=arguments, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, line: _Line) -> None:
        with suppress(OSError):
            target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := source.recv(_CHUNK):
                line.pass_on(len(data), self.bytes_per_second)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def _socket() -> socket.socket:
    """A socket that queues little of what it receives. Accepted connections inherit that."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _QUEUE)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _PACKET)
    return made


class _Line:
    """One direction: one packet after the other, whatever connection it belongs to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free_at = 0.0

    def pass_on(self, size: int, bytes_per_second: int | None) -> None:
        """Wait until a packet of that size has passed."""
        if bytes_per_second is not None:
            with self._lock:
                begin = max(time.monotonic() - _CATCH_UP, self._free_at)
                end = self._free_at = begin + size / bytes_per_second
            time.sleep(max(0.0, end - time.monotonic()))
