"""The media clock, in virtual time."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

import pytest
import trio
import trio.testing

from spech.rtp.clock import PERIOD, MediaClock


def no_error(error: Exception) -> None:
    raise AssertionError(error)


async def test_ticks_come_every_twenty_milliseconds(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    clock = MediaClock()
    await nursery.start(clock.run)
    await trio.sleep(3)
    times: list[float] = []
    with clock.attach(times.append, no_error):
        await trio.sleep(10.001)
    count = len(times)
    assert count in (500, 501)
    assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([PERIOD] * (count - 1))
    await trio.sleep(1)
    assert len(times) == count
    assert clock.statistics.late == clock.statistics.missed == 0


@pytest.mark.parametrize(("count", "phases"), [(2, 1), (16, 1), (17, 2), (40, 2)])
async def test_many_streams_are_spread_over_the_period_and_few_share_a_phase(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, count: int, phases: int
) -> None:
    clock = MediaClock()
    await nursery.start(clock.run)
    ticks: Counter[int] = Counter()

    def tick(now: float) -> None:
        ticks[round(now * 1000) % 20] += 1

    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(clock.attach(tick, no_error))
        await trio.sleep(1.001)
    assert len(ticks) == phases
    assert sum(ticks.values()) == pytest.approx(50 * count, abs=count)


async def test_streams_that_end_make_room_in_their_phase(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    clock = MediaClock()
    await nursery.start(clock.run)
    ticks: set[int] = set()

    def tick(now: float) -> None:
        ticks.add(round(now * 1000) % 20)

    with ExitStack() as stack:
        for _ in range(15):
            stack.enter_context(clock.attach(tick, no_error))
        with clock.attach(tick, no_error):
            pass
        with clock.attach(tick, no_error):
            await trio.sleep(0.1)
    assert len(ticks) == 1


async def test_an_error_detaches_its_own_stream_only(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = MediaClock()
    await nursery.start(clock.run)
    errors: list[Exception] = []
    times: list[float] = []

    def fail(now: float) -> None:
        raise KeyError(now)

    with clock.attach(fail, errors.append), clock.attach(times.append, no_error):
        await trio.sleep(1.03)
    assert len(errors) == 1
    assert isinstance(errors[0], KeyError)
    assert len(times) >= 50
    assert len(caplog.records) == 1


async def test_what_a_tick_returns_is_called_half_a_period_later(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    clock = MediaClock()
    await nursery.start(clock.run)
    ticks: list[float] = []
    rests: list[float] = []

    def tick(now: float) -> Callable[[], None] | None:
        ticks.append(now)
        return (lambda: rests.append(trio.current_time())) if len(ticks) % 2 else None

    with clock.attach(tick, no_error):
        await trio.sleep(0.105)
        assert len(ticks) == 5
    await trio.sleep(1)
    # The block ended before that of the fifth tick.
    assert rests == pytest.approx([ticks[0] + 0.01, ticks[2] + 0.01])
    assert clock.statistics.late == 0


async def test_an_error_half_a_period_later_detaches_as_well(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = MediaClock()
    await nursery.start(clock.run)
    errors: list[Exception] = []
    times: list[float] = []

    def fail() -> None:
        raise KeyError("late")

    with clock.attach(lambda _: fail, errors.append), clock.attach(times.append, no_error):
        await trio.sleep(1.03)
    assert [type(error) for error in errors] == [KeyError]
    assert len(times) >= 50
    assert len(caplog.records) == 1


async def test_a_tick_may_detach_another_stream(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    clock = MediaClock()
    await nursery.start(clock.run)
    times: list[float] = []
    stack = trio.CancelScope()
    with clock.attach(lambda _: stack.cancel(), no_error):
        with stack, clock.attach(times.append, no_error):
            await trio.sleep_forever()
        await trio.sleep(0.1)
    assert len(times) <= 1


async def test_a_short_stall_is_made_up_for_and_a_long_one_is_not(nursery: trio.Nursery) -> None:
    mock = trio.testing.MockClock(autojump_threshold=0)

    async def main() -> None:
        clock = MediaClock()
        times: list[float] = []
        async with trio.open_nursery() as inner:
            await inner.start(clock.run)
            with clock.attach(times.append, no_error):
                await trio.sleep(0.101)
                before = len(times)
                mock.jump(0.06)
                await trio.sleep(0.001)
                assert len(times) - before in (3, 4)
                assert clock.statistics.late > 0
                before = len(times)
                mock.jump(3600)
                await trio.sleep(0.001)
                assert len(times) - before <= 2
                assert clock.statistics.missed == pytest.approx(3600 / 0.01, abs=2)
                await trio.sleep(1)
                assert [b - a for a, b in zip(times[-40:], times[-39:], strict=False)] == (
                    pytest.approx([PERIOD] * 39)
                )
            inner.cancel_scope.cancel()

    # A separate run, because this test moves the clock itself.
    await trio.to_thread.run_sync(lambda: trio.run(main, clock=mock))


async def test_an_idle_clock_sleeps(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    clock = MediaClock()
    await nursery.start(clock.run)
    await trio.sleep(1000)
    assert clock.statistics.ticks == 0
