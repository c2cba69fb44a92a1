"""An address book on another server, read with CardDAV (RFC 6352)."""

from __future__ import annotations

import hashlib
from typing import Final
from xml.etree.ElementTree import Element

import httpx
import msgspec
import trio

from spech.errors import RemoteProtocolError
from spech.http_client import http_client
from spech.sip.message.markup import parse_markup, text_of
from spech.web.dav import AddressBookFault, DavServer, check_url, joined
from spech.web.messages.contacts import Contact
from spech.web.vcards import read_cards

#: Elements in an answer, and seconds until everything has been read.
_MOST_ELEMENTS: Final = 100_000
_LONGEST: Final = 120.0
#: Seconds until a connection is there, and until something of an answer comes.
_TIMEOUT: Final = httpx.Timeout(10.0, read=30.0)
#: Requests to find the address books, redirections included.
_MOST_REQUESTS: Final = 12
#: Address books that are read.
_MOST_BOOKS: Final = 8

_DAV: Final = "{DAV:}"
_CARDDAV: Final = "{urn:ietf:params:xml:ns:carddav}"
_FIND: Final = """<?xml version="1.0" encoding="utf-8"?>
<D:propfind xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav"><D:prop>
<D:resourcetype/><D:current-user-principal/><C:addressbook-home-set/>
</D:prop></D:propfind>"""
_QUERY: Final = """<?xml version="1.0" encoding="utf-8"?>
<C:addressbook-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav">
<D:prop><C:address-data/></D:prop><C:filter><C:prop-filter name="FN"/></C:filter>
</C:addressbook-query>"""


async def read_address_books(
    url: str, user: str, password: str, *, administrator: bool
) -> list[Contact]:
    """All contacts of a person's address books, each with an id that stays the same.

    Args:
        url: of an address book, or of the server: then the books are looked for (RFC 6764).
        user: the name there.
        password: the password there.
        administrator: whether the person is the administrator. Other people have no hosts asked
            that are not on the public internet, and learn only what a CardDAV server has answered.

    Raises:
        AddressBookFault: they cannot be read.
    """
    check_url(url)
    auth = httpx.BasicAuth(user, password)
    tls = httpx.create_ssl_context(trust_env=False)
    async with http_client(tls, auth=auth, timeout=_TIMEOUT, keeps_connections=False) as client:
        finder = _BookFinder(DavServer(client, url, administrator=administrator))
        try:
            with trio.move_on_after(_LONGEST):
                return await finder.contacts(url)
            raise AddressBookFault("The server does not answer.")
        except AddressBookFault as fault:
            if administrator or finder.answered:
                raise
            raise AddressBookFault(
                "The address book cannot be read. Check the address, the user and the password."
            ) from fault


class _Response(msgspec.Struct, frozen=True):
    """A response of a multistatus (RFC 4918 14.24): what it is about, and what it holds."""

    href: str
    is_book: bool
    home: str | None
    principal: str | None
    contacts: list[tuple[str, Contact]]


class _BookFinder:
    """Reads the address books of a server. ``answered`` is whether it is a CardDAV server."""

    def __init__(self, server: DavServer) -> None:
        self._server = server
        self._left = _MOST_REQUESTS
        self.answered = False

    async def contacts(self, url: str) -> list[Contact]:
        """The contacts of all books."""
        contacts: dict[str, Contact] = {}
        for book in (await self._find(url))[:_MOST_BOOKS]:
            self._left = max(self._left, 1)
            _, answers = await self._ask("REPORT", book, "1", _QUERY)
            for answer in answers:
                for id, contact in answer.contacts:
                    contacts.setdefault(id, contact)
        return list(contacts.values())

    async def _find(self, url: str) -> list[str]:
        """The addresses of the books at ``url``, or of those that it leads to."""
        for address in (url, joined(url, "/.well-known/carddav")):
            books = await self._look(address)
            if books:
                return books
        raise AddressBookFault("There is no address book at this address.")

    async def _look(self, url: str) -> list[str]:
        seen: set[str] = set()
        while url not in seen:
            seen.add(url)
            at, answers = await self._ask("PROPFIND", url, "0", _FIND)
            if any(each.is_book for each in answers):
                return [at]
            home = next((each.home for each in answers if each.home), "")
            at, answers = await self._ask("PROPFIND", joined(at, home), "1", _FIND)
            books = [joined(at, each.href) for each in answers if each.is_book and each.href]
            if books:
                return books
            principal = next((each.principal for each in answers if each.principal), None)
            url = joined(at, principal) if principal else url
        return []

    async def _ask(
        self, method: str, url: str, depth: str, body: str
    ) -> tuple[str, list[_Response]]:
        """The address that answered, and the responses of its multistatus (RFC 4918 13)."""
        while True:
            self._left -= 1
            if self._left < 0:
                raise AddressBookFault("The server leads from one address to the next.")
            status, location, content = await self._server.send(method, url, depth, body)
            if status in (301, 302, 307, 308) and location:
                url = joined(url, location)
                continue
            if status in (401, 403):
                raise AddressBookFault("The server did not accept the user or the password.")
            if status != 207:
                return url, []
            # In a thread, because calls need the event loop.
            found = await trio.to_thread.run_sync(_responses, content, abandon_on_cancel=True)
            self.answered = self.answered or bool(found)
            return url, found


def _responses(content: bytes) -> list[_Response]:
    try:
        root = parse_markup(content, most=_MOST_ELEMENTS)
    except RemoteProtocolError as error:
        raise AddressBookFault("The answer of the server cannot be read.") from error
    return [_response(each) for each in root.findall(f"{_DAV}response")]


def _response(element: Element) -> _Response:
    href = text_of(element.find(f"{_DAV}href")) or ""
    contacts = []
    for data in element.iter(f"{_CARDDAV}address-data"):
        for uid, contact in read_cards(data.text or ""):
            id = hashlib.sha256((uid or href).encode()).hexdigest()[:24]
            contacts.append(
                (id, msgspec.structs.replace(contact, id=id, favourite=False, shared=True))
            )
    return _Response(
        href,
        element.find(f".//{_DAV}resourcetype/{_CARDDAV}addressbook") is not None,
        _reference(element, f"{_CARDDAV}addressbook-home-set"),
        _reference(element, f"{_DAV}current-user-principal"),
        contacts,
    )


def _reference(element: Element, name: str) -> str | None:
    """The address in a property."""
    return text_of(element.find(f".//{name}/{_DAV}href"))
