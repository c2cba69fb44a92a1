"""Finds the addresses that a SIP URI leads to, to be tried in turn (RFC 3263)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from spech.addresses import Address, numeric
from spech.errors import ServerUnreachable
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import DEFAULT_PORTS, Target

#: NAPTR services (RFC 3263 4.1, RFC 7118 8.4) and SRV names (RFC 3263 4.2) of the transports.
_SERVICES: Final = {
    "sip+d2u": "udp",
    "sip+d2t": "tcp",
    "sips+d2t": "tls",
    "sip+d2w": "ws",
    "sips+d2w": "wss",
}
_SRV_NAMES: Final = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}
#: Seconds for all look-ups together, and for a kind that is not needed.
_PATIENCE: Final = 4.0
_SHORT_PATIENCE: Final = 1.3
#: Answers that are remembered, and the seconds for which the lack of one is; at the most a day.
_REMEMBERED: Final = 1000
_NEGATIVE_SECONDS: Final = 10.0
_LONGEST_SECONDS: Final = 86_400.0
#: Addresses that one URI may lead to: each costs a caller half a minute when all are silent.
_MOST_TARGETS: Final = 16
#: Records of one answer, and transports that NAPTR names, that are used. A peer names the host in
#: its Contact, so it may be the zone of an attacker, with thousands of records.
_MOST_RECORDS: Final = 64
_MOST_SERVICES: Final = 8

_Records = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Server:
    """One step before the address."""

    transport: str
    host: str
    port: int


class Resolver:
    """Asks the machine's name servers, and remembers what they said for as long as they allow.

    Args:
        rng: chooses among servers of one priority by their weights (RFC 2782).
        name_servers: address and port of those to ask, in place of the machine's.
        hosts: the file of names that need no name server.
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        name_servers: Sequence[Address] | None = None,
        hosts: Path = Path("/etc/hosts"),
    ) -> None:
        # Loads dnspython: when a phone opens, not with the library and not while calls are up.
        from spech.sip.name_servers import NameServers

        self._rng = rng
        self._hosts = hosts
        self._known: dict[tuple[str, str], tuple[float, _Records]] = {}
        self._name_servers = NameServers(name_servers)

    async def resolve(self, uri: Uri, transport: str | None = None) -> list[Target]:
        """Where to send requests to ``uri``, best first. Cancelling abandons the look-up.

        Args:
            uri: its ``;transport=`` and its scheme decide where they say something.
            transport: the one to use where the URI names none; None for what DNS recommends.

        Raises:
            ServerUnreachable: the name is unknown (``unknown_host``), or the name servers are
                silent for 4 s.
        """
        chosen = (uri.parameter("transport") or transport or "").lower() or None
        if uri.scheme == "sips":
            chosen = "wss" if chosen in ("ws", "wss") else "tls"
        host = uri.parameter("maddr") or uri.host
        found: list[Target] = []
        with trio.move_on_after(_PATIENCE) as patience:
            for server in await self._servers(host, uri.port, chosen):
                for address in await self._addresses(server.host):
                    target = Target(server.transport, (address, server.port), uri.host)
                    if target not in found:
                        found.append(target)
                if len(found) >= _MOST_TARGETS:
                    break
        if found:
            return found[:_MOST_TARGETS]
        if patience.cancelled_caught:
            raise _silence(host)
        raise ServerUnreachable(f"The host {host!r} is unknown.", unknown_host=True)

    async def _servers(self, host: str, port: int | None, chosen: str | None) -> list[_Server]:
        """Host names and ports in the order of RFC 3263 4.1 and 4.2."""
        carrier = chosen or "udp"
        plain = [_Server(carrier, host, port or DEFAULT_PORTS.get(carrier, 5060))]
        if port is not None or numeric(host) is not None or self._in_file(host):
            return plain
        if chosen is not None:
            if chosen not in _SRV_NAMES:
                return plain
            return await self._services([(chosen, f"{_SRV_NAMES[chosen]}.{host}")]) or plain
        return await self._recommended(host) or plain

    async def _recommended(self, host: str) -> list[_Server]:
        pointers = [
            pointer
            for pointer in await self._look_up(host, "NAPTR", _SHORT_PATIENCE) or ()
            if pointer.flags.lower() == b"s" and _service(pointer) in _SERVICES
        ]
        pointers.sort(key=lambda pointer: (pointer.order, pointer.preference))
        names = [
            (_SERVICES[_service(pointer)], pointer.replacement.to_text(True))
            for pointer in pointers
        ]
        return await self._services(
            names[:_MOST_SERVICES]
            or [(carrier, f"{name}.{host}") for carrier, name in _SRV_NAMES.items()]
        )

    async def _services(self, names: Iterable[tuple[str, str]]) -> list[_Server]:
        """The servers behind SRV names, all looked up at once; none where no such record exists.

        Only then may the address of the host itself be used (RFC 3263 4.2).

        Raises:
            ServerUnreachable: no server was found, and a name server did not answer.
        """
        names = list(names)
        answers: dict[str, _Records | None] = {}

        async def ask(name: str) -> None:
            answers[name] = await self._look_up(name, "SRV", _PATIENCE)

        async with trio.open_nursery() as nursery:
            for _, name in names:
                nursery.start_soon(ask, name)
        servers = [
            _Server(carrier, record.target.to_text(True), record.port)
            for carrier, name in names
            for record in self._by_weight(answers[name] or ())
            if record.target.to_text() != "."  # "." says that the service is not offered.
        ]
        unanswered = [name for name, records in answers.items() if records is None]
        if unanswered and not servers:
            raise _silence(unanswered[0])
        return servers

    def _by_weight(self, records: _Records) -> list[Any]:
        """Priorities in order; within one, chance by weight (RFC 2782)."""
        ordered = []
        left = sorted(records, key=lambda record: (record.priority, record.weight))
        while left:
            group = [record for record in left if record.priority == left[0].priority]
            point = self._rng.randint(0, sum(record.weight for record in group))
            for record in group:
                point -= record.weight
                if point <= 0:
                    break
            ordered.append(record)
            left.remove(record)
        return ordered

    async def _addresses(self, host: str) -> list[str]:
        """Numeric addresses, IPv4 first.

        Raises:
            ServerUnreachable: none was found, and a name server did not answer.
        """
        address = numeric(host)
        if address is not None:
            return [str(address)]
        if listed := self._in_file(host):
            return listed
        found: list[str] = []
        answered = True
        for kind in ("A", "AAAA"):
            records = await self._look_up(host, kind, _SHORT_PATIENCE if found else _PATIENCE)
            answered = answered and records is not None
            found += [record.address for record in records or ()]
        if not found and not answered:
            raise _silence(host)
        return found

    def _in_file(self, host: str) -> list[str]:
        name = host.rstrip(".").lower()
        found: list[str] = []
        try:
            lines = self._hosts.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        for line in lines:
            words = line.partition("#")[0].lower().split()
            if len(words) > 1 and name in words[1:] and numeric(words[0]) is not None:
                found.append(words[0])
        if not found and (name == "localhost" or name.endswith(".localhost")):
            return ["127.0.0.1", "::1"]  # RFC 6761 6.3
        return sorted(found, key=lambda address: ":" in address)

    async def _look_up(self, name: str, kind: str, patience: float) -> _Records | None:
        """The records of one kind, () where there are none, None where no name server answers."""
        key = (name.lower(), kind)
        now = trio.current_time()
        until, records = self._known.get(key, (0.0, ()))
        if now < until:
            return records
        answer = await self._name_servers.ask(name, kind, patience)
        if answer is None:
            return None  # Nothing was learned, so nothing is remembered.
        found, seconds = answer
        records = found[:_MOST_RECORDS]
        keep = _NEGATIVE_SECONDS if seconds is None else min(seconds, _LONGEST_SECONDS)
        while len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[key] = (now + keep, records)
        return records


def _service(pointer: Any) -> str:
    """The service of a NAPTR record; the wire may hold any bytes there."""
    return str(pointer.service.decode("ascii", "replace").lower())


def _silence(name: str) -> ServerUnreachable:
    return ServerUnreachable(f"The name server did not answer for {name!r}.", unknown_host=True)
