"""What wakes the media clock, in real and in virtual time."""

from __future__ import annotations

import sys

import pytest
import trio
import trio.testing

from spech.rtp.alarm import open_alarm


@pytest.mark.skipif(sys.platform != "linux", reason="the timer is one of Linux")
async def test_the_kernel_wakes_at_the_time_and_never_before() -> None:
    with open_alarm() as sleep_until:
        assert sleep_until is not trio.sleep_until
        for delay in (0.0, 0.0003, 0.001, 0.01, -1.0, 1e-9):
            deadline = trio.current_time() + delay
            await sleep_until(deadline)
            assert trio.current_time() >= deadline


async def test_a_sleep_is_cancelled_and_another_one_follows() -> None:
    with open_alarm() as sleep_until:
        for delay in (3600.0, 0.0):
            with trio.CancelScope() as scope:
                scope.cancel()
                await sleep_until(trio.current_time() + delay)
            assert scope.cancelled_caught
        with trio.move_on_after(0.001) as scope:
            await sleep_until(trio.current_time() + 3600.0)
        assert scope.cancelled_caught
        await sleep_until(trio.current_time() + 0.001)


async def test_virtual_time_is_left_to_trio(autojump_clock: trio.testing.MockClock) -> None:
    with open_alarm() as sleep_until:
        assert sleep_until is trio.sleep_until
