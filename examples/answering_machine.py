"""Plays a greeting to each caller, then records a message of up to two minutes.

The message ends when the caller hangs up, presses # or is silent for ten seconds.

usage: answering_machine.py GREETING FOLDER
"""

import datetime
import os
import sys
import wave
from functools import partial
from pathlib import Path

import spech
from spech import Account, CallEnded, IncomingCall, open_phone

RATE = 8000


async def take_message(incoming: IncomingCall, *, greeting: str, folder: Path) -> None:
    now = datetime.datetime.now().strftime("%Y-%m-%d %H.%M.%S.%f")
    number = "".join(letter for letter in incoming.caller_number if letter.isalnum())
    try:
        async with incoming.answer() as call:
            call.play(greeting)
            call.beep()
            await call.played()
            message = await call.listen(120, silence=10, rate=RATE)
    except CallEnded:
        print(number, "left no message", flush=True)
        return
    with wave.open(str(folder / f"{now} {number}.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(message.tobytes())
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
