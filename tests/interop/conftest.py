"""Ports of this folder's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from spech import Phone, PortRange, open_phone

PORTS = PortRange(33400, 33799)


@pytest.fixture
async def phone() -> AsyncIterator[Phone]:
    """Without an account: it takes calls from anybody."""
    async with open_phone(listen=("127.0.0.1", 0), ports=PORTS) as phone:
        yield phone
