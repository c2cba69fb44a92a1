"""What the tests of streams share."""

from __future__ import annotations

import errno
from typing import Any

Address = tuple[str, int]


class FakeSocket:
    """A UDP socket in which datagrams wait; keeps what is sent, and to whom."""

    def __init__(self) -> None:
        self.waiting: list[tuple[bytes, Address]] = []
        self.sent: list[bytes] = []
        self.to: list[Address] = []

    def recvmsg_into(self, buffers: list[bytearray], _: int) -> tuple[Any, ...]:
        if not self.waiting:
            raise BlockingIOError(errno.EAGAIN, "nothing waits")
        data, source = self.waiting.pop(0)
        buffers[0][: len(data)] = data
        return len(data), [], 0, source

    def sendto(self, data: bytes, destination: Address) -> None:
        self.sent.append(data)
        self.to.append(destination)
