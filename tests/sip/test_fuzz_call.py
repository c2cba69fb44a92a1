"""Damaged packets of all kinds against a running call; `bench/fuzz_call.py` does it for longer."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from spech import PortRange

from .. import ports

BENCH = Path(__file__).parents[2] / "bench" / "fuzz_call.py"
PORT = ports.reserve(24)
SECONDS = 7.0


@pytest.mark.parametrize("encryption", ["off", "sdes", "dtls"])
async def test_a_call_survives_damaged_packets_of_all_kinds(encryption: str) -> None:
    fuzz = runpy.run_path(str(BENCH))["fuzz"]
    sent = await fuzz(SECONDS, 1, encryption, PortRange(PORT, PORT + 23))
    assert sent > 100
