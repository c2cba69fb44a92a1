"""Asks each caller for a PIN, and brings those with the same PIN into one conference.

usage: pin_conference.py PIN...
"""

import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial

import spech
from spech import Account, Conference, IncomingCall, open_conference, open_phone


async def join(incoming: IncomingCall, rooms: Mapping[str, Conference]) -> None:
    async with incoming.answer() as call:
        pin = await call.ask(call.beep, digits=max(map(len, rooms)), valid=rooms)
        if pin is None:  # Three wrong PINs.
            print(incoming.caller_number, "was turned away", flush=True)
            return
        rooms[pin].add(call)
        print(incoming.caller_number, "joined", pin, flush=True)
        await call.ended()
        print(incoming.caller_number, "left", pin, flush=True)


async def main(*pins: str) -> None:
    account = Account(os.environ["SPECH_ACCOUNT"], password=os.environ.get("SPECH_SIP_PASSWORD"))
    async with open_phone(account) as phone, AsyncExitStack() as stack:
        rooms = {pin: await stack.enter_async_context(open_conference()) for pin in pins}
        await phone.registered(timeout=10)
        print("registered", flush=True)
        await phone.serve(partial(join, rooms=rooms))


spech.run(main, *sys.argv[1:])
