"""Private networks of killed processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spech.testing import network

MAKE_NETWORKS_AND_DIE = """
import os, signal
from spech.testing import network
with network.nat():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(process: int) -> list[str]:
    return [path.name for path in Path("/run/netns").glob(f"spech-{process}-*")]


def test_networks_of_a_killed_process_are_removed_and_no_others() -> None:
    missing = network.why_not()
    if missing is not None:
        pytest.skip(missing)
    with network.nat():
        with subprocess.Popen([sys.executable, "-c", MAKE_NETWORKS_AND_DIE]) as killed:
            pass
        left = names(killed.pid)
        network.remove_abandoned()
        assert len(left) == 3
        assert not names(killed.pid)
        assert len(names(os.getpid())) == 3
