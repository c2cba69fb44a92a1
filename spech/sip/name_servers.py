"""Asks name servers, by dnspython, whose import takes several hundredths of a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver

from spech.addresses import Address


class NameServers:
    """The name servers of this machine, or others.

    Args:
        addresses: address and port of those to ask, in place of the machine's.
    """

    def __init__(self, addresses: Sequence[Address] | None) -> None:
        self._client: dns.asyncresolver.Resolver | None = None
        if addresses is not None:
            self._client = dns.asyncresolver.Resolver(configure=False)
            self._client.nameservers = [
                dns.nameserver.Do53Nameserver(host, port) for host, port in addresses
            ]
        else:
            try:
                self._client = dns.asyncresolver.Resolver()
            except dns.resolver.NoResolverConfiguration:
                self._client = None  # Then only the file of hosts is left.

    async def ask(
        self, name: str, kind: str, patience: float
    ) -> tuple[tuple[Any, ...], float | None] | None:
        """The records of one kind, and for how many seconds they may be remembered.

        Args:
            name: in absolute form, or for addresses relative to the machine's search list.
            kind: "A", "AAAA", "SRV" or "NAPTR".
            patience: seconds until the answer counts as missing.

        Returns:
            No records and None where there are none of this kind; None where no server answers.
        """
        if self._client is None:
            return (), None
        try:
            answer = await self._client.resolve(
                name, kind, lifetime=patience, search=kind in ("A", "AAAA")
            )
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return (), None
        except (dns.exception.DNSException, OSError, UnicodeError):
            return None
        return tuple(answer), float(answer.rrset.ttl if answer.rrset else 0)
