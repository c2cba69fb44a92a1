"""Finds the public addresses of a call's media with STUN, and sets up ICE."""

from __future__ import annotations

import ipaddress
import logging
import random
import re
from collections.abc import Callable, Sequence
from typing import Final

import trio

from spech.addresses import Address, numeric
from spech.agreement import local_candidates
from spech.errors import LocalProtocolError, ServerUnreachable
from spech.rtp.gathering import reflexive
from spech.rtp.ports import PortPair
from spech.sip.description.ice import IceNegotiation
from spech.sip.description.media_security import MediaSecurity
from spech.sip.description.offer_answer import Negotiator
from spech.sip.description.payload_types import AudioFormat
from spech.sip.endpoint import Endpoint
from spech.sip.message.uri import Uri

_log: Final = logging.getLogger(__name__)

_STUN_URI: Final = re.compile(
    r"stun:(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:\[\]?/@]+)(?::(?P<port>[0-9]{1,5}))?"
)
_STUN_PORT: Final = 3478
#: Seconds that STUN may delay a call.
_PATIENCE: Final = 0.5


class Reach:
    """Finds the addresses at which a phone's media can be reached through a NAT.

    Args:
        stun: the STUN server, ``stun:host[:port]`` (RFC 7064), or None.
        ice: True to offer ICE, False not to use it, None to offer it if there is a STUN server
            and to accept it in any case.
        rng: generates credentials and transaction IDs.

    Raises:
        LocalProtocolError: ``stun`` is not a STUN URI.
    """

    def __init__(self, stun: str | None, ice: bool | None, rng: random.Random) -> None:
        self._server = None if stun is None else stun_server(stun)
        self._ice = ice
        self._rng = rng

    async def negotiators(
        self,
        endpoint: Endpoint,
        pair: PortPair,
        formats: Sequence[AudioFormat],
        security: Callable[[], MediaSecurity],
        *,
        comfort_noise: bool,
    ) -> Callable[[int], Negotiator]:
        """Find the public addresses of a call's sockets.

        Takes at most half a second; returns at once without a STUN server.

        Returns:
            A function that makes the call's negotiators. Its argument is the session ID of the
            ``o=`` line.
        """
        bases = (pair.address, pair.port), (pair.address, pair.port + 1)
        seen: tuple[Address | None, Address | None] = (None, None)
        if self._server is not None:
            seen = await self._seen(endpoint, pair, self._server)
        candidates = local_candidates(bases, seen)
        address, port = seen[0] or bases[0]
        rtcp = (seen[1] or bases[1])[1]
        offers = self._ice if self._ice is not None else self._server is not None

        def make(number: int) -> Negotiator:
            return Negotiator(
                formats,
                address,
                port,
                number,
                rtcp_port=None if rtcp == port + 1 else rtcp,
                ice=None
                if self._ice is False
                else IceNegotiation(
                    candidates,
                    offers=offers,
                    lite=not offers and _needs_no_checks(pair.address),
                    rng=self._rng,
                ),
                security=security(),
                comfort_noise=comfort_noise,
            )

        return make

    async def _seen(
        self, endpoint: Endpoint, pair: PortPair, server: Uri
    ) -> tuple[Address | None, Address | None]:
        with trio.move_on_after(_PATIENCE):
            try:
                flows = await endpoint.flows_to(server, "udp")
            except ServerUnreachable as error:
                _log.warning("the STUN server cannot be reached: %s", error)
                return None, None
            version = ipaddress.ip_address(pair.address).version
            for flow in flows:
                if ipaddress.ip_address(flow.remote[0]).version == version:
                    seen = await reflexive(pair, flow.remote, self._rng)
                    if seen[0] is not None:
                        return seen
                    break
        _log.warning("the STUN server %s does not answer", server.host)
        return None, None


def stun_server(text: str) -> Uri:
    """Parse ``stun:host[:port]`` (RFC 7064) into a SIP URI, which the resolver accepts.

    Raises:
        LocalProtocolError: it is not a STUN URI.
    """
    match = _STUN_URI.fullmatch(text.strip())
    port = int(match["port"] or _STUN_PORT) if match else 0
    if match is None or not 0 < port < 65536:
        raise LocalProtocolError(f"{text!r} is not a STUN server: write stun:host[:port]")
    return Uri("sip", None, match["host"], port)


def _needs_no_checks(address: str) -> bool:
    """Whether every possible caller can reach this address: it is public, or it is loopback."""
    host = numeric(address)
    return host is not None and (host.is_loopback or host.is_global)
