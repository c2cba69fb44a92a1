"""An interactive voice menu that speaks with espeak-ng: 1 tells the time, 2 repeats a number.

usage: menu.py
"""

import datetime
import os
from collections.abc import AsyncIterator

import trio

import spech
from spech import Account, Call, IncomingCall, Playback, open_phone

#: Hz; espeak-ng writes a WAV header of 44 bytes, and samples of 16 bits at this rate.
RATE = 22050


async def speech(text: str) -> AsyncIterator[bytes]:
    command = ["espeak-ng", "--stdin", "--stdout"]
    spoken = await trio.run_process(command, stdin=text.encode(), capture_stdout=True)
    yield spoken.stdout[44:]


def say(call: Call, text: str) -> Playback:
    return call.play(speech(text), rate=RATE)


async def serve(call: Call) -> None:
    question = "For the time, press 1. To have a number repeated, press 2."
    while choice := await call.ask(lambda: say(call, question), valid={"1", "2"}):
        if choice == "1":
            say(call, f"It is {datetime.datetime.now():%H:%M}.")
        else:
            number = await call.ask(lambda: say(call, "Your number, and hash?"), digits=12)
            say(call, f"You have entered {' '.join(number or 'nothing')}.")
    await say(call, "Goodbye.").played()


async def answer(incoming: IncomingCall) -> None:
    async with incoming.answer() as call:
        await serve(call)


async def main() -> None:
    account = Account(os.environ["SPECH_ACCOUNT"], password=os.environ.get("SPECH_SIP_PASSWORD"))
    async with open_phone(account) as phone:
        await phone.registered(timeout=10)
        print("registered", flush=True)
        await phone.serve(answer)


spech.run(main)
