"""Decides whose calls ring: the registrar's, allowed callers', and optionally some strangers'."""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final, Literal

import trio

from spech.errors import LocalProtocolError, ServerUnreachable
from spech.shares import Standing
from spech.sip.agent import Screen, UserAgent
from spech.sip.call.session import Session
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.uri import Uri
from spech.sip.transaction.arrival import answer_tag
from spech.sip.transaction.flow import Flow

_log: Final = logging.getLogger(__name__)

#: Addresses, networks and host names; or "anyone".
AllowedCallers = Sequence[str] | Literal["anyone"]

#: Seconds between two look-ups of the trunks' host names.
_LOOK_UP_AGAIN: Final = 300.0
#: How many refused sources are logged, each once.
_REMEMBERED_SOURCES: Final = 1000
_HOST_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.(?!-)[A-Za-z0-9-]{1,63})*\.?")

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: Status and headers.
_Refusal = tuple[int, list[tuple[str, str]]]


class Callers:
    """Decides whose calls ring, before a session is created.

    A call rings if it comes from a server that the account is registered with or from an allowed
    address. All other callers are strangers and get 403. If ``allowed`` is empty, calls from this
    machine (over loopback) ring too. Otherwise loopback has to be listed, because a proxy on this
    machine may forward calls from the whole network.

    Args:
        allowed: addresses, networks (``192.0.2.0/24``) and host names, or "anyone".
        strangers: how many calls of strangers may ring at once; further ones get 486.
        max_calls: how many incoming calls may exist at once; further ones get 503 with
            Retry-After. None for no limit.
        screen: called first with each request outside a dialog (see ``UserAgent``).

    Raises:
        LocalProtocolError: an entry of ``allowed`` is neither an address, a network nor a name.
    """

    def __init__(
        self,
        allowed: AllowedCallers = (),
        *,
        strangers: int = 0,
        max_calls: int | None = None,
        screen: Screen | None = None,
    ) -> None:
        self._anyone = allowed == "anyone"
        self._networks: list[_Network] = []
        self._names: list[str] = []
        for entry in () if isinstance(allowed, str) else allowed:
            network = _network(entry)
            if network is not None and not network.prefixlen:
                self._anyone = True
            elif network is not None:
                self._networks.append(network)
            elif _HOST_NAME.fullmatch(entry):
                self._names.append(entry)
            else:
                raise LocalProtocolError(
                    f"{entry!r} is neither an address, a network nor a host name"
                )
        self._trusts_loopback = not allowed or self._anyone
        self._strangers = strangers
        self._max_calls = max_calls
        #: Whether every call is refused, because the phone is to end.
        self.closed = False
        self._screen = screen
        self._agent: UserAgent | None = None
        #: The addresses of the allowed host names, by name.
        self._found: dict[str, frozenset[str]] = {}
        self._blamed: set[str] = set()
        #: Whether another process looks the names up; see :meth:`learn`.
        self.told = False
        #: Called when addresses of names have been found.
        self.on_found: Callable[[], None] = lambda: None
        #: How many calls there are, for ``max_calls``.
        self.count: Callable[[], int] = lambda: 0

    def attach(self, agent: UserAgent) -> None:
        """Begin to screen the calls that ``agent`` receives, and tell it which peers are known.

        See :attr:`~spech.sip.agent.UserAgent.is_known_peer`.
        """
        self._agent = agent
        self.count = lambda: len(_incoming(agent))
        agent.is_known_peer = self.names

    def screen(self, request: Request, flow: Flow, now: float) -> Response | Standing | None:
        """The response that refuses ``request``; otherwise it is let in (see ``UserAgent``).

        OPTIONS is refused where a call would be, because there is no room for one: this is how load
        balancers learn it (RFC 3261 11.2).
        """
        verdict = None if self._screen is None else self._screen(request, flow, now)
        agent = self._agent
        if isinstance(verdict, Response) or agent is None:
            return verdict
        if request.method == "MESSAGE" and not self.knows(flow.remote[0]):
            self._blame(flow.remote[0])
            return response_to(request, 403, to_tag=answer_tag(agent.ids, request))
        refusal = None
        if request.method in ("INVITE", "OPTIONS"):
            refusal = self._no_room(agent)
        if refusal is None and request.method == "INVITE":
            refusal = self._unwelcome(agent, flow.remote[0])
        if refusal is None:
            return verdict
        status, headers = refusal
        return response_to(request, status, to_tag=answer_tag(agent.ids, request), headers=headers)

    def _no_room(self, agent: UserAgent) -> _Refusal | None:
        """Why no call at all may ring, or None."""
        if not self.closed and (self._max_calls is None or self.count() < self._max_calls):
            return None
        return 503, [agent.retry_after()]

    def _unwelcome(self, agent: UserAgent, source: str) -> _Refusal | None:
        """Why a call from ``source`` may not ring, or None."""
        if self.knows(source):
            return None
        if not self._strangers:
            self._blame(source)
            return 403, []
        strange = sum(not self.knows(_source(session)) for session in _incoming(agent))
        return (486, []) if strange >= self._strangers else None

    def knows(self, source: str) -> bool:
        """Whether calls from this address ring."""
        return self._anyone or self.names(source)

    def names(self, source: str) -> bool:
        """Whether this address is a registrar, an allowed caller or, by default, loopback."""
        if self._trusts_loopback and _is_loopback(source):
            return True
        if self._agent is not None and self._agent.registered_at(source):
            return True
        if any(source in addresses for addresses in self._found.values()):
            return True
        address = _address(source)
        return any(address in network for network in self._networks)

    @property
    def addresses(self) -> list[str]:
        """The addresses of the allowed host names."""
        return sorted(frozenset().union(*self._found.values()))

    def learn(self, addresses: Iterable[str]) -> None:
        """Take over what another process has found."""
        self._found = {"": frozenset(addresses)}

    def _blame(self, source: str) -> None:
        if source not in self._blamed and len(self._blamed) < _REMEMBERED_SOURCES:
            self._blamed.add(source)
            _log.warning(
                "refused a call or a message from %s, which is neither the registrar nor an "
                "allowed caller (logged once)",
                source,
            )

    async def run(
        self, flows_to: Callable[[Uri], Awaitable[list[Flow]]], server: Uri | None
    ) -> None:
        """Keep the addresses of the allowed host names up to date, until cancelled.

        There is nothing to do where another process does it.

        Args:
            flows_to: finds the servers for a URI.
            server: the server of an account that does not register; its calls ring.
        """
        wanted = {name: Uri("sip", None, name.removesuffix("."), None) for name in self._names}
        if server is not None:
            wanted[server.host] = server
        while wanted and not self.told:
            for name, uri in wanted.items():
                try:
                    flows = await flows_to(uri)
                except ServerUnreachable as error:
                    _log.warning(
                        "the address of the allowed caller %s is not found: %s", name, error
                    )
                else:
                    self._found[name] = frozenset(flow.remote[0] for flow in flows)
                    self.on_found()
            await trio.sleep(_LOOK_UP_AGAIN)


def _incoming(agent: UserAgent) -> list[Session]:
    return [one for one in agent.sessions if not one.outgoing and one.ended is None]


def _source(session: Session) -> str:
    """The address that an incoming call came from."""
    assert session.dialog is not None
    return session.dialog.set_up[0].remote[0]


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _address(source: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Parse a numeric address; an IPv4-mapped IPv6 address becomes an IPv4 address."""
    address = ipaddress.ip_address(source.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


@lru_cache(maxsize=4096)
def _is_loopback(source: str) -> bool:
    return _address(source).is_loopback
