"""The cost of each codec: encoding and decoding speech, in per cent of one core.

    python bench/codecs.py

Packets of 20 ms if the codec supports them, one thread, the best of three rounds. espeak-ng, which
generates the speech, must be installed.
"""

from __future__ import annotations

import time

import numpy as np
from rich.console import Console
from rich.table import Table

from spech import codecs
from spech.testing.speech import SENTENCES, speak

ROUNDS = 3


def cost(name: str) -> tuple[float, float]:
    """Per cent of a core for encoding and for decoding one call."""
    best = [np.inf, np.inf]
    codec = codecs.create(name)
    said = speak(SENTENCES, codec.rate)
    size = codec.packet_samples(20)
    packets = [said[at : at + size] for at in range(0, len(said) - size + 1, size)]
    for _ in range(ROUNDS):
        codec = codecs.create(name)
        began = time.process_time()
        payloads = [codec.encode(packet) for packet in packets]
        encoded = time.process_time()
        for payload in payloads:
            codec.decode(payload)
        spent = encoded - began, time.process_time() - encoded
        best = [min(pair) for pair in zip(best, spent, strict=True)]
    seconds = len(packets) * size / codec.rate
    return 100 * best[0] / seconds, 100 * best[1] / seconds


def main() -> None:
    table = Table("codec", "encode, %", "decode, %", box=None, header_style="bold")
    for name in codecs.names():
        encode, decode = cost(name)
        table.add_row(name, f"{encode:.2f}", f"{decode:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
