"""What a conference costs: CPU per member and tick of 20 ms, compared with separate calls.

    python -m bench.parts.conference [SECONDS]

measures the build of Spech that is found first, and prints the values as JSON. Lists replace the
sockets, so that the kernel's part is not measured. The codec is G.711; in the last case a third of
the members use G.722.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import trio

from bench import servers
from bench.parts import Part, Scale, Side
from bench.results import Figures, Values
from bench.tables import sides_table
from spech.agreement import Agreed
from spech.audio.room import Room
from spech.audio.tones import tone
from spech.media.engine import Media
from spech.rtp.ports import PortPair

_MEMBERS: Final = 10
#: Ticks that are measured for each second of a usual measurement, and before it.
_TICKS: Final = 250
_SETTLE: Final = 50
_CASES: Final = {
    "each on its own, PCMU": (False, ("PCMU",)),
    "in one conference, PCMU": (True, ("PCMU",)),
    "in one conference, a third in G.722": (True, ("PCMU", "PCMU", "G722")),
}


class Echo:
    """A UDP socket whose peer sends everything back."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []

    def sendto(self, datagram: bytes, _: object) -> int:
        self.waiting.append(datagram)
        return len(datagram)

    def recvmsg(self, size: int, _: int) -> tuple[bytes, list[Any], int, object]:
        if not self.waiting:
            raise BlockingIOError
        datagram = self.waiting.pop(0)
        return datagram[:size], [], 0, ("10.0.0.2", 30000)


async def _measure(seconds: float) -> dict[str, Values]:
    return {case: _cost(*how, max(1, int(_TICKS * seconds))) for case, how in _CASES.items()}


def _cost(together: bool, codecs: tuple[str, ...], ticks: int) -> Values:
    """Microseconds for a member and tick."""
    room = Room()
    calls = []
    ports = ExitStack()
    for number in range(_MEMBERS):
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
    sounds = [tone((50 * (6 + n),), 0.02, 8000, level=-30).tobytes() for n in range(_MEMBERS)]
    begun = 0.0
    for count in range(ticks + _SETTLE):
        if count == _SETTLE:
            begun = time.process_time()
        for (media, port), sound in zip(calls, sounds, strict=True):
            port.send(sound)
            media.tick(count * 0.02)
    spent = time.process_time() - begun
    ports.close()
    return {"tick": spent / ticks / _MEMBERS * 1e6}


def _sides() -> Mapping[str, Side]:
    def side(build: servers.Build, scale: Scale) -> Iterator[tuple[str, Values]]:
        yield from servers.in_build(build, __name__, str(scale.seconds)).items()

    return {name: partial(side, build) for name, build in servers.builds().items()}


def _text(figures: Figures) -> str:
    return sides_table(figures, "ten members", "tick", "CPU per member and tick, µs", digits=0)


PART: Final = Part("conference", "conferences", 4, _sides, _text)


if __name__ == "__main__":
    print(json.dumps(trio.run(_measure, float(sys.argv[1]))))
