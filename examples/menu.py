"""An interactive voice menu: the caller presses a key and hears that file, until 0 is pressed.

usage: menu.py FILE...    the first file is played for 1, the second for 2, and so on
"""

import os
import sys

import spech
from spech import Account, Call, CallEnded, IncomingCall, open_phone


async def serve(call: Call, menu: dict[str, str]) -> None:
    while True:
        call.play_tone("waiting", seconds=0.5)
        digit = await call.collect_digits(1, timeout=20, terminator=None)
        call.flush()  # A key interrupts what is being played.
        if digit in ("", "0"):
            return
        if digit in menu:
            call.play(menu[digit])


async def main(files: list[str]) -> None:
    menu = {str(number): file for number, file in enumerate(files, 1)}
    account = Account(os.environ["SPECH_ACCOUNT"], password=os.environ.get("SPECH_SIP_PASSWORD"))

    async def answer(incoming: IncomingCall) -> None:
        async with incoming.answer() as call:
            try:
                await serve(call, menu)
            except CallEnded:
                print(incoming.caller_number, "hung up", flush=True)

    async with open_phone(account) as phone:
        await phone.registered(timeout=10)
        print("registered", flush=True)
        await phone.serve(answer)


spech.run(main, sys.argv[1:])
