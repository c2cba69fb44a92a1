"""What each codec costs: encoding and decoding a packet of speech, 20 ms if the codec has that.

    python -m bench.parts.codecs [SECONDS]

measures the build of Spech that is found first, and prints the values as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from bench import servers
from bench.parts import Part, Scale, Side
from bench.results import Figures, Values, spread
from spech import codecs
from spech.testing.speech import SENTENCES, speak


def _cost(name: str, seconds: float) -> Values:
    """Microseconds for a packet, with ``seconds`` of speech, and percent of a core for a call."""
    codec = codecs.create(name)
    said = speak(SENTENCES, codec.rate)[: int(seconds * codec.rate)]
    size = codec.packet_samples(20)
    packets = [said[at : at + size] for at in range(0, len(said) - size + 1, size)]
    begun = time.process_time()
    payloads = [codec.encode(packet) for packet in packets]
    encoded = time.process_time()
    for payload in payloads:
        codec.decode(payload)
    ended = time.process_time()
    return {
        "encode": (encoded - begun) / len(packets) * 1e6,
        "decode": (ended - encoded) / len(packets) * 1e6,
        "core": (ended - begun) * codec.rate / (size * len(packets)) * 100,
    }


def _sides() -> Mapping[str, Side]:
    def side(build: servers.Build, scale: Scale) -> Iterator[tuple[str, Values]]:
        yield from servers.in_build(build, __name__, str(scale.seconds)).items()

    return {name: partial(side, build) for name, build in servers.builds().items()}


def _text(figures: Figures) -> str:
    lines = [
        "| codec | encode, µs per packet | decode, µs per packet | both, % of a core |",
        "|---|---:|---:|---:|",
    ]
    for case in figures.cases:
        for side in figures.sides:
            if side != "Spech" and not case.startswith("PCM"):
                continue  # Only G.711 is compiled.
            name = case if side == "Spech" else f"{case}, compiled"
            encode, decode, core = (
                spread(figures.values(side, case, value), digits)
                for value, digits in (("encode", 1), ("decode", 1), ("core", 2))
            )
            lines.append(f"| {name} | {encode} | {decode} | {core} |")
    return "\n".join([*lines, ""])


PART: Final = Part("codecs", "codecs, frame by frame", 4, _sides, _text)


if __name__ == "__main__":
    asked = float(sys.argv[1])
    print(json.dumps({name: _cost(name, asked) for name in codecs.names()}))
