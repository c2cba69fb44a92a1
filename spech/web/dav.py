"""Requests to the server of an address book: to that server alone, and with bounded answers."""

from __future__ import annotations

import ipaddress
import logging
import ssl
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx
import trio

from spech.errors import SpechError

#: Bytes of all answers of a reading.
_LARGEST: Final = 16 << 20
#: Networks of IPv6 in which the last 32 bits are an address of IPv4 (RFC 6052).
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")

_UNANSWERED: Final = "The server does not answer."
_UNREADABLE: Final = "The answer of the server cannot be read."

_log: Final = logging.getLogger(__name__)


class AddressBookFault(SpechError):
    """An address book cannot be read; the message says why, for people."""


class DavServer:
    """Sends requests with the password of a person.

    They go to the scheme, host and port that the person has entered, and with TLS to subdomains of
    that host. A host that is not on the public internet is asked only if the administrator has
    entered such a one, because this machine reaches hosts that other people do not.

    Args:
        client: sends the requests. It must not keep connections: hosts may share an address.
        url: what the person has entered.
        administrator: whether the person is the administrator.
    """

    def __init__(self, client: httpx.AsyncClient, url: str, *, administrator: bool) -> None:
        self._client = client
        self._entered = check_url(url)
        self._administrator = administrator
        self._left = _LARGEST

    async def send(self, method: str, url: str, depth: str, body: str) -> tuple[int, str, bytes]:
        """The status, the Location and the body of an answer.

        Raises:
            AddressBookFault: the address is not allowed, or there is no answer, or it is too large.
        """
        target = check_url(url)
        if not self._may_have_password(target):
            raise AddressBookFault("The server leads to another one. Enter the address of that.")
        failure: Exception | None = None
        for address in await self._addresses(target):
            try:
                return await self._exchange(method, target, address, depth, body)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
            # ValueError: something in the address cannot be encoded.
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                failure = error
                break
        _log.info("the address book cannot be read: %s", type(failure).__name__)
        if _is_untrusted(failure):
            raise AddressBookFault("The certificate of the server is not trusted.") from failure
        raise AddressBookFault(_UNANSWERED) from failure

    def _may_have_password(self, url: httpx.URL) -> bool:
        scheme, host, port = _origin(url)
        own_scheme, own_host, own_port = _origin(self._entered)
        if (scheme, port) != (own_scheme, own_port):
            return False
        return host == own_host or (scheme == "https" and host.endswith(f".{own_host}"))

    async def _addresses(self, url: httpx.URL) -> list[str]:
        """The IP addresses that may be asked. The request goes to one of them, and the name is not
        resolved again, because it might mean another host by then."""
        found = await _resolve(url)
        if self._administrator and not all(map(is_public, await _resolve(self._entered))):
            return found
        return list(filter(is_public, found))

    async def _exchange(
        self, method: str, url: httpx.URL, address: str, depth: str, body: str
    ) -> tuple[int, str, bytes]:
        headers = {
            "Host": url.netloc.decode("ascii"),
            "Depth": depth,
            "Content-Type": "application/xml; charset=utf-8",
            "Accept-Encoding": "identity",
        }
        content = bytearray()
        # The generators of httpx end well when they are cancelled, and not when they are left.
        with trio.CancelScope() as reading:
            async with self._client.stream(
                method,
                url.copy_with(host=address),
                content=body,
                headers=headers,
                extensions={"sni_hostname": url.raw_host.decode("ascii")},
            ) as answer:
                # Not decompressed, so that little cannot become much.
                async for part in answer.aiter_raw():
                    content += part
                    self._left -= len(part)
                    if self._left < 0:
                        reading.cancel()
        if self._left < 0:
            raise AddressBookFault("The address book is too large.")
        return answer.status_code, answer.headers.get("Location", ""), bytes(content)


def check_url(url: str) -> httpx.URL:
    """Parse an address to which a password may be sent.

    Raises:
        AddressBookFault: it is not the address of a web server, or the way there is not encrypted.
    """
    try:
        urlsplit(url)  # Refuses some that httpx takes.
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        parsed = httpx.URL()
    if not parsed.host or parsed.scheme not in ("http", "https"):
        raise AddressBookFault("The address must begin with https://.")
    if parsed.scheme == "http" and not _is_here(parsed.host):
        raise AddressBookFault("The password would be sent unencrypted: use https://.")
    return parsed


def joined(base: str, reference: str) -> str:
    """The address that an answer refers to.

    Raises:
        AddressBookFault: it is none.
    """
    try:
        return urljoin(base, reference)
    except ValueError as error:
        raise AddressBookFault(_UNREADABLE) from error


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        last = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _TRANSLATED else None
        ip = ip.ipv4_mapped or ip.sixtofour or last or ip
    return ip.is_global and not ip.is_multicast


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    port = url.port or (443 if url.scheme == "https" else 80)
    return url.scheme, url.raw_host.decode("ascii"), port


async def _resolve(url: httpx.URL) -> list[str]:
    _, host, port = _origin(url)
    try:
        found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise AddressBookFault(_UNANSWERED) from error
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _is_untrusted(error: BaseException | None) -> bool:
    """Whether the certificate is why there is no connection."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__  # httpcore suppresses causes.
    return False
