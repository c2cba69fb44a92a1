"""Every test here leaves Asterisk without a channel, and this process without a socket."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spech import Account, PortRange
from spech.testing.asterisk import Asterisk
from spech.testing.dialplan import PASSWORD

PORTS = PortRange(33000, 33999)


def _sockets() -> set[str]:
    """The inodes of this process's IP sockets."""
    tables = [Path("/proc/net", name).read_text() for name in ("udp", "udp6", "tcp", "tcp6")]
    inodes = {line.split()[9] for table in tables for line in table.splitlines()[1:]}
    held = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            held.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
        except FileNotFoundError:
            continue
    return inodes & held


@pytest.fixture(autouse=True)
def nothing_left(asterisk: Asterisk) -> Iterator[None]:
    """`core show channels count` is 0 afterwards, and every port is free."""
    before = _sockets()
    yield
    assert _sockets() <= before
    if asterisk.managed:
        # A channel may outlive its 200 OK to the BYE by some milliseconds.
        give_up = time.monotonic() + 5
        while asterisk.channels() and time.monotonic() < give_up:
            time.sleep(0.01)
        assert asterisk.channels() == 0, asterisk.command("core show channels")


@pytest.fixture
def pbx(asterisk: Asterisk) -> Asterisk:
    """An Asterisk whose command line is within reach."""
    if not asterisk.managed:
        pytest.skip("only the SIP side of this PBX is within reach")
    return asterisk


@pytest.fixture
def ports() -> PortRange:
    return PORTS


@pytest.fixture
def account(asterisk: Asterisk) -> Account:
    return Account(f"sip:alice@{asterisk.domain}", password=PASSWORD)


@pytest.fixture
def trace(pbx: Asterisk) -> Iterator[Callable[[], str]]:
    """What Asterisk logged since the test began, SIP messages included."""
    pbx.command("pjsip set logger on")
    start = len(pbx.log)
    yield lambda: pbx.log[start:]
    pbx.command("pjsip set logger off")
