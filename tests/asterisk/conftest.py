"""Every test here leaves Asterisk without a channel, and this process without a socket."""

from __future__ import annotations

from collections.abc import Iterator
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
        asterisk.await_channels(0)


@pytest.fixture
def ports() -> PortRange:
    return PORTS


@pytest.fixture
def account(asterisk: Asterisk) -> Account:
    return Account(f"sip:alice@{asterisk.domain}", password=PASSWORD)
