"""What other processes do during the soak."""

from __future__ import annotations

import random
import socket
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from typing import Final

import trio

from bench.flood import flood
from bench.soak.held import HOST, PORTS
from spech import CallEnded, CallFailed, IncomingCall, Phone, PortRange, open_phone

THEIR_PORTS: Final = PortRange(34_600, 34_799)
#: Requests and junk packets a second, and the addresses that they come from.
FLOOD_RATE: Final = 200
FLOOD_SOURCES: Final = 100


async def play_phone(port: int, journal: str, theirs: int) -> None:
    """The phone of another process. It ends when its standard input does.

    It places calls to the phone at the port ``theirs``, unless that is 0.
    """

    async def serve(phone: Phone, nursery: trio.Nursery) -> None:
        async for incoming in phone.incoming_calls():
            nursery.start_soon(echo, incoming)

    async def place(phone: Phone, user: str) -> None:
        while True:
            with suppress(CallFailed, CallEnded):
                async with phone.call(f"sip:{user}@{HOST}:{theirs}") as call:
                    with trio.move_on_after(random.uniform(5, 10)):
                        await call.ended()
            await trio.sleep(1)

    async def watch(nursery: trio.Nursery) -> None:
        with suppress(OSError):
            await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()

    async with (
        open_phone(listen=(HOST, port), ports=THEIR_PORTS, journal=journal or None) as phone,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(serve, phone, nursery)
        nursery.start_soon(watch, nursery)
        if theirs:
            for user in ("bob", "ring"):
                nursery.start_soon(place, phone, user)
        print("ready", flush=True)


async def echo(incoming: IncomingCall) -> None:
    """Answer, and send back what is heard."""
    with suppress(CallFailed, CallEnded):
        async with incoming.answer() as call:
            with call.open_audio() as port:
                async for heard in port:
                    port.send(heard)


def flood_and_junk(port: int) -> None:
    """Send SIP requests to ``port`` and junk to the ports of calls, until standard input ends."""
    endless = 1e6
    requests = partial(flood, FLOOD_RATE, FLOOD_SOURCES, endless, (HOST, port), 127)
    for target in (requests, send_junk):
        threading.Thread(target=target, daemon=True).start()
    sys.stdin.read()


def send_junk() -> None:
    """Send packets that nobody asked for, from 200 ports, to the ports of calls."""
    rng = random.Random(1)
    senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(200)]
    while True:
        first = rng.choice((0x80, 0x81, 0xA6, 0x00, 0x16, 0xFF))
        junk = bytes((first, rng.randrange(256))) + rng.randbytes(rng.choice((2, 10, 40, 170)))
        to = rng.randrange(PORTS.first, PORTS.last + 1)
        with suppress(OSError):
            rng.choice(senders).sendto(junk, (HOST, to))
        time.sleep(1 / FLOOD_RATE)
