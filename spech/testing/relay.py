"""A UDP relay on loopback that simulates a bad network, reproducibly by a seed.

    async with open_relay(("127.0.0.1", 40000), Network(loss=0.05), seed=1) as relay:
        ...  # send RTP to relay.address instead

Packets to ``relay.address`` are impaired and forwarded to the target; those that the target sends
back go unchanged to the latest sender. The same seed impairs the same packets in the same way, by
number and order, and delays them equally on every machine.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from spech.addresses import Address

#: Delay in seconds of a packet that others overtake, and the largest delay of a second copy.
HELD_BACK = 0.05

_LARGEST = 65536
_MOST_WAITING = 10000


@dataclass(frozen=True, slots=True)
class Network:
    """The impairments of a network. Times are in seconds, the others are shares from 0 to 1.

    Attributes:
        loss: share of the packets that never arrive.
        burst: how many in a row are lost on average (Gilbert model); None for independent losses.
        delay: of every packet.
        jitter: the largest additional delay, uniformly distributed. A packet waits for those
            before it, as in a queue, so order is kept.
        reordering: share that is delayed by 50 ms while others pass.
        duplication: share that arrives twice.
        drift: the relative error of the sender's clock, positive if it is slow; 200 ppm are
            0.0002. A fast clock uses up ``delay``.
    """

    loss: float = 0.0
    burst: float | None = None
    delay: float = 0.0
    jitter: float = 0.0
    reordering: float = 0.0
    duplication: float = 0.0
    drift: float = 0.0


class Path:
    """One direction through a network, without sockets: computes when each packet arrives.

    Args:
        network: its impairments.
        rng: the source of randomness.
    """

    def __init__(self, network: Network, rng: random.Random) -> None:
        self._network = network
        self._rng = rng
        self._losing = False
        self._begin: float | None = None
        self._latest = 0.0

    def arrivals(self, sent: float) -> list[float]:
        """The arrival times of a packet sent at ``sent``: none, one or two. Any clock."""
        network = self._network
        # Draw all numbers for each packet, so that one setting does not affect the others.
        loss, jitter, held, twice, apart = (self._rng.random() for _ in range(5))
        if self._begin is None:
            self._begin = sent
            self._latest = sent
        arrival = sent + network.delay + network.jitter * jitter
        arrival += network.drift * (sent - self._begin)
        if self._is_lost(loss):
            return []
        if held < network.reordering:
            arrival += HELD_BACK
        else:
            arrival = self._latest = max(arrival, self._latest, sent)
        return [arrival, arrival + HELD_BACK * apart][: 1 + (twice < network.duplication)]

    def _is_lost(self, chance: float) -> bool:
        """The Gilbert model: a good state that loses nothing, a bad one that loses all."""
        loss, burst = self._network.loss, self._network.burst
        if loss >= 1.0:
            return True
        recovery = 1.0 - loss if burst is None else 1.0 / burst
        failure = loss * recovery / (1.0 - loss)
        self._losing = chance >= recovery if self._losing else chance < failure
        return self._losing


@dataclass(slots=True)
class Relay:
    """What a relay has done so far.

    Attributes:
        address: where to send.
        sent: each datagram for the target, and when it arrived, on Trio's clock.
        delivered: each datagram that was forwarded to the target, and when.
        dropped: datagrams that were dropped deliberately.
    """

    address: Address
    sent: list[tuple[float, bytes]] = field(default_factory=list)
    delivered: list[tuple[float, bytes]] = field(default_factory=list)
    dropped: int = 0


@asynccontextmanager
async def open_relay(
    target: Address, network: Network, *, seed: int = 0, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Relay]:
    """Relay packets between a sender and ``target`` until the block ends.

    Args:
        target: where the packets go.
        network: the impairments.
        seed: of its randomness.
        host: the address to listen on.
        port: the port to listen on; 0 for any free one.

    Raises:
        OSError: the address is in use.
    """
    sock = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
    with sock:
        await sock.bind((host, port))
        relay = Relay(sock.getsockname())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_run, sock, target, Path(network, random.Random(seed)), relay)
            yield relay
            nursery.cancel_scope.cancel()


async def _run(sock: trio.socket.SocketType, target: Address, path: Path, relay: Relay) -> None:
    """Read, and send what is due; one task, so nothing is shared."""
    waiting: list[tuple[float, int, bytes]] = []
    source: Address | None = None
    number = 0
    while True:
        while waiting and waiting[0][0] <= trio.current_time():
            _, _, datagram = heapq.heappop(waiting)
            relay.delivered.append((trio.current_time(), datagram))
            await sock.sendto(datagram, target)
        sender = None
        with trio.move_on_at(waiting[0][0] if waiting else float("inf")):
            datagram, sender = await sock.recvfrom(_LARGEST)
        if sender == target:
            if source is not None:
                await sock.sendto(datagram, source)
        elif sender is not None:
            source = sender
            now = trio.current_time()
            relay.sent.append((now, datagram))
            arrivals = path.arrivals(now)
            relay.dropped += not arrivals
            for arrival in arrivals:
                if len(waiting) < _MOST_WAITING:
                    number += 1
                    heapq.heappush(waiting, (arrival, number, datagram))
