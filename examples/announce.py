"""Calls a number, plays a file when the call is answered, and hangs up.

usage: announce.py NUMBER FILE
"""

import os
import sys

import spech
from spech import Account, CallEnded, CallFailed, open_phone


async def main(number: str, file: str) -> int:
    account = Account(os.environ["SPECH_ACCOUNT"], password=os.environ.get("SPECH_SIP_PASSWORD"))
    async with open_phone(account) as phone:
        await phone.registered(timeout=10)
        try:
            async with phone.call(number) as call:
                await call.answered(timeout=30)
                call.play(file)
                await call.played()
        except CallFailed as failed:
            print("not answered:", failed.status, failed.reason)
            return 1
        except CallEnded:
            print("they hung up before the end")
            return 1
    return 0


sys.exit(spech.run(main, sys.argv[1], sys.argv[2]))
