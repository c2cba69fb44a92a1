"""Every test here leaves Asterisk without a channel, and this process without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from spech import Account, Phone, PortRange, open_phone
from spech.testing.asterisk import Asterisk

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
    return asterisk.account("alice")


@pytest.fixture
async def phones(
    asterisk: Asterisk, account: Account, ports: PortRange
) -> AsyncIterator[tuple[Phone, Phone]]:
    """Alice's and Bob's, registered."""
    async with (
        open_phone(account, listen=("127.0.0.1", 0), ports=ports) as alice,
        open_phone(asterisk.account("bob"), listen=("127.0.0.1", 0), ports=ports) as bob,
    ):
        await alice.registered(timeout=5)
        await bob.registered(timeout=5)
        yield alice, bob
