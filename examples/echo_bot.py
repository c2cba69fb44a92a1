"""Answers every call and sends the caller's own voice back.

usage: echo_bot.py
"""

import os

import spech
from spech import Account, IncomingCall, open_phone


async def echo(incoming: IncomingCall) -> None:
    async with incoming.answer() as call:
        with call.open_audio() as port:
            async for frame in port:
                port.send(frame)


async def main() -> None:
    account = Account(os.environ["SPECH_ACCOUNT"], password=os.environ.get("SPECH_SIP_PASSWORD"))
    async with open_phone(account) as phone:
        await phone.registered(timeout=10)
        print("registered", flush=True)
        await phone.serve(echo)  # One task per call: a failing call does not affect the others.


spech.run(main)
