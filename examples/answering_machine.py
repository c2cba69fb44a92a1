"""Plays a greeting to each caller, then records a message of up to two minutes.

usage: answering_machine.py GREETING FOLDER
"""

import datetime
import os
import sys
from pathlib import Path

import trio

from spech import Account, CallEnded, IncomingCall, SpechError, open_phone


async def take_message(incoming: IncomingCall, greeting: str, folder: Path) -> None:
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
    except SpechError as error:
        print(number, error)
    else:
        print(number, "left a message", flush=True)


async def main(greeting: str, folder: Path) -> None:
    account = Account(os.environ["SPECH_ACCOUNT"], password=os.environ.get("SPECH_SIP_PASSWORD"))
    async with open_phone(account) as phone, trio.open_nursery() as calls:
        await phone.registered(timeout=10)
        print("registered", flush=True)
        async for incoming in phone.incoming_calls():
            calls.start_soon(take_message, incoming, greeting, folder)


messages = Path(sys.argv[2])
messages.mkdir(parents=True, exist_ok=True)
trio.run(main, sys.argv[1], messages)
