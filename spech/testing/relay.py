"""A network that misbehaves by a seed: a UDP relay on loopback between two ends of a stream.

    async with open_relay(("127.0.0.1", 40000), Network(loss=0.05), seed=1) as relay:
        ...  # send RTP to relay.address instead

What comes to ``relay.address`` goes on to the target as the network pleases; what the target sends
back goes untouched to whoever spoke last. The same seed does the same to the same packets, in
number and order; how much each is delayed does not depend on the machine either.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

#: Seconds by which a packet is held back that others are to overtake, and at the most by which a
#: second copy comes later.
HELD_BACK = 0.05

_LARGEST = 65536
_MOST_WAITING = 10000

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Network:
    """What a network does. Times are seconds, the others shares from 0 to 1.

    Attributes:
        loss: share of the packets that never arrive.
        burst: how many in a row are lost on average (Gilbert's model); None where each is lost
            or not without regard to the others.
        delay: of every packet.
        jitter: up to so much more, evenly spread. A packet waits for those before it, as in a
            queue, so order is kept.
        reordering: share that is held back by 50 ms while others pass.
        duplication: share that arrives twice.
        drift: by which share the sender's clock runs slow; 200 ppm are 0.0002. If below zero it
            runs fast, and ``delay`` is used up.
    """

    loss: float = 0.0
    burst: float | None = None
    delay: float = 0.0
    jitter: float = 0.0
    reordering: float = 0.0
    duplication: float = 0.0
    drift: float = 0.0


class Path:
    """One direction through a network, without sockets: says when each packet arrives.

    Args:
        network: what it does.
        rng: decides.
    """

    def __init__(self, network: Network, rng: random.Random) -> None:
        self._network = network
        self._rng = rng
        self._losing = False
        self._begin: float | None = None
        self._latest = 0.0

    def arrivals(self, sent: float) -> list[float]:
        """When a packet that is sent at ``sent`` arrives: never, once or twice. Any clock."""
        network = self._network
        # All are drawn for each packet, so that one setting does not change what others decide.
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
        """Gilbert: a good state that loses nothing, a bad one that loses all."""
        loss, burst = self._network.loss, self._network.burst
        if loss >= 1.0:
            return True
        recovery = 1.0 - loss if burst is None else 1.0 / burst
        failure = loss * recovery / (1.0 - loss)
        self._losing = chance >= recovery if self._losing else chance < failure
        return self._losing


@dataclass(slots=True)
class Relay:
    """What a relay did so far.

    Attributes:
        address: where to send.
        sent: each datagram for the target, and when it came, on Trio's clock.
        delivered: each datagram that went on to the target, and when it left.
        dropped: datagrams that were lost on purpose.
    """

    address: Address
    sent: list[tuple[float, bytes]] = field(default_factory=list)
    delivered: list[tuple[float, bytes]] = field(default_factory=list)
    dropped: int = 0


@asynccontextmanager
async def open_relay(
    target: Address, network: Network, *, seed: int = 0, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Relay]:
    """Stand between a sender and ``target`` for the time of the block.

    Args:
        target: where the packets are meant to go.
        network: what happens to them on the way.
        seed: of the chance in it.
        host: to listen at.
        port: likewise; 0 for any that is free.

    Raises:
        OSError: the address is taken.
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
