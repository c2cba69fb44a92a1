"""Answers every call and sends the caller's own voice back.

usage: echo_bot.py
"""

import os

import trio

from spech import Account, IncomingCall, SpechError, open_phone


async def echo(incoming: IncomingCall) -> None:
    try:
        async with incoming.answer() as call:
            with call.open_audio() as port:
                async for frame in port:
                    port.send(frame)
    except SpechError as error:  # One call's failure is no reason to end the others.
        print(incoming.caller_number, error)


async def main() -> None:
    account = Account(os.environ["SPECH_ACCOUNT"], password=os.environ.get("SPECH_SIP_PASSWORD"))
    async with open_phone(account) as phone, trio.open_nursery() as calls:
        await phone.registered(timeout=10)
        print("registered", flush=True)
        async for incoming in phone.incoming_calls():
            calls.start_soon(echo, incoming)


trio.run(main)
