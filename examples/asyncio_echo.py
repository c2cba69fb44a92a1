"""Answers every call under asyncio, and sends the caller's own voice back.

usage: asyncio_echo.py
"""

import asyncio
import os
import signal
from contextlib import suppress

from spech import Account, IncomingCall, open_phone
from spech.aio import enter, handler, iterate, run


async def echo(incoming: IncomingCall) -> None:
    async with enter(incoming.answer()) as call:
        with call.open_audio() as port:
            async for frame in iterate(port):
                port.send(frame)


async def main() -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    account = Account(os.environ["SPECH_ACCOUNT"], password=os.environ.get("SPECH_SIP_PASSWORD"))
    async with enter(open_phone(account)) as phone:
        await run(phone.registered, 10)
        print("registered", flush=True)
        await run(phone.serve, handler(echo))  # One task per call, as under Trio.


with suppress(asyncio.CancelledError):
    asyncio.run(main())
