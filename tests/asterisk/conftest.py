"""Every test here leaves Asterisk without a channel, and this process without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from spech import Account, Phone, PortRange, open_phone
from spech.testing.asterisk import Asterisk

PORTS = PortRange(33000, 33999)


@pytest.fixture(autouse=True)
def all_ended(nothing_left: None) -> None:
    """`core show channels count` is 0 after each test, and every port is free."""


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
