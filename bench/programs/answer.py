"""A minimal program on Spech: answers every call and waits for its end.

python -m bench.programs.answer PORT
"""

from __future__ import annotations

import sys

import trio

from spech import IncomingCall, open_phone
from spech.phone.running import spare_collections


async def answer(incoming: IncomingCall) -> None:
    async with incoming.answer() as call:
        await call.ended()


async def main() -> None:
    async with (
        open_phone(listen=("127.0.0.1", int(sys.argv[1]))) as phone,
        trio.open_nursery() as calls,
    ):
        async for incoming in phone.incoming_calls():
            calls.start_soon(answer, incoming)


if __name__ == "__main__":
    spare_collections()  # Like the commands of the shell.
    trio.run(main)
