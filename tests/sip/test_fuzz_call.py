"""Damaged packets of all kinds against running calls; `bench/fuzz_call.py` does it for longer."""

from __future__ import annotations

import runpy
from pathlib import Path

import trio

from spech import PortRange

from .. import ports

BENCH = Path(__file__).parents[2] / "bench" / "fuzz_call.py"
EACH = 12
SECONDS = 7.0


async def test_calls_survive_damaged_packets_of_all_kinds() -> None:
    """Three calls at the same time, one with each kind of encryption."""
    fuzz = runpy.run_path(str(BENCH))["fuzz"]
    sent = {}
    port = ports.reserve(3 * EACH)

    async def attack(encryption: str, first: int) -> None:
        sent[encryption] = await fuzz(SECONDS, 1, encryption, PortRange(first, first + EACH - 1))

    async with trio.open_nursery() as nursery:
        for number, encryption in enumerate(("off", "sdes", "dtls")):
            nursery.start_soon(attack, encryption, port + number * EACH)
    assert min(sent.values()) > 100
