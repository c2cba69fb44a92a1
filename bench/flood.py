"""Measures a flood of SIP requests from forged sources, while a known peer calls.

    python bench/flood.py [--rate 1000] [--sources 10000] [--seconds 30]

Runs in a network namespace of its own, where 10.0.0.0/8 is local, so that nothing leaves the
machine; it needs Linux, ``unshare`` and ``ip``, and no privilege where user namespaces are allowed.
Three processes: a phone that answers calls from one trunk and from two strangers at most; the
flood; and the trunk, which keeps one call up and makes others. The script prints how many of the
trunk's calls were set up, the longest gap in the sound of the lasting call, and the phone's memory.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import trio

import spech
from bench.machine import cpu, memory
from spech import Call, CallEnded, CallFailed, IncomingCall, PortRange, open_phone

VICTIM = "10.255.0.1"
TRUNK = "10.254.0.1"
PORT = 5060
_IP_PKTINFO = 8
#: Kinds of requests in the flood, as (method, tag of To).
KINDS = [("INVITE", ""), ("MESSAGE", ""), ("OPTIONS", ""), ("REGISTER", ""), ("BYE", ";tag=x")]
REQUEST = (
    "{method} sip:600@10.255.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {host};branch=z9hG4bK{number}\r\n"
    "Max-Forwards: 70\r\nFrom: <sip:a@{host}>;tag={number}\r\nTo: <sip:600@10.255.0.1>{tag}\r\n"
    "Call-ID: {number}@{host}\r\nCSeq: 1 {method}\r\nContact: <sip:a@{host}>\r\n"
    "Content-Length: 0\r\n\r\n"
)


async def answer() -> None:
    """The phone: answers every call that rings, and sends received sound back."""

    async def serve(incoming: IncomingCall) -> None:
        try:
            async with incoming.answer() as call:
                with call.open_audio() as port:
                    async for heard in port:
                        port.send(heard)
        except* (CallEnded, CallFailed):
            pass

    async with (
        open_phone(
            listen=(VICTIM, PORT), callers=[TRUNK], strangers=2, ports=PortRange(20_000, 24_999)
        ) as phone,
        trio.open_nursery() as nursery,
    ):
        print("ready", flush=True)
        async for incoming in phone.incoming_calls():
            nursery.start_soon(serve, incoming)


def flood(
    rate: int,
    sources: int,
    seconds: float,
    victim: tuple[str, int] = (VICTIM, PORT),
    network: int = 10,
) -> None:
    """Send ``rate`` requests a second, each from the next of ``sources`` addresses.

    The addresses are in ``network``/8, which has to be local.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("0.0.0.0", 0))
        began = time.monotonic()
        for number in range(int(rate * seconds)):
            index = number % sources
            host = f"{network}.{index >> 16 & 127}.{index >> 8 & 255}.{index & 255}"
            method, tag = KINDS[(number + number // sources) % len(KINDS)]
            data = REQUEST.format(method=method, host=host, number=number, tag=tag).encode()
            information = struct.pack("=I4s4s", 0, socket.inet_aton(host), bytes(4))
            with contextlib.suppress(OSError):
                sender.sendmsg([data], [(socket.IPPROTO_IP, _IP_PKTINFO, information)], 0, victim)
            time.sleep(max(0.0, began + number / rate - time.monotonic()))


class Sniffer(threading.Thread):
    """Records the longest gap between RTP packets that the phone sends to one port."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.port: int | None = None
        self.longest = 0.0
        self.packets = 0

    def run(self) -> None:
        """Read packets until the process ends."""
        last: float | None = None
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as raw:
            while True:
                packet, address = raw.recvfrom(2048)
                if address[2] != 0 or packet[9] != 17:  # For another host, or not UDP.
                    continue
                head = (packet[0] & 15) * 4
                (port,) = struct.unpack_from("!H", packet, head + 2)
                if packet[12:16] != socket.inet_aton(VICTIM) or port != self.port:
                    continue
                now = time.monotonic()
                if last is not None:
                    self.longest = max(self.longest, now - last)
                last = now
                self.packets += 1


async def call_throughout(seconds: float) -> None:
    """The trunk: one lasting call, and others one after the other."""
    sniffer = Sniffer()
    sniffer.start()
    tried = set_up = 0
    ports = PortRange(30_000, 30_999)
    async with (
        open_phone(listen=(TRUNK, PORT), ports=ports) as phone,
        phone.call(f"sip:600@{VICTIM}") as steady,
    ):
        await steady.answered(timeout=10)
        sniffer.port = rtp_port(steady)
        end = trio.current_time() + seconds
        while trio.current_time() < end:
            tried += 1
            try:
                async with phone.call(f"sip:600@{VICTIM}") as call:
                    await call.answered(timeout=4)
                    set_up += 1
                    await trio.sleep(0.1)
            except (CallFailed, CallEnded) as error:
                print(f"  not set up: {error}")
            await trio.sleep(0.05)
        alive = steady.state == "answered"
    print(f"calls set up: {set_up} of {tried} ({set_up / tried:.1%}); the first is up: {alive}")
    print(f"longest gap in the sound: {1000 * sniffer.longest:.0f} ms, {sniffer.packets} packets")


def rtp_port(call: Call) -> int:
    """The address for RTP in the call's own offer."""
    offer = next(entry.data for entry in call.timeline if entry.sent and b"m=audio" in entry.data)
    return int(offer.partition(b"m=audio ")[2].split()[0])


def lost() -> int:
    """Datagrams that were lost because the buffer of a socket in this namespace was full."""
    names, values = (
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if "Udp: " in line
    )
    return int(values[names.index("RcvbufErrors")])


def run_all(rate: int, sources: int, seconds: float) -> None:
    """Start the phone and the flood, and act as the trunk."""
    for command in ("ip link set lo up", "ip route add local 10.0.0.0/8 dev lo"):
        subprocess.run(command.split(), check=True)
    script = [sys.executable, __file__]
    phone = subprocess.Popen([*script, "--role", "phone"], stdout=subprocess.PIPE)
    try:
        assert phone.stdout is not None
        phone.stdout.readline()
        before = memory(phone.pid)
        options = ["--rate", str(rate), "--sources", str(sources), "--seconds", str(seconds)]
        flooding = subprocess.Popen([*script, "--role", "flood", *options])
        try:
            trio.run(call_throughout, seconds)
        finally:
            flooding.kill()
            flooding.wait()
        print(f"memory of the phone: {before:.0f} MB before, {memory(phone.pid):.0f} MB after")
        print(
            f"CPU of the phone: {cpu(phone.pid) / seconds:.0%} of a core; "
            f"load of the machine: {os.getloadavg()[0]:.1f}; "
            f"datagrams lost in full buffers: {lost()}"
        )
    finally:
        phone.kill()
        phone.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rate", type=int, default=1000, help="requests a second")
    parser.add_argument("--sources", type=int, default=10_000, help="forged addresses")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--role", choices=("all", "inside", "phone", "flood"), default="all")
    chosen = parser.parse_args()
    random.seed(1)
    if chosen.role == "all":
        arguments = [*sys.argv[1:], "--role", "inside"]
        unshare = ["unshare", "--map-root-user", "--net", sys.executable, __file__]
        sys.exit(subprocess.run([*unshare, *arguments]).returncode)
    if chosen.role == "phone":
        spech.run(answer)
    elif chosen.role == "flood":
        flood(chosen.rate, chosen.sources, chosen.seconds)
    else:
        run_all(chosen.rate, chosen.sources, chosen.seconds)
