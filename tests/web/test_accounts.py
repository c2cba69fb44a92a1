"""Several accounts in one page: each is registered, used for calls and removed independently."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from spech.web.store import Store
from spech.web.vault import Vault

from ..inside import sessions_of
from .conftest import (
    PATIENCE,
    Exchange,
    Installation,
    Page,
    bindings,
    open_page,
    run_server,
    until_heard,
)


@pytest.fixture
async def pair(installation: Installation, page: Page) -> Page:
    """A page with the accounts of alice (a1) and bob (a2), both registered."""
    ok = await page.ask("save_account", **installation.settings(user="bob", name="Work"))
    assert ok == {"account": "a2"}
    await page.until(lambda state: bindings(state) == ["registered"] * 2)
    return page


def by_account(state: dict[str, Any]) -> dict[str, str]:
    """The states of the calls, by their accounts."""
    return {call["account"]: call["state"] for call in state["calls"]}


async def test_each_account_is_registered_and_shown(
    installation: Installation, pair: Page, data_folder: Path
) -> None:
    assert set(installation.exchange.contacts) == {"alice", "bob"}
    shown = [(each["id"], each["name"], each["user"]) for each in pair.state["accounts"]]
    assert shown == [("a1", "", "alice"), ("a2", "Work", "bob")]
    stored = Store(Vault(data_folder)).load()
    assert stored is not None
    assert [account.user for account in stored.accounts] == ["alice", "bob"]


async def test_a_call_uses_the_requested_account(exchange: Exchange, pair: Page) -> None:
    for account in ("a1", "a2"):
        await pair.ask("dial", target="600", account=account)
    await pair.until(lambda state: by_account(state) == {"a1": "answered", "a2": "answered"})
    assert exchange.callers == ["alice", "bob"]
    error = await pair.refused("dial", target="600", account="a3")
    assert error["code"] == "no_such_account"


async def test_the_first_account_is_the_default(pair: Page) -> None:
    await pair.ask("dial", target="602")
    assert (await pair.call_in_state("ringing"))["account"] == "a1"


@pytest.mark.parametrize(("user", "account"), [("alice", "a1"), ("bob", "a2")])
async def test_an_incoming_call_names_its_account(
    exchange: Exchange, pair: Page, user: str, account: str
) -> None:
    async with exchange.phone.call(exchange.contacts[user]) as outgoing:
        call = await pair.call_in_state("ringing")
        assert call["account"] == account
        await pair.ask("answer", call=call["id"])
        await outgoing.answered()


async def test_calls_of_two_accounts_can_be_merged(installation: Installation, pair: Page) -> None:
    calls = [
        (await pair.ask("dial", target=target, account=account))["call"]
        for target, account in (("7700", "a1"), ("71200", "a2"))
    ]
    await pair.until(lambda state: by_account(state) == {"a1": "answered", "a2": "answered"})
    await pair.ask("merge", calls=calls)
    await until_heard(installation, "7700", 1200.0)
    await until_heard(installation, "71200", 700.0)


async def test_removing_an_account_ends_only_its_calls(
    installation: Installation, pair: Page, data_folder: Path
) -> None:
    exchange = installation.exchange
    for target, account in (("600", "a1"), ("600", "a2"), ("602", "a2")):
        await pair.ask("dial", target=target, account=account)
    up = ["answered", "answered", "ringing"]
    await pair.until(lambda state: [call["state"] for call in state["calls"]] == up)
    async with exchange.phone.call(exchange.contacts["bob"]) as rings:
        await pair.until(lambda state: len(state["calls"]) == 4)
        await pair.ask("forget_account", account="a2")
        await rings.ended()
        assert rings.status == 480
    await pair.until(lambda state: [call["state"] for call in state["calls"]].count("ended") == 3)
    assert by_account(pair.state) == {"a1": "answered", "a2": "ended"}
    for call in pair.state["calls"][1:]:
        assert call["ended"]["by"] == "local"
        assert call["ended"]["text"] == "The call was ended because its account was removed."
    assert exchange.heard == ["gave up"]
    while set(exchange.contacts) != {"alice"}:  # noqa: ASYNC110, nothing tells of it
        await trio.sleep(0.01)
    (left,) = sessions_of(exchange.phone)
    assert left.is_up
    assert [account["id"] for account in pair.state["accounts"]] == ["a1"]
    stored = Store(Vault(data_folder)).load()
    assert stored is not None
    assert [account.user for account in stored.accounts] == ["alice"]


async def test_an_account_can_be_changed_during_a_call_of_another(
    installation: Installation, pair: Page
) -> None:
    await pair.ask("dial", target="600", account="a1")
    await pair.call_in_state("answered")
    changed = installation.settings(user="bob", password=None, codecs=["PCMA"])
    await pair.ask("save_account", account="a2", **changed)
    await pair.until(lambda state: state["accounts"][1]["codecs"] == ["PCMA"])
    await pair.until(lambda state: bindings(state) == ["registered"] * 2)
    assert by_account(pair.state) == {"a1": "answered"}
    # The old registration was removed before the new one was made, not after.
    assert set(installation.exchange.contacts) == {"alice", "bob"}


async def test_a_broken_account_does_not_affect_others(
    exchange: Exchange, data_folder: Path
) -> None:
    with (
        trio.fail_after(PATIENCE),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent,
    ):
        silent.bind(("127.0.0.1", 0))
        async with (
            run_server(exchange, data_folder) as installation,
            open_page(installation.url) as page,
        ):
            await page.ask("save_account", **installation.settings())
            await page.ask("save_account", **installation.settings(user="bob"))
        store = Store(Vault(data_folder))
        settings = store.load()
        assert settings is not None
        alice, bob = settings.accounts
        broken = msgspec.structs.replace(alice, port=silent.getsockname()[1])
        store.save(msgspec.structs.replace(settings, accounts=(broken, bob)))
        async with (
            run_server(exchange, data_folder) as installation,
            open_page(installation.url) as page,
        ):
            await page.until(lambda state: bindings(state) == ["registering", "registered"])
            await page.ask("dial", target="600", account="a2")
            await page.call_in_state("answered")


async def test_the_first_account_uses_the_configured_port(
    exchange: Exchange, data_folder: Path
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        listen = free.getsockname()

    def at_the_port() -> list[str]:
        address = f"@127.0.0.1:{listen[1]}"
        return [user for user, contact in exchange.contacts.items() if address in contact]

    with trio.fail_after(PATIENCE):
        async with (
            run_server(exchange, data_folder, sip_listen=listen) as installation,
            open_page(installation.url) as page,
        ):
            await page.ask("save_account", **installation.settings())
            await page.ask("save_account", **installation.settings(user="bob"))
            await page.until(lambda state: bindings(state) == ["registered"] * 2)
            assert at_the_port() == ["alice"]
            changed = installation.settings(codecs=["PCMA"])
            await page.ask("save_account", account="a1", **changed)
            await page.until(lambda state: state["accounts"][0]["codecs"] == ["PCMA"])
            await page.until(lambda state: bindings(state) == ["registered"] * 2)
            assert at_the_port() == ["alice"]
        async with (
            run_server(exchange, data_folder, sip_listen=listen) as installation,
            open_page(installation.url) as page,
        ):
            await page.until(lambda state: bindings(state) == ["registered"] * 2)
            assert at_the_port() == ["alice"]


async def test_the_same_account_twice_is_refused(installation: Installation, pair: Page) -> None:
    for account in (None, "a2"):
        error = await pair.refused("save_account", account=account, **installation.settings())
        assert (error["code"], error["message"]) == (
            "bad_settings",
            "This account is set up already.",
        )
    error = await pair.refused("save_account", account="a9", **installation.settings())
    assert error["code"] == "no_such_account"


async def test_the_number_of_accounts_is_limited(installation: Installation, page: Page) -> None:
    for number in range(2, 9):
        await page.ask("save_account", **installation.settings(user=f"user{number}"))
    error = await page.refused("save_account", **installation.settings(user="user9"))
    assert error["code"] == "account_limit"
    await page.until(lambda state: bindings(state) == ["registered"] * 8)
