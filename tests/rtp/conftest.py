"""Helpers for tests of streams."""

from __future__ import annotations

import errno
import struct
import subprocess
from pathlib import Path
from typing import Any

Address = tuple[str, int]


class FakeSocket:
    """A UDP socket in which datagrams wait; keeps what is sent, and to whom."""

    def __init__(self) -> None:
        self.waiting: list[tuple[bytes, Address]] = []
        self.sent: list[bytes] = []
        self.to: list[Address] = []

    def recvmsg(self, size: int, _: int) -> tuple[Any, ...]:
        if not self.waiting:
            raise BlockingIOError(errno.EAGAIN, "nothing waits")
        data, source = self.waiting.pop(0)
        return data[:size], [], 0, source

    def sendto(self, data: bytes, destination: Address) -> None:
        self.sent.append(data)
        self.to.append(destination)


def decode(folder: Path, datagrams: list[tuple[int, bytes]]) -> str:
    """What tshark reads in datagrams: RTP at port 31000, RTCP at 31001."""
    capture = folder / "call.pcap"
    with capture.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))
        for port, data in datagrams:
            udp = struct.pack("!HHHH", port, port, 8 + len(data), 0) + data
            loopback = 0x7F000001
            header = struct.pack(
                "!HHIHHII", 0x4500, 20 + len(udp), 0, 0x4011, 0, loopback, loopback
            )
            file.write(struct.pack("<IIII", 0, 0, 20 + len(udp), 20 + len(udp)) + header + udp)
    arguments = ["-d", "udp.port==31000,rtp", "-d", "udp.port==31001,rtcp"]
    return subprocess.run(
        ["tshark", "-r", str(capture), "-V", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
