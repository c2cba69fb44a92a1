"""Plays a greeting to each caller, then records a message of up to two minutes.

usage: answering_machine.py GREETING FOLDER
"""

import datetime
import os
import sys
from functools import partial
from pathlib import Path

import trio

import spech
from spech import Account, CallEnded, IncomingCall, open_phone


async def take_message(incoming: IncomingCall, *, greeting: str, folder: Path) -> None:
    now = datetime.datetime.now().strftime("%Y-%m-%d %H.%M.%S.%f")
    number = "".join(letter for letter in incoming.caller_number if letter.isalnum())
    try:
        async with incoming.answer() as call:
            call.play(greeting)
            await call.played()
            call.play_tone("waiting", seconds=0.4)
            await call.played()
            with call.record(folder / f"{now} {number}.wav"), trio.move_on_after(120):
                await call.ended()
    except CallEnded:
        print(number, "left no message", flush=True)
    else:
        print(number, "left a message", flush=True)


async def main(greeting: str, folder: Path) -> None:
    account = Account(os.environ["SPECH_ACCOUNT"], password=os.environ.get("SPECH_SIP_PASSWORD"))
    async with open_phone(account) as phone:
        await phone.registered(timeout=10)
        print("registered", flush=True)
        await phone.serve(partial(take_message, greeting=greeting, folder=folder))


messages = Path(sys.argv[2])
messages.mkdir(parents=True, exist_ok=True)
spech.run(main, sys.argv[1], messages)
