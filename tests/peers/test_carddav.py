"""An address book on a real CardDAV server names those who call."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from spech.testing.plugin import unavailable
from spech.web.address_book import read_address_books
from spech.web.app import serve
from spech.web.dav import AddressBookFault

from ..web.conftest import follow_link, open_page
from . import radicale
from .radicale import PASSWORD, USER, Radicale

pytestmark = pytest.mark.peers


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Radicale]:
    if not radicale.PROGRAM.is_file():
        unavailable("peers", "Radicale is not installed; `make test-peers` installs it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with radicale.running(tmp_path, port) as server:
        server.put("bob-1", "Bob Börger", "+49 30 1234567", "602")
        server.put("dora-1", "Dora", "12")
        yield server


async def test_the_book_is_found_from_the_server_and_from_itself(book: Radicale) -> None:
    for url in (book.url, f"{book.url}{USER}/", book.book):
        contacts = await read_address_books(url, USER, PASSWORD, administrator=True)
        assert sorted(each.name for each in contacts) == ["Bob Börger", "Dora"], url
        bob = next(each for each in contacts if each.name.startswith("Bob"))
        assert [(each.label, each.number) for each in bob.numbers] == [
            ("work", "+49 30 1234567"),
            ("work", "602"),
        ]
    with pytest.raises(AddressBookFault, match="user or the password"):
        await read_address_books(book.book, USER, "wrong", administrator=True)


async def test_a_page_subscribes_to_the_book_and_follows_its_changes(
    book: Radicale, tmp_path: Path
) -> None:
    async with trio.open_nursery() as nursery:
        serving = await nursery.start(
            lambda task_status: serve(
                port=0,
                audio_port=0,
                data_folder=tmp_path / "data",
                sip_listen=("127.0.0.1", 0),
                task_status=task_status,
            )
        )
        await trio.to_thread.run_sync(follow_link, serving.link)
        async with open_page(serving.web_url) as page:
            wrong = await page.refused(
                "save_address_book", url=book.url, user=USER, password="wrong"
            )
            assert wrong["code"] == "bad_address_book"
            assert page.state["contacts"]["book"] is None
            ok = await page.ask("save_address_book", url=book.url, user=USER, password=PASSWORD)
            assert ok == {"added": 2, "changed": 0}
            shown = await page.until(lambda state: state["contacts"]["book"])
            assert (shown["url"], shown["user"], shown["problem"]) == (book.url, USER, "")
            found = (await page.ask("contacts", search="borg"))["contacts"]
            assert [each["name"] for each in found] == ["Bob Börger"]
            assert found[0]["shared"]
            await trio.to_thread.run_sync(book.put, "bob-1", "Bob Burger", "602")
            await trio.to_thread.run_sync(book.delete, "dora-1")
            assert await page.ask("read_address_book") == {"added": 0, "changed": 1}
            contacts = (await page.ask("contacts"))["contacts"]
            assert [each["name"] for each in contacts] == ["Bob Burger"]
            await page.ask("forget_address_book")
            assert (await page.ask("contacts"))["contacts"] == []
            assert PASSWORD not in page.everything
        nursery.cancel_scope.cancel()
