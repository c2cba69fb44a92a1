"""A program under asyncio answers and places calls, over loopback."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from spech import AudioPort, CallEnded, CallFailed, IncomingCall, PortRange, open_phone
from spech.aio import enter, handler, iterate, run
from spech.testing.audio import sine
from spech.testing.talk import hear_tone
from spech.testing.waiting import first

LOOPBACK = ("127.0.0.1", 0)
PORTS = PortRange(36_080, 36_099)
RATE = 16_000
PATIENCE = 30


async def echo(port: AudioPort) -> None:
    async for frame in iterate(port):
        port.send(frame)


def test_a_call_with_sound_digits_and_a_hang_up() -> None:
    entered: list[str] = []

    async def serve(incoming: IncomingCall) -> None:
        async with enter(incoming.answer()) as call:
            with call.open_audio(RATE) as port:
                echoing = asyncio.create_task(echo(port))
                entered.append(await run(call.collect_digits, 2, PATIENCE))
                echoing.cancel()
            speech = call.play(rate=RATE)
            speech.write(sine(500, RATE, 60))
            entered.append(await run(call.collect_digits, 1, PATIENCE))
            assert 100 < speech.flush() < 59_000

    async def main() -> None:
        async with (
            asyncio.timeout(PATIENCE),
            enter(open_phone(listen=LOOPBACK, ports=PORTS)) as bob,
            enter(open_phone(listen=LOOPBACK, ports=PORTS)) as alice,
            asyncio.TaskGroup() as tasks,
        ):
            serving = tasks.create_task(run(bob.serve, handler(serve)))
            await asyncio.sleep(0.01)
            async with enter(alice.call(f"sip:bob@127.0.0.1:{bob.address[1]}")) as call:
                await run(call.answered, 10)
                with call.open_audio(RATE) as port:
                    await run(partial(hear_tone, port, 700, say=sine(700, RATE, 1)))
                    call.send_dtmf("12")
                    await run(hear_tone, port, 500)
                    call.send_dtmf("3")
                await run(call.ended)
                assert call.ended_by == "remote"
                with pytest.raises(CallEnded):
                    call.send_dtmf("4")
            serving.cancel()

    asyncio.run(main())
    assert entered == ["12", "3"]


def test_a_call_that_is_cancelled_while_it_rings() -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(PATIENCE),
            enter(open_phone(listen=LOOPBACK, ports=PORTS)) as bob,
            enter(open_phone(listen=LOOPBACK, ports=PORTS)) as alice,
        ):
            ringing = bob.incoming_calls()
            target = f"sip:bob@127.0.0.1:{bob.address[1]}"

            async def dial() -> None:
                async with enter(alice.call(target)) as call:
                    await run(call.answered)

            dialling = asyncio.create_task(dial())
            incoming = await run(first, ringing)
            dialling.cancel()
            await run(incoming.ended)
            with pytest.raises(asyncio.CancelledError):
                await dialling
            assert alice.active_calls == ()

            with pytest.raises(RuntimeError, match=r"under Trio.*spech\.aio under asyncio"):
                await alice.registered()
            async with enter(alice.call(target)) as call:
                with pytest.raises(RuntimeError, match=r"under Trio.*spech\.aio under asyncio"):
                    await call.answered()
                (await run(first, ringing)).reject(486)
                with pytest.raises(CallFailed) as failed:
                    await run(call.answered)
                assert failed.value.status == 486

    asyncio.run(main())
