"""Helpers of the tests with other programs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from spech import Phone, PortRange, open_phone
from spech.testing.audio import assert_tone, sine, sounding
from spech.testing.plugin import unavailable
from spech.testing.waiting import until

from . import baresip

PORTS = PortRange(33400, 33799)
RATE = 8000
SAID = sine(1200, RATE, 1, level=-12)


@pytest.fixture
async def phone() -> AsyncIterator[Phone]:
    """A phone without an account, which accepts calls from anyone."""
    async with open_phone(listen=("127.0.0.1", 0), ports=PORTS) as phone:
        yield phone


@pytest.fixture
def baresip_installed() -> None:
    if not baresip.available():
        unavailable("peers", "baresip is not installed; `make test-peers` installs it")


def assert_heard(pcm: NDArray[np.int16]) -> None:
    """Assert that the other end received our tone; half a second of it is measured."""
    heard = sounding(pcm, RATE)
    assert_tone(heard[RATE // 2 : RATE], RATE, 1200, tolerance=2, level=-12)


async def await_bound(port: int) -> None:
    """Wait until a program listens on this UDP port: a closed one fails a call at once."""
    await until(lambda: f":{port:04X} " in Path("/proc/net/udp").read_text())
