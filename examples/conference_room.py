"""Brings all callers into one conference, in which everyone hears everyone else.

usage: conference_room.py
"""

import os

import trio

from spech import Account, Conference, IncomingCall, SpechError, open_conference, open_phone


async def join(incoming: IncomingCall, conference: Conference) -> None:
    try:
        async with incoming.answer() as call:
            conference.add(call)
            print(incoming.caller_number, "joined", flush=True)
            await call.ended()
            print(incoming.caller_number, "left", flush=True)
    except SpechError as error:
        print(incoming.caller_number, error)


async def main() -> None:
    account = Account(os.environ["SPECH_ACCOUNT"], password=os.environ.get("SPECH_SIP_PASSWORD"))
    async with (
        open_phone(account) as phone,
        open_conference() as conference,
        trio.open_nursery() as calls,
    ):
        await phone.registered(timeout=10)
        print("registered", flush=True)
        async for incoming in phone.incoming_calls():
            calls.start_soon(join, incoming, conference)


trio.run(main)
