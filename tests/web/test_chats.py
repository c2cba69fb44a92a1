"""Text messages: kept by the server, with what became of each."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from spech import Message
from spech.web.chats import Chats, correspondent
from spech.web.database import Database
from spech.web.messages.command import Refused
from spech.web.store import StoredAccount

from .conftest import PATIENCE, Exchange, Installation, Page, open_page, run_server

ACCOUNT = StoredAccount(
    id="a1",
    server="pbx.test",
    port=None,
    transport="udp",
    user="alice",
    password="s",
    codecs=("PCMU",),
)


async def messages(page: Page, remote: str = "bob") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await page.ask("messages", account="a1", remote=remote))[
        "messages"
    ]
    return found


async def settled(page: Page, remote: str = "bob") -> dict[str, Any]:
    """The latest message of a chat, when it is not under way any more."""
    while True:
        before = page.state["chats"]
        latest = (await messages(page, remote))[-1]
        if latest["state"] != "sending":
            return latest
        await page.until(partial(differs, before))


def differs(before: dict[str, Any], state: dict[str, Any]) -> bool:
    return bool(state["chats"] != before)


async def test_a_message_is_kept_until_it_is_seen(exchange: Exchange, data_folder: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with (
            run_server(exchange, data_folder) as installation,
            open_page(installation.url) as page,
        ):
            await page.ask("save_account", **installation.settings())
            await page.registered()
            await exchange.phone.send_message(
                exchange.contacts["alice"],
                "Grüße\nin zwei \u202eZeilen",
                caller=f'"Bob" <sip:bob@127.0.0.1:{exchange.port}>',
            )
            await page.until(lambda state: state["chats"]["unread"] == 1)
        async with (
            run_server(exchange, data_folder) as installation,
            open_page(installation.url) as page,
        ):
            await page.until(lambda state: state and state["chats"]["unread"] == 1)
            (chat,) = (await page.ask("chats"))["chats"]
            assert (chat["remote"], chat["name"], chat["unread"]) == ("bob", "Bob", 1)
            bob = {
                "id": "",
                "name": "Bob of the workshop",
                "numbers": [{"number": "bob", "label": ""}],
                "favourite": False,
                "note": "",
                "shared": False,
            }
            await page.ask("save_contact", contact=bob)
            (chat,) = (await page.ask("chats"))["chats"]
            assert chat["name"] == "Bob of the workshop"
            (message,) = await messages(page, "BOB")
            assert (message["text"], message["state"]) == ("Grüße\nin zwei Zeilen", "received")
            await page.ask("see_chat", account="a1", remote="bob")
            await page.until(lambda state: state["chats"]["unread"] == 0)
            await page.ask("forget_chat", account="a1", remote="bob")
            assert (await page.ask("chats"))["chats"] == []
    assert "Grüße".encode() not in (data_folder / "personal.sqlite").read_bytes()


async def test_a_message_is_sent_and_answered_in_one_chat(
    installation: Installation, page: Page
) -> None:
    exchange = installation.exchange
    arrivals = exchange.phone.messages()
    await page.ask("send_text", account="a1", remote="bob", text="Are you there?")
    arrived = await anext(arrivals)
    assert (arrived.text, arrived.recipient) == ("Are you there?", "bob")
    assert (await settled(page))["state"] == "sent"
    await exchange.phone.send_message(
        exchange.contacts["alice"], "Yes.", caller=f"sip:bob@127.0.0.1:{exchange.port}"
    )
    await page.until(lambda state: state["chats"]["unread"] == 1)
    assert [each["text"] for each in await messages(page)] == ["Are you there?", "Yes."]


async def test_a_message_that_is_refused_says_why(page: Page) -> None:
    """The exchange takes messages only while it reads them."""
    await page.ask("send_text", account="a1", remote="bob", text="Anyone?")
    failed = await settled(page)
    assert failed["state"] == "failed"
    assert failed["reason"] == "The other side cannot be reached at the moment."


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"text": "ü" * 451}, "too_long"),
        ({"text": " \n"}, "no_text"),
        ({"account": "a9"}, "no_such_account"),
        ({"remote": "<>"}, "bad_target"),
    ],
)
async def test_what_cannot_be_sent_is_refused(
    page: Page, fields: dict[str, str], code: str
) -> None:
    usual = {"account": "a1", "remote": "bob", "text": "Hello"}
    assert (await page.refused("send_text", **(usual | fields)))["code"] == code
    assert (await page.ask("chats"))["chats"] == []


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        ("sip:bob@pbx.test", "bob"),
        ("SIP:bob@pbx.test:5070;transport=tcp", "bob"),
        ("sip:bob@else.test:5070", "bob@else.test:5070"),
        ("sip:else.test", "else.test"),
        ("sip:", "sip:"),
        ("+49 30 123", "+4930123"),
        ("bob@else.test", "bob@else.test"),
        (" bob ", "bob"),
    ],
)
def test_a_correspondent_is_named_as_one_would_dial(text: str, remote: str) -> None:
    assert correspondent(text, ACCOUNT) == remote


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "personal.sqlite", lambda: bytes(32))


def texts(chats: Chats, remote: str) -> list[str]:
    return [message.text for message in chats.messages(ACCOUNT, remote, 10)]


def received(text: str, sender: str = "sip:bob@pbx.test") -> Message:
    return Message(sender, text)


def open_chats(database: Database, *contacts: str) -> Chats:
    """The chats of a person whose phone is not open."""
    return Chats(database, lambda _: None, contacts.__contains__, lambda: None)


async def test_what_was_being_sent_when_the_process_ended_has_failed(database: Database) -> None:
    chats = open_chats(database)
    await chats.send(ACCOUNT, "bob", "Hello")
    again = open_chats(database)
    await again.load()
    (message,) = again.messages(ACCOUNT, "bob", 10)
    assert (message.text, message.state) == ("Hello", "failed")
    assert message.reason == "Spech ended before the message was sent."


async def test_floods_are_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spech.web.chats.MOST_MESSAGES", 3)
    monkeypatch.setattr("spech.web.chats.MOST_CHATS", 2)
    chats = open_chats(database)
    for number in range(5):
        await chats.receive(ACCOUNT, received(str(number)))
    for number in range(5):
        await chats.receive(ACCOUNT, received("x" * 10_000, f"sip:{number}@pbx.test"))
    await chats.receive(ACCOUNT, received("\u202e\r\n"))  # Nothing is left to show.
    assert [chat.remote for chat in chats.chats()] == ["4", "3"]
    again = open_chats(database)
    await again.load()
    assert again.chats() == chats.chats()
    assert [len(each.text) for each in again.messages(ACCOUNT, "4", 10)] == [4000]
    assert chats.state.unread == 2


async def test_strangers_push_out_no_chat_with_someone_known(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spech.web.chats.MOST_CHATS", 4)
    chats = open_chats(database, "carol")
    await chats.receive(ACCOUNT, received("from a contact", "sip:carol@pbx.test"))
    await chats.receive(ACCOUNT, received("Who are you?", "sip:bob@pbx.test"))
    await chats.send(ACCOUNT, "bob", "Alice")
    for number in range(10):
        await chats.receive(ACCOUNT, received("spam", f"sip:{number}@pbx.test"))
    assert {chat.remote for chat in chats.chats()} == {"carol", "bob", "9", "8"}
    # The latest message is kept, whoever sent it; it cost one other chat, and no more.
    monkeypatch.setattr("spech.web.chats.MOST_CHATS", 2)
    for number in range(10):
        await chats.receive(ACCOUNT, received("spam", f"sip:{number}@else.test"))
    assert [chat.remote for chat in chats.chats()] == ["9@else.test", "bob"]
    again = open_chats(database, "carol")
    await again.load()
    assert [chat.remote for chat in again.chats()] == ["9@else.test", "bob"]
    assert again.state.unread == chats.state.unread == 2


async def test_the_characters_of_all_chats_are_bounded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spech.web.chats.MOST_CHARACTERS", 10)
    chats = open_chats(database, "carol", "dora")
    for text in ("1111", "22"):
        await chats.receive(ACCOUNT, received(text, "sip:carol@pbx.test"))
    for text in ("aaaa", "bbbb", "cccc"):
        await chats.receive(ACCOUNT, received(text, "sip:eve@else.test"))
    # A stranger's flood costs the stranger's own messages.
    assert texts(chats, "carol") == ["1111", "22"]
    assert texts(chats, "eve@else.test") == ["cccc"]
    await chats.receive(ACCOUNT, received("3333", "sip:dora@pbx.test"))
    assert [chat.remote for chat in chats.chats()] == ["dora", "carol"]
    await chats.receive(ACCOUNT, received("4444", "sip:dora@pbx.test"))
    assert texts(chats, "carol") == ["22"]
    await chats.receive(ACCOUNT, received("5" * 20, "sip:dora@pbx.test"))
    assert texts(chats, "carol") == []
    assert texts(chats, "dora") == ["5" * 20]
    again = open_chats(database)
    await again.load()
    assert again.chats() == chats.chats()
    assert chats.state.unread == 1


async def test_the_state_counts_what_nobody_has_seen(database: Database) -> None:
    chats = open_chats(database)
    for text in ("one", "two"):
        await chats.receive(ACCOUNT, received(text))
    await chats.receive(ACCOUNT, received("three", "sip:carol@pbx.test"))
    assert chats.state.unread == 3
    await chats.see(ACCOUNT, "bob")
    await chats.see(ACCOUNT, "bob")
    assert chats.state.unread == 1
    await chats.forget(ACCOUNT, "carol")
    await chats.forget(ACCOUNT, "carol")
    assert chats.state.unread == 0


async def test_too_many_messages_at_once_are_refused(database: Database) -> None:
    chats = open_chats(database)
    for number in range(32):
        await chats.send(ACCOUNT, str(number), "Hello")
    with pytest.raises(Refused, match="Too many"):
        await chats.send(ACCOUNT, "bob", "Hello")


async def test_a_row_that_was_moved_is_left_out(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    chats = open_chats(database)
    await chats.receive(ACCOUNT, received("first"))
    await chats.receive(ACCOUNT, received("second"))
    await database.run(
        lambda tables: tables.sql.execute(
            "UPDATE texts SET entry = (SELECT entry FROM texts ORDER BY number LIMIT 1)"
        )
    )
    again = open_chats(database)
    await again.load()
    assert [each.text for each in again.messages(ACCOUNT, "bob", 10)] == ["first"]
    assert "cannot be read" in caplog.text


async def test_messages_of_one_moment_keep_their_order(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    chats = open_chats(database)
    for name in ("anna", "bert", "carl"):
        await chats.receive(ACCOUNT, received("hello", f"sip:{name}@pbx.test"))
    assert [chat.remote for chat in chats.chats()] == ["carl", "bert", "anna"]
    again = open_chats(database)
    await again.load()
    assert [chat.remote for chat in again.chats()] == ["carl", "bert", "anna"]
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    await chats.receive(ACCOUNT, received("the clock was set back", "sip:anna@pbx.test"))
    assert chats.chats()[-1].latest.at == 1_700_000_000.0
