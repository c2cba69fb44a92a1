"""The cost of a conference: CPU per member and tick of 20 ms, compared with separate calls.

    python bench/conference.py [members]

Lists replace the sockets, so that the kernel's part is not measured. The codec is G.711; in the
last row a third of the members use G.722.
"""

from __future__ import annotations

import random
import sys
import time
from contextlib import ExitStack
from typing import Any

import trio

from spech.agreement import Agreed
from spech.audio.room import Room
from spech.audio.tones import tone
from spech.media.engine import Media
from spech.rtp.ports import PortPair

TICKS = 500


class Echo:
    """A UDP socket whose peer sends everything back."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []

    def sendto(self, datagram: bytes, _: object) -> int:
        self.waiting.append(datagram)
        return len(datagram)

    def recvmsg_into(self, buffers: list[bytearray], _: int) -> tuple[int, list[Any], int, object]:
        if not self.waiting:
            raise BlockingIOError
        datagram = self.waiting.pop(0)
        buffers[0][: len(datagram)] = datagram
        return len(datagram), [], 0, ("10.0.0.2", 30000)


async def main(members: int) -> None:
    print(f"{members} members, µs of CPU per member and tick")
    for name, together, codecs in (
        ("alone", False, ("PCMU",)),
        ("together", True, ("PCMU",)),
        ("a third in G.722", True, ("PCMU", "PCMU", "G722")),
    ):
        print(f"{name:20} {measure(members, together, codecs):6.1f}")


def measure(members: int, together: bool, codecs: tuple[str, ...]) -> float:
    room = Room()
    calls = []
    ports = ExitStack()
    for number in range(members):
        pair = PortPair(Echo(), Echo(), "10.0.0.1", 30000)  # type: ignore[arg-type]
        media = Media(pair, rng=random.Random(number))
        codec = codecs[number % len(codecs)]
        kind = {"PCMU": 0, "G722": 9}[codec]
        there = ("10.0.0.2", 30000)
        media.configure(Agreed(codec, kind, kind, 101, 101, there, there))
        port = ports.enter_context(media.voices.open(8000))
        if together:
            media.voices.join(room)
        calls.append((media, port))
    sounds = [tone((50 * (6 + n),), 0.02, 8000, level=-30).tobytes() for n in range(members)]
    begun = 0.0
    for count in range(TICKS + 50):
        if count == 50:
            begun = time.process_time()
        for (media, port), sound in zip(calls, sounds, strict=True):
            port.send(sound)
            media.tick(count * 0.02)
    spent = time.process_time() - begun
    ports.close()
    return spent / TICKS / members * 1e6


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 10)
