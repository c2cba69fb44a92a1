"""From a SIP URI to the addresses that are tried in turn."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

import trio

from spech.errors import ServerUnreachable
from spech.sip.flow import Address
from spech.sip.uri import Uri

#: The port of SIP over UDP and TCP where the URI names none (RFC 3261 19.1.2).
SIP_PORT: Final = 5060


async def resolve(uri: Uri, *, timeout: float = 4.0) -> list[Address]:
    """The numeric addresses for requests to ``uri``, best first.

    Cancelling abandons the look-up.

    Raises:
        ServerUnreachable: the name is unknown (``unknown_host``), or the name server is silent for
            ``timeout`` seconds.
    """
    port = uri.port or SIP_PORT
    try:
        return [(str(ipaddress.ip_address(uri.host)), port)]
    except ValueError:
        pass
    found: list[Address] = []
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
            address = (str(answer[4][0]), port)
            if address not in found:
                found.append(address)
    if scope.cancelled_caught:
        raise ServerUnreachable(
            f"The name server did not answer for {uri.host!r}.", unknown_host=True
        )
    return found
