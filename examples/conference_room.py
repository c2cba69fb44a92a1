"""Brings all callers into one conference, in which everyone hears everyone else.

usage: conference_room.py
"""

import os
from functools import partial

import spech
from spech import Account, Conference, IncomingCall, open_conference, open_phone


async def join(incoming: IncomingCall, conference: Conference) -> None:
    async with incoming.answer() as call:
        conference.add(call)
        print(incoming.caller_number, "joined", flush=True)
        await call.ended()
        print(incoming.caller_number, "left", flush=True)


async def main() -> None:
    account = Account(os.environ["SPECH_ACCOUNT"], password=os.environ.get("SPECH_SIP_PASSWORD"))
    async with open_phone(account) as phone, open_conference() as conference:
        await phone.registered(timeout=10)
        print("registered", flush=True)
        await phone.serve(partial(join, conference=conference))


spech.run(main)
