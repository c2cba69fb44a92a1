"""Transfers as a program uses them: phones on loopback, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from spech import (
    Call,
    CallEnded,
    CallFailed,
    IncomingCall,
    LocalProtocolError,
    Phone,
    PortRange,
    open_phone,
)

LOOPBACK = ("127.0.0.1", 0)
PORTS = PortRange(39_000, 39_039)


def at(phone: Phone, user: str) -> str:
    return f"sip:{user}@127.0.0.1:{phone.address[1]}"


class Desk:
    """A phone that takes every call and follows or rejects every transfer."""

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self.calls: list[Call] = []
        self.rejects: int | None = None
        self.follows = True

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            async for incoming in self.phone.incoming_calls():
                nursery.start_soon(self._serve, incoming)

    async def _serve(self, incoming: IncomingCall) -> None:
        if self.rejects is not None:
            incoming.reject(self.rejects)
            return
        async with incoming.answer() as call:
            self.calls.append(call)
            if not self.follows:
                await call.ended()
            async for request in call.transfers():
                async with request.follow() as new:
                    self.calls.append(new)
                    await new.ended()
            assert call.state == "ended"


@asynccontextmanager
async def desks() -> AsyncIterator[tuple[Phone, Desk, Desk]]:
    """Alice's phone, and the desks of Bob and Carol."""
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS) as bob,
        open_phone(listen=LOOPBACK, ports=PORTS) as carol,
        open_phone(listen=LOOPBACK, ports=PORTS) as alice,
        trio.open_nursery() as nursery,
    ):
        both = Desk(bob), Desk(carol)
        for desk in both:
            nursery.start_soon(desk.run)
        await trio.testing.wait_all_tasks_blocked()
        yield alice, *both
        nursery.cancel_scope.cancel()


async def test_a_blind_transfer_reaches_its_target(autojump_clock: trio.testing.MockClock) -> None:
    async with desks() as (alice, bob, carol), alice.call(at(bob.phone, "bob")) as call:
        await call.answered()
        await call.transfer(at(carol.phone, "carol"))
        assert call.state == "ended"
        assert call.ended_by == "local"
        assert call.transfer_progress == (200, "OK")
        first, second = bob.calls
        await first.ended()
        assert second.state == "answered"
        assert second.remote == "carol"
        assert carol.calls[0].state == "answered"


async def test_a_transfer_to_a_busy_target_fails(autojump_clock: trio.testing.MockClock) -> None:
    async with desks() as (alice, bob, carol), alice.call(at(bob.phone, "bob")) as call:
        carol.rejects = 486
        await call.answered()
        with pytest.raises(CallFailed) as failed:
            await call.transfer(at(carol.phone, "carol"))
        assert failed.value.status == 486
        assert call.state == "answered"
        carol.rejects = None
        await call.transfer(at(carol.phone, "carol"))
        assert carol.calls[0].state == "answered"


async def test_a_transfer_is_declined_if_the_far_end_takes_none(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with desks() as (alice, bob, carol), alice.call(at(bob.phone, "bob")) as call:
        bob.follows = False
        await call.answered()
        with pytest.raises(CallFailed) as failed:
            await call.transfer(at(carol.phone, "carol"))
        assert failed.value.status == 603
        assert call.state == "answered"


async def test_a_transfer_without_an_outcome_in_time_fails(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with desks() as (alice, bob, carol), alice.call(at(bob.phone, "bob")) as call:
        await call.answered()
        async with open_phone(listen=LOOPBACK) as deaf:
            deaf.incoming_calls()  # The target rings without an answer.
            with pytest.raises(CallFailed, match="No outcome within 3 s"):
                await call.transfer(at(deaf, "deaf"), timeout=3)
            assert call.transfer_progress == (180, "Ringing")
            assert call.state == "answered"
            bob.calls[1].hang_up()
            await trio.sleep(1)
        await call.transfer(at(carol.phone, "carol"))


async def test_an_attended_transfer_keeps_the_targets_call_object(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with desks() as (alice, bob, carol):
        async with (
            alice.call(at(bob.phone, "bob")) as one,
            alice.call(at(carol.phone, "carol")) as other,
        ):
            await one.answered()
            await other.answered()
            (carols,) = carol.calls
            before = carols.call_id
            started = carols.duration
            await one.transfer_to(other)
            assert (one.state, other.state) == ("ended", "ended")
        await trio.sleep(2)
        # The same block, the same object: another far end.
        assert carol.calls == [carols]
        assert carols.state == "answered"
        assert carols.call_id != before
        assert carols.remote == "spech"
        assert carols.duration > started + 1.9
        new = bob.calls[1]
        assert new.state == "answered"
        heard = carols.statistics.received
        await trio.sleep(1)
        assert carols.statistics.received >= heard + 45
        carols.send_dtmf("7")
        assert await new.collect_digits(1, timeout=2) == "7"
        carols.hang_up()
        await new.ended()
        assert new.ended_by == "remote"


async def test_a_ringing_call_cannot_be_transferred(autojump_clock: trio.testing.MockClock) -> None:
    async with desks() as (alice, bob, carol), open_phone(listen=LOOPBACK) as deaf:
        deaf.incoming_calls()
        async with (
            alice.call(at(bob.phone, "bob")) as call,
            alice.call(at(deaf, "deaf")) as ringing,
        ):
            await call.answered()
            with pytest.raises(LocalProtocolError):
                await ringing.transfer(at(carol.phone, "carol"))
            with pytest.raises(LocalProtocolError):
                await call.transfer_to(ringing)
            with pytest.raises(LocalProtocolError):
                await call.transfer("600")  # There is no account for a bare number.
            ringing.hang_up()
            await ringing.ended()
            with pytest.raises(CallEnded):
                await call.transfer_to(ringing)
            assert call.state == "answered"


async def test_a_transfer_request_can_be_declined_or_fail(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with desks() as (alice, _, carol), open_phone(listen=LOOPBACK, ports=PORTS) as dave:

        async def serve() -> None:
            incoming = await anext(dave.incoming_calls())
            async with incoming.answer() as call:
                requests = call.transfers()
                first = await anext(requests)
                assert first.target == at(carol.phone, "carol")
                assert first.referred_by is not None
                with pytest.raises(LocalProtocolError, match="from 400 to 699, not 100"):
                    first.reject(100)
                first.reject()
                with pytest.raises(CallEnded):
                    async with first.follow():
                        pass
                second = await anext(requests)
                with pytest.raises(CallFailed):
                    async with second.follow() as new:
                        await new.answered()
                await call.ended()
                with pytest.raises(StopAsyncIteration):
                    await anext(requests)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await trio.testing.wait_all_tasks_blocked()
            async with alice.call(at(dave, "dave")) as call:
                await call.answered()
                with pytest.raises(CallFailed) as failed:
                    await call.transfer(at(carol.phone, "carol"))
                assert failed.value.status == 603
                carol.rejects = 404
                with pytest.raises(CallFailed) as failed:
                    await call.transfer(at(carol.phone, "carol"))
                assert failed.value.status == 404
