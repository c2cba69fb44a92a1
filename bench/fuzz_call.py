"""Damaged SIP, RTP, RTCP, STUN and DTLS packets against a running call, which has to survive.

    python bench/fuzz_call.py [--minutes 10] [--seed 1] [--encryption off|sdes|dtls]

Two phones in one process talk over loopback. Damaged packets of every kind go to all their ports:
from strangers, and from the other phone's own sockets, so that they are accepted. At the end both
sides of the call must be up, digits must pass in both directions, and no guard may have caught an
exception. The same seed makes the same packets.
"""

from __future__ import annotations

import argparse
import gc
import logging
import random
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import trio

from spech import Account, Call, IncomingCall, Phone, PortRange, SpechError, open_phone

LOOPBACK = "127.0.0.1"
TORTURE = Path(__file__).parents[1] / "tests/sip/data"
#: Packets between two pauses, and the pause in seconds: enough to keep a core busy, not a flood.
BATCH = 10
PAUSE = 0.01
SHARP = (b"\r\n", b"\0", b'"', b"\\", b"<", b";", b"%", b"\xff" * 4, b"\x7f\xff", b"-1", b"")
#: Seconds that a phone waits for its last responses; peers that do not exist send none.
DRAIN = 1.0
#: The digits that are sent before and after the damaged packets.
CHECKS = "17"
DTLS_HELLO = bytes.fromhex("16feff0000000000000000003001000024000000000000002400") + bytes(36)
STUN_REQUEST = struct.pack("!HHI12s", 1, 8, 0x2112A442, bytes(12)) + bytes.fromhex(
    "0006000175000000"
)
RTCP_REPORT = bytes.fromhex("81c8000c") + bytes(48) + bytes.fromhex("81ca0002000000010103616263")
RTCP_EXTENDED = bytes.fromhex("80cf000800000001040000020000000000000000070000080000000000000000")


def rtp(payload_type: int, payload: bytes) -> bytes:
    """A valid RTP packet."""
    return struct.pack("!BBHII", 0x80, payload_type, 1, 160, 7) + payload


MEDIA = (
    rtp(0, bytes(160)),
    rtp(8, b"\xd5" * 160),
    rtp(101, b"\x05\x8a\x03\x20"),
    rtp(13, b"\x40"),
    rtp(96, bytes(80)),
    RTCP_REPORT,
    RTCP_EXTENDED,
    bytes.fromhex("80cb000100000001"),
    bytes.fromhex("a6c80000"),
    STUN_REQUEST,
    DTLS_HELLO,
)


class Damage:
    """Makes damaged packets of ``seeds`` from one source of randomness."""

    def __init__(self, seeds: Sequence[bytes], rng: random.Random) -> None:
        self._seeds = seeds
        self._rng = rng

    def packet(self) -> bytes:
        """One seed with a few bytes changed, doubled, removed, or taken from another one."""
        rng = self._rng
        data = bytearray(rng.choice(self._seeds))
        for _ in range(rng.choice((0, 1, 1, 2, 4, 8))):
            at = rng.randrange(len(data) + 1)
            kind = rng.randrange(6)
            if kind == 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            elif kind == 1:
                data[at : at + rng.randrange(8)] = rng.choice(SHARP)
            elif kind == 2:
                del data[at : at + rng.randrange(1, 40)]
            elif kind == 3:
                data[at:at] = data[at : at + rng.randrange(40)] * rng.choice((1, 2, 50))
            elif kind == 4:
                other = rng.choice(self._seeds)
                data[at:at] = other[: rng.randrange(len(other) + 1)]
            elif at + 1 < len(data):
                data[at] ^= 1 << rng.randrange(8)
        return bytes(data[:65_000])


async def echo_digits(phone: Phone) -> None:
    """Answer every call and send back the digits of the checks; forged ones take time to send."""

    async def serve(incoming: IncomingCall) -> None:
        try:
            async with incoming.answer() as call:
                while True:
                    digit = await call.collect_digits(1, terminator=None)
                    if digit in CHECKS:
                        call.send_dtmf(digit)
        except* SpechError:
            pass  # A damaged INVITE, or a call that has ended.

    async with trio.open_nursery() as nursery:
        async for incoming in phone.incoming_calls():
            nursery.start_soon(serve, incoming)


@asynccontextmanager
async def running_call(
    encryption: str, ports: PortRange
) -> AsyncIterator[tuple[Phone, Phone, Call]]:
    """Two phones and a call between them."""
    account = Account(f"sip:alice@{LOOPBACK}", register=False, encryption=encryption)  # type: ignore[arg-type]
    middle = ports.first + 2 * (ports.pairs // 2)
    async with (
        open_phone(
            account,
            listen=(LOOPBACK, 0),
            ports=PortRange(ports.first, middle - 1),
            callers="anyone",
            drain=DRAIN,
        ) as alice,
        open_phone(
            account, listen=(LOOPBACK, 0), ports=PortRange(middle, ports.last), drain=DRAIN
        ) as bob,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(echo_digits, bob)
        await trio.sleep(0.1)
        async with alice.call(f"sip:bob@{LOOPBACK}:{bob.address[1]}") as call:
            await call.answered(timeout=20)
            yield alice, bob, call
        nursery.cancel_scope.cancel()


def udp_sockets(phones: tuple[Phone, ...], ports: PortRange) -> list[socket.socket]:
    """The UDP sockets of the phones: for SIP, and for media with ``ports``."""
    used = {phone.address[1] for phone in phones} | {*range(ports.first, ports.last + 1)}
    found = [one for one in gc.get_objects() if isinstance(one, socket.socket)]
    udp = [one for one in found if one.fileno() >= 0 and one.type == socket.SOCK_DGRAM]
    return [one for one in udp if one.family == socket.AF_INET and one.getsockname()[1] in used]


async def fuzz(seconds: float, seed: int, encryption: str, ports: PortRange) -> int:
    """Send damaged packets for this long; return how many.

    Raises:
        AssertionError: the call did not survive.
    """
    rng = random.Random(seed)
    async with running_call(encryption, ports) as (alice, bob, call):
        await check_digit(call, CHECKS[0])
        sip = [path.read_bytes() for path in sorted(TORTURE.glob("*.dat"))]
        # The messages of this call except its end, which have its valid identifiers.
        sip += [entry.data for entry in call.timeline if entry.data and b"BYE " not in entry.data]
        kinds = (Damage(sip, rng), Damage(MEDIA, rng), Damage([*sip[-4:], *MEDIA], rng))
        ours = udp_sockets((alice, bob), ports)
        targets = [one.getsockname() for one in ours]
        for phone in (alice, bob):
            assert phone.address in targets
        count = 0
        end = time.monotonic() + seconds
        with ExitStack() as stack:
            strangers = []
            for number in range(4):
                bound = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                bound.bind((f"127.0.0.{1 + number % 2}", 0))
                strangers.append(bound)
            while time.monotonic() < end:
                for _ in range(BATCH):
                    target = rng.choice(targets)
                    is_sip = target in (alice.address, bob.address)
                    kind = kinds[2] if rng.random() < 0.1 else kinds[0 if is_sip else 1]
                    sender = rng.choice(ours if rng.random() < 0.3 else strangers)
                    if sender.getsockname() != target:
                        send(sender, kind.packet(), target)
                        count += 1
                await trio.sleep(PAUSE)
        await trio.sleep(1)
        assert call.state == "answered", (call.state, call.status, call.reason)
        await check_digit(call, CHECKS[1])
        for phone in (alice, bob):
            dropped = phone._endpoint.agent.dropped
            assert not dropped["error"], dropped
    return count


def send(sender: socket.socket, data: bytes, target: tuple[str, int]) -> None:
    """Send it, or lose it if the socket refuses."""
    with suppress(OSError):
        sender.sendto(data, target)


async def check_digit(call: Call, digit: str) -> None:
    """Send a digit to the other phone and wait for its return."""
    for _ in range(3):  # Forged digits may have arrived as well.
        call.send_dtmf(digit)
        with trio.move_on_after(10):
            while await call.collect_digits(1, terminator=None) != digit:
                pass
            return
    raise AssertionError("no digit comes back")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--encryption", choices=("off", "sdes", "dtls"), default="off")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    sent = trio.run(
        fuzz, chosen.minutes * 60, chosen.seed, chosen.encryption, PortRange(34_400, 34_499)
    )
    print(f"{sent} damaged packets; the call is up and carries digits both ways")
