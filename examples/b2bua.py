"""Puts each caller through to a number: two calls, connected with each other (a B2BUA).

The caller hears ringing until the number answers, and gets its status if it does not. Digits, hold
and transfers pass through.

usage: b2bua.py NUMBER
"""

import os
import sys
from functools import partial

import trio

import spech
from spech import Account, Call, CallFailed, IncomingCall, Phone, connect, open_phone


async def put_through(incoming: IncomingCall, phone: Phone, number: str) -> None:
    name = incoming.display_name or incoming.caller_number
    async with phone.call(number, display_name=name) as far:
        await ring(incoming, far)
        if not incoming.over:
            async with incoming.answer() as near:
                print(incoming.caller_number, "talks to", number, flush=True)
                await connect(near, far)
            print(incoming.caller_number, "has ended", flush=True)


async def ring(incoming: IncomingCall, far: Call) -> None:
    """Wait until the far end answers, or the caller gives up."""
    async with trio.open_nursery() as nursery:

        async def watch_caller() -> None:
            await incoming.ended()
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch_caller)
        try:
            await far.answered(timeout=30)
        except CallFailed as failed:
            incoming.reject(failed.status)
            print(incoming.caller_number, "was refused:", failed, flush=True)
        nursery.cancel_scope.cancel()


async def main(number: str) -> None:
    account = Account(os.environ["SPECH_ACCOUNT"], password=os.environ.get("SPECH_SIP_PASSWORD"))
    async with open_phone(account) as phone:
        await phone.registered(timeout=10)
        print("registered", flush=True)
        await phone.serve(partial(put_through, phone=phone, number=number))


spech.run(main, sys.argv[1])
