"""A call between two phones on loopback, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from spech import Call, Phone, PortRange, open_phone

PORTS = PortRange(34_080, 34_099)


@pytest.fixture
async def answered(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> AsyncIterator[tuple[Call, Call]]:
    """Both sides of a call: the one that called, and the one that answered."""
    sides: list[Call] = []

    async def answer(phone: Phone) -> None:
        async for incoming in phone.incoming_calls():
            async with incoming.answer() as call:
                sides.append(call)
                await call.ended()

    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as bob,
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as alice,
    ):
        nursery.start_soon(answer, bob)
        await trio.testing.wait_all_tasks_blocked()
        async with alice.call(f"sip:bob@127.0.0.1:{bob.address[1]}") as call:
            await call.answered()
            yield call, sides[0]
        nursery.cancel_scope.cancel()
