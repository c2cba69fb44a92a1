"""Answers the calls to several accounts, each with a greeting of its own.

ACCOUNTS is a file in TOML, with a table for each account:

    [sales]
    address = "sip:sales@pbx.example.org"
    password = "…"
    greeting = "sales.wav"

usage: three_accounts.py ACCOUNTS.toml
"""

import sys
import tomllib
from functools import partial
from pathlib import Path

import trio

import spech
from spech import Account, IncomingCall, SpechError, open_phone


async def greet(incoming: IncomingCall, name: str, greeting: str) -> None:
    print(incoming.caller_number, "calls", name, flush=True)
    async with incoming.answer() as call:
        await call.play(greeting).played()


async def serve(name: str, settings: dict[str, str]) -> None:
    account = Account(settings["address"], password=settings.get("password"))
    try:
        async with open_phone(account) as phone:
            await phone.registered(timeout=10)
            print(name, "is registered", flush=True)
            await phone.serve(partial(greet, name=name, greeting=settings["greeting"]))
    except SpechError as error:  # The other accounts continue.
        print(f"{name}: {error}", flush=True)


async def main(accounts: dict[str, dict[str, str]]) -> None:
    async with trio.open_nursery() as nursery:
        for name, settings in accounts.items():
            nursery.start_soon(serve, name, settings)


spech.run(main, tomllib.loads(Path(sys.argv[1]).read_text()))
