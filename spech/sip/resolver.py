"""From a SIP URI to the addresses that are tried in turn."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

import trio

from spech.errors import ServerUnreachable
from spech.sip.flow import Target
from spech.sip.uri import Uri

#: The port of SIP over UDP and TCP where the URI names none (RFC 3261 19.1.2).
SIP_PORT: Final = 5060


async def resolve(uri: Uri, transport: str | None = None, *, timeout: float = 4.0) -> list[Target]:
    """The numeric addresses for requests to ``uri``, best first.

    Cancelling abandons the look-up.

    Raises:
        ServerUnreachable: the name is unknown (``unknown_host``), or the name server is silent for
            ``timeout`` seconds.
    """
    port = uri.port or SIP_PORT
    carrier = (uri.parameter("transport") or transport or "udp").lower()
    try:
        return [Target(carrier, (str(ipaddress.ip_address(uri.host)), port), uri.host)]
    except ValueError:
        pass
    found: list[Target] = []
    with trio.move_on_after(timeout) as scope:
        try:
            # IPv4 only: the endpoint's socket is one for IPv4.
            answers = await trio.socket.getaddrinfo(
                uri.host, port, family=socket.AF_INET, type=socket.SOCK_DGRAM
            )
        except (OSError, UnicodeError) as error:
            raise ServerUnreachable(
                f"The host {uri.host!r} is unknown.", unknown_host=True
            ) from error
        for answer in answers:
            address = Target(carrier, (str(answer[4][0]), port), uri.host)
            if address not in found:
                found.append(address)
    if scope.cancelled_caught:
        raise ServerUnreachable(
            f"The name server did not answer for {uri.host!r}.", unknown_host=True
        )
    return found
