"""An address book on a server that does not wish us well; real ones are in tests/peers."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import trio

from spech.testing.certificates import self_signed
from spech.web.address_book import read_address_books
from spech.web.dav import AddressBookFault, DavServer, check_url, is_public

_MULTISTATUS: Final = '<multistatus xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav">'
_BOOK: Final = (
    f"{_MULTISTATUS}<response><href>/book/</href><propstat><prop><resourcetype><collection/>"
    "<C:addressbook/></resourcetype></prop></propstat></response></multistatus>"
)
_BOOKS: Final = _BOOK.replace(
    "</multistatus>", _BOOK.removeprefix(_MULTISTATUS).replace("/book/", "/book/2/")
)
_HOME: Final = (
    f"{_MULTISTATUS}<response><href>/</href><propstat><prop><C:addressbook-home-set><href>/books/"
    "</href></C:addressbook-home-set></prop></propstat></response></multistatus>"
)
_CARD: Final = "BEGIN:VCARD\nFN:Bob\nTEL:602\nEND:VCARD\n"


def cards(*texts: str) -> str:
    parts = (
        f"<response><href>/book/{index}</href><propstat><prop><C:address-data>{text}"
        "</C:address-data></prop></propstat></response>"
        for index, text in enumerate(texts)
    )
    return f"{_MULTISTATUS}{''.join(parts)}</multistatus>"


class Server:
    """Answers each request with what ``answers`` has for its method and path, or with 404."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str, str, str]] = {}
        self.asked: list[str] = []
        self.url = ""

    def set(self, request: str, body: str, status: str = "207", headers: str = "") -> None:
        self.answers[request] = status, headers, body

    async def serve(self, stream: trio.abc.Stream) -> None:
        try:
            async with stream:
                await self._answer(stream)
        except trio.BrokenResourceError:
            pass

    async def _answer(self, stream: trio.abc.Stream) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            part = await stream.receive_some()
            if not part:
                return
            data += part
        head = data.partition(b"\r\n\r\n")[0].decode()
        method, path, _ = head.split(" ", 2)
        self.asked.append(f"{method} {path}")
        status, headers, body = self.answers.get(f"{method} {path}", ("404", "", ""))
        content = body.encode()
        answer = f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(content)}\r\n"
        await stream.send_all(f"{answer}Connection: close\r\n\r\n".encode() + content)
        while await stream.receive_some():
            pass


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with _running(Server()) as server:
        yield server


@asynccontextmanager
async def _running(server: Server, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        serving = listener if context is None else trio.SSLListener(listener, context)
        nursery.start_soon(trio.serve_listeners, server.serve, [serving])
        server.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        yield server
        nursery.cancel_scope.cancel()


async def read(server: Server, path: str = "/book/") -> list[str]:
    return [
        each.name
        for each in await read_address_books(f"{server.url}{path}", "u", "p", administrator=True)
    ]


async def test_redirections_are_followed_with_their_method(server: Server) -> None:
    server.set("PROPFIND /.well-known/carddav", "", "302", "Location: /book/\r\n")
    server.set("PROPFIND /book/", _BOOK)
    server.set("REPORT /book/", cards(_CARD, "rubbish", _CARD.replace("Bob", "Carol")))
    assert await read(server, "/") == ["Bob", "Carol"]


async def test_endless_redirections_end(server: Server) -> None:
    server.set("PROPFIND /book/", "", "302", "Location: /book/\r\n")
    with pytest.raises(AddressBookFault, match="one address to the next"):
        await read(server)
    assert len(server.asked) < 20


async def test_a_redirection_without_encryption_gets_no_password(server: Server) -> None:
    server.set("PROPFIND /book/", "", "302", "Location: http://192.0.2.1/book/\r\n")
    with pytest.raises(AddressBookFault, match="unencrypted"):
        await read(server)


async def test_no_other_server_gets_the_password(server: Server) -> None:
    async with _running(Server()) as other:
        other.set("PROPFIND /book/", _BOOK)
        other.set("REPORT /book/", cards(_CARD))
        leading = _BOOK.replace("/book/", f"{other.url}/book/")
        for body, status, headers in (
            ("", "302", f"Location: {other.url}/book/\r\n"),
            (leading, "207", ""),
        ):
            # Asked as a home, and as the server of a book.
            server.set("PROPFIND /", body.replace("<C:addressbook/>", ""), status, headers)
            server.set("PROPFIND /book/", _BOOK, status, headers)
            server.set("REPORT /book/", "", "307", f"Location: {other.url}/book/\r\n")
            for path in ("/", "/book/"):
                with pytest.raises(AddressBookFault):
                    await read(server, path)
        assert other.asked == []


class Names(trio.abc.HostnameResolver):
    """Resolves names to addresses of the test's choice."""

    def __init__(self, **addresses: str) -> None:
        self._addresses = addresses

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        name = (host or b"").decode().replace(".", "_")
        address = self._addresses.get(name, "127.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError


async def test_other_people_reach_nothing_that_is_not_public(server: Server) -> None:
    server.set("PROPFIND /book/", _BOOK)
    server.set("REPORT /book/", cards(_CARD))
    trio.socket.set_custom_hostname_resolver(Names())
    port = server.url.rpartition(":")[2]
    told = set()
    for url in (
        f"{server.url}/book/",
        f"http://localhost:{port}/book/",
        f"https://inside.example:{port}/book/",
        "https://127.0.0.1:1/",
    ):
        with pytest.raises(AddressBookFault) as fault:
            await read_address_books(url, "u", "p", administrator=False)
        told.add(str(fault.value))
    assert server.asked == []
    assert len(told) == 1


async def test_a_name_of_the_public_internet_leads_the_administrator_to_nothing_inside() -> None:
    resolver = Names(book_example="192.88.99.1", inside_book_example="127.0.0.1")
    trio.socket.set_custom_hostname_resolver(resolver)
    asked: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.url.host} {request.headers['Host']}")
        place = "https://inside.book.example/"
        return httpx.Response(302, headers={"Location": place}, stream=httpx.ByteStream(b""))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        dav = DavServer(client, "https://book.example/", administrator=True)
        status, location, _ = await dav.send("PROPFIND", "https://book.example/", "0", "")
        assert status == 302
        with pytest.raises(AddressBookFault):
            await dav.send("PROPFIND", location, "0", "")
        with pytest.raises(AddressBookFault, match="another"):
            await dav.send("PROPFIND", "https://xbook.example/", "0", "")
        with pytest.raises(AddressBookFault, match="another"):
            await dav.send("PROPFIND", "https://book.example:444/", "0", "")
    assert asked == ["192.88.99.1 book.example"]


async def test_the_certificate_must_be_for_the_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pem = tmp_path / "server.pem"
    pem.write_bytes(b"".join(self_signed("book.example")))
    monkeypatch.setattr("certifi.where", lambda: str(pem))
    trio.socket.set_custom_hostname_resolver(Names())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    server = Server()
    server.set("PROPFIND /book/", _BOOK)
    server.set("REPORT /book/", cards(_CARD))
    async with _running(server, context):
        port = server.url.rpartition(":")[2]
        url = f"https://book.example:{port}/book/"
        assert len(await read_address_books(url, "u", "p", administrator=True)) == 1
        for wrong in ("other.example", "127.0.0.1"):
            url = f"https://{wrong}:{port}/book/"
            with pytest.raises(AddressBookFault, match="certificate"):
                await read_address_books(url, "u", "p", administrator=True)


async def test_a_compressed_answer_is_not_unpacked(server: Server) -> None:
    server.set("PROPFIND /book/", _BOOK, headers="Content-Encoding: gzip\r\n")
    server.set("REPORT /book/", cards(_CARD))
    # What is not compressed is read whatever the header says: nothing is unpacked.
    assert await read(server) == ["Bob"]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("192.88.99.1", True),
        ("2600::1", True),
        ("10.0.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("fe80::1%1", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::1", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) == public


@pytest.mark.parametrize("location", ["http://[", "http://127.0.0.1:99999/", f"//{'x' * 99}.x/"])
async def test_a_redirection_to_what_is_no_address(server: Server, location: str) -> None:
    server.set("PROPFIND /book/", "", "302", f"Location: {location}\r\n")
    with pytest.raises(AddressBookFault):
        await read(server)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("<!DOCTYPE x [<!ENTITY e 'e'>]><multistatus xmlns='DAV:'>&e;</multistatus>", "be read"),
        ("<multistatus", "be read"),
        (f"{_MULTISTATUS}</multistatus>", "no address book"),
    ],
)
async def test_answers_that_cannot_be_used(server: Server, body: str, complaint: str) -> None:
    server.set("PROPFIND /book/", body)
    with pytest.raises(AddressBookFault, match=complaint):
        await read(server)


async def test_an_answer_that_is_too_large_is_cut_off(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spech.web.dav._LARGEST", 10_000)
    server.set("PROPFIND /book/", _BOOK)
    server.set("REPORT /book/", cards(*[_CARD] * 300))
    with pytest.raises(AddressBookFault, match="too large"):
        await read(server)
    # The limit is that of all answers together.
    server.set("REPORT /book/", cards(*[_CARD] * 60))
    assert len(await read(server)) == 60
    server.set("PROPFIND /", _HOME)
    server.set("PROPFIND /books/", _BOOKS)
    server.set("REPORT /book/2/", cards(*[_CARD] * 60))
    with pytest.raises(AddressBookFault, match="too large"):
        await read(server, "/")


async def test_a_password_that_is_wrong_is_said(server: Server) -> None:
    server.set("PROPFIND /book/", "", "401")
    with pytest.raises(AddressBookFault, match="password"):
        await read(server)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://cloud.example.org/remote.php/dav", True),
        ("http://127.0.0.1:5232/", True),
        ("http://localhost/", True),
        ("http://cloud.example.org/", False),
        ("http://localhost.example.org/", False),
        ("file:///etc/passwd", False),
        ("https://", False),
        ("cloud.example.org", False),
        ("https://[", False),
    ],
)
def test_where_a_password_may_be_sent(url: str, allowed: bool) -> None:
    if allowed:
        check_url(url)
        return
    with pytest.raises(AddressBookFault):
        check_url(url)
