"""Saving an account: tried with a real REGISTER, stored after a 200, its password never shown."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from spech.errors import CodecUnavailable
from spech.phone.checkup import Step
from spech.testing.certificates import self_signed
from spech.web.store import Settings, Store, StoredAccount
from spech.web.vault import Vault

from .conftest import (
    PASSWORD,
    PATIENCE,
    Exchange,
    Installation,
    Page,
    bindings,
    open_page,
    run_server,
    sign_in,
)


def nothing_stored(folder: Path) -> bool:
    return not (folder / "devices.vault").exists()


def put_a_foreign_file(folder: Path) -> Path:
    folder.mkdir()
    vault = folder / "devices.vault"
    vault.write_bytes(b"not a vault")
    return vault


async def test_the_initial_state_has_no_account(installation: Installation) -> None:
    async with open_page(installation.url) as page:
        state = await page.until(lambda state: state)
        assert state["accounts"] == []
        assert state["vault"] == {"state": "empty", "message": ""}
        assert state["calls"] == []
        assert state["grace_s"] == 30.0
        assert state["audio"] == {"port": installation.serving.audio_port, "rate": 8000}
        assert {"PCMU", "PCMA"} <= {codec["name"] for codec in state["codecs"]}
        assert (await page.refused("dial", target="600"))["code"] == "no_account"
        assert (await page.refused("forget_account", account="a1"))["code"] == "no_such_account"


async def test_a_valid_account_is_stored_and_used_and_its_password_is_hidden(
    installation: Installation, data_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_page(installation.url) as page:
        await page.ask("save_account", **installation.settings(codecs=["PCMA"]))
        await page.registered()
        assert page.state["accounts"] == [
            {
                "id": "a1",
                "name": "",
                "server": "127.0.0.1",
                "port": installation.exchange.port,
                "transport": "udp",
                "user": "alice",
                "codecs": ["PCMA"],
                "encryption": "off",
                "auth_user": "",
                "display_name": "",
                "proxy": "",
                "stun": "",
                "country": "",
                "number_format": "typed",
                "prefix": "",
                "voicemail": "",
                "registration": {"state": "registered", "status": 200, "reason": "OK"},
                "mailbox": None,
            }
        ]
        assert page.state["vault"] == {"state": "open", "message": ""}
        assert PASSWORD not in page.everything
    assert PASSWORD not in caplog.text
    assert PASSWORD.encode() not in (data_folder / "devices.vault").read_bytes()
    stored = Store(Vault(data_folder)).load()
    assert stored is not None
    assert [account.password for account in stored.accounts] == [PASSWORD]


async def test_the_next_start_registers_again(exchange: Exchange, data_folder: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with (
            run_server(exchange, data_folder) as installation,
            open_page(installation.url) as page,
        ):
            await page.ask("save_account", **installation.settings())
        async with (
            run_server(exchange, data_folder) as installation,
            open_page(installation.url) as page,
        ):
            await page.registered()


async def test_a_wrong_password_is_reported(installation: Installation, data_folder: Path) -> None:
    async with open_page(installation.url) as page:
        error = await page.refused("save_account", **installation.settings(password="wrong"))
        assert error["code"] == "wrong_password"
        assert nothing_stored(data_folder)
        assert page.state["accounts"] == []


async def test_other_refusals_are_reported_in_words(installation: Installation) -> None:
    installation.exchange.refuse = 404
    async with open_page(installation.url) as page:
        error = await page.refused("save_account", **installation.settings())
    assert error["code"] == "refused"
    assert "404" in error["message"]


async def test_a_silent_server_is_reported_within_five_seconds(
    installation: Installation, data_folder: Path
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        async with open_page(installation.url) as page:
            with trio.fail_after(5.0):
                error = await page.refused("save_account", **installation.settings(port=port))
    assert error["code"] == "server_silent"
    assert nothing_stored(data_folder)


def failed(name: str, status: int | None = None) -> Step:
    return Step(name, False, "{what} failed.", "Change it.", {"what": name}, status)


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (failed("name"), "unknown_host"),
        (failed("connection"), "server_silent"),
        (failed("certificate"), "untrusted"),
        (failed("registration"), "server_silent"),
        (failed("registration", 407), "wrong_password"),
        (failed("registration", 403), "wrong_password"),
        (failed("registration", 408), "server_silent"),
        (failed("registration", 503), "refused"),
        (CodecUnavailable("its library is missing"), "refused"),
        (OSError("no network"), "refused"),
    ],
)
async def test_each_failure_has_its_own_code(
    installation: Installation,
    data_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    outcome: Step | Exception,
    code: str,
) -> None:
    async def steps() -> AsyncIterator[Step]:
        if isinstance(outcome, Exception):
            raise outcome
        yield outcome

    @asynccontextmanager
    async def open_checkup(*args: Any, **options: Any) -> AsyncIterator[AsyncIterator[Step]]:
        yield steps()

    async with open_page(installation.url) as page:
        monkeypatch.setattr("spech.web.trial.open_checkup", open_checkup)
        refusal = await page.refused("save_account", **installation.settings())
    assert refusal["code"] == code
    if isinstance(outcome, Step):
        assert refusal["message"] == f"{outcome.name} failed."
        assert page.latest_steps == [(outcome.name, False)]
    assert refusal["message"]
    assert nothing_stored(data_folder)


async def test_the_steps_of_a_trial_are_told(installation: Installation) -> None:
    async with open_page(installation.url) as page:
        await page.refused("save_account", **installation.settings(password="wrong"))
        assert page.latest_steps == [("name", True), ("connection", True), ("registration", False)]
        refused = page.told[-1]
        assert refused["finding"] == "The server does not accept the user or the password ({said})."
        assert "401" in refused["values"]["said"]
        await page.ask("save_account", **installation.settings())
        names = ["name", "connection", "registration", "options"]
        assert page.latest_steps == [(name, True) for name in names]


async def test_a_certificate_that_is_not_trusted_has_its_own_code(
    installation: Installation, tmp_path: Path
) -> None:
    pem = tmp_path / "server.pem"
    pem.write_bytes(b"".join(self_signed("127.0.0.1")))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    async with open_page(installation.url) as page, trio.open_nursery() as nursery:
        (listener,) = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handshake, [listener])
        transport = listener.transport_listener
        assert isinstance(transport, trio.SocketListener)
        port = transport.socket.getsockname()[1]
        settings = installation.settings(port=port, transport="tls")
        error = await page.refused("save_account", **settings)
        nursery.cancel_scope.cancel()
    assert error["code"] == "untrusted"
    assert "self-signed" in error["message"]
    assert page.latest_steps == [("name", True), ("connection", True), ("certificate", False)]


async def handshake(stream: trio.SSLStream[trio.SocketStream]) -> None:
    with suppress(trio.BrokenResourceError):
        await stream.do_handshake()


async def test_a_saved_account_is_checked_up_to_the_echo(page: Page) -> None:
    await page.ask("check_account", account="a1", echo="600")
    names = ["name", "connection", "registration", "options", "echo"]
    assert page.latest_steps == [(name, True) for name in names]
    await page.ask("check_account", account="a1", echo="601")
    assert page.latest_steps[-1] == ("echo", False)
    for account, echo, code in (("a2", None, "no_such_account"), ("a1", "<>", "bad_target")):
        error = await page.refused("check_account", account=account, echo=echo)
        assert error["code"] == code


@pytest.mark.parametrize(
    "changes",
    [
        {"server": "sip:127.0.0.1"},
        {"port": 0},
        {"transport": "smoke"},
        {"user": ""},
        {"codecs": []},
        {"codecs": ["nonsense"]},
        {"password": None},
        {"proxy": "sip:"},
        {"stun": "a b"},
        {"display_name": "x" * 65},
        {"auth_user": "a\nb"},
        {"country": "XX"},
        {"country": "DE", "prefix": "0"},
        {"prefix": "0"},
        {"voicemail": "<>"},
    ],
)
async def test_unusable_settings_are_refused(
    installation: Installation, changes: dict[str, Any]
) -> None:
    async with open_page(installation.url) as page:
        error = await page.refused("save_account", **installation.settings(**changes))
    assert error["code"] == "bad_settings"


async def test_the_stored_password_can_be_kept(installation: Installation, page: Page) -> None:
    changed = installation.settings(password=None, codecs=["PCMA"])
    assert await page.ask("save_account", account="a1", **changed) == {"account": "a1"}
    await page.until(lambda state: state["accounts"][0]["codecs"] == ["PCMA"])
    await page.registered()


async def test_the_stored_password_is_not_sent_to_another_server(
    installation: Installation, page: Page
) -> None:
    for changes in ({"server": "localhost"}, {"user": "bob"}, {"proxy": "127.0.0.1"}):
        error = await page.refused(
            "save_account", account="a1", **installation.settings(password=None, **changes)
        )
        assert error["code"] == "bad_settings"
        assert "password" in error["message"]


async def test_a_failed_save_does_not_affect_the_running_phone(
    installation: Installation, page: Page
) -> None:
    wrong = installation.settings(password="wrong")
    await page.refused("save_account", account="a1", **wrong)
    await page.registered()
    await page.ask("dial", target="600")
    await page.call_in_state("answered")


async def test_an_account_is_removed(
    installation: Installation, data_folder: Path, page: Page
) -> None:
    await page.ask("forget_account", account="a1")
    await page.until(lambda state: state["accounts"] == [])
    assert page.state["vault"]["state"] == "open"
    assert Store(Vault(data_folder)).load() == Settings()
    while installation.exchange.contact is not None:  # noqa: ASYNC110, nothing tells of it
        await trio.sleep(0.01)


async def test_a_damaged_vault_is_shown_and_never_overwritten(
    exchange: Exchange, data_folder: Path
) -> None:
    vault = put_a_foreign_file(data_folder)
    with trio.fail_after(PATIENCE):
        async with (
            run_server(exchange, data_folder) as installation,
            open_page(installation.url) as page,
        ):
            shown = (await page.until(lambda state: state))["vault"]
            assert shown["state"] == "damaged"
            assert str(vault) in shown["message"]
            for command, fields in (
                ("save_account", installation.settings()),
                ("forget_account", {"account": "a1"}),
            ):
                error = await page.refused(command, **fields)
                assert error["code"] == "vault_damaged"
                assert str(vault) in error["message"]
            assert vault.read_bytes() == b"not a vault"
            # After it is moved away, saving works.
            vault.rename(data_folder / "moved")
            await page.ask("save_account", **installation.settings())
            await page.registered()
            assert page.state["vault"]["state"] == "open"


async def test_a_vault_damaged_later_is_not_overwritten(
    installation: Installation, data_folder: Path, page: Page
) -> None:
    vault = data_folder / "devices.vault"
    vault.write_bytes(vault.read_bytes()[:-1])
    error = await page.refused("save_account", account="a1", **installation.settings())
    assert error["code"] == "vault_damaged"
    await page.registered()


async def test_a_phone_that_cannot_be_opened_reports_it_and_retries(
    exchange: Exchange, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spech.web.line.REOPEN_SECONDS", 0.05)
    account = StoredAccount(
        id="a1",
        server="127.0.0.1",
        port=exchange.port,
        transport="udp",
        user="alice",
        password=PASSWORD,
        codecs=("PCMU",),
    )
    Store(Vault(data_folder)).save(Settings((account,)))
    with (
        trio.fail_after(PATIENCE),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as occupied,
    ):
        occupied.bind(("127.0.0.1", 0))
        async with (
            run_server(exchange, data_folder, sip_listen=occupied.getsockname()) as installation,
            open_page(installation.url) as page,
        ):
            await page.until(lambda state: bindings(state) == ["failed"])
            assert page.state["accounts"][0]["registration"]["reason"]
            assert (await page.refused("dial", target="600"))["code"] == "no_account"
            occupied.close()
            await page.registered()


async def closed(stream: trio.SocketStream) -> None:
    await stream.aclose()


async def greets(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
        await stream.send_all(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    await trio.sleep_forever()


async def is_silent(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def test_errors_do_not_reveal_whether_a_port_is_open(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To all but the administrator, only SIP counts as an answer.

    All other ports look the same and take the same time.
    """
    monkeypatch.setattr("spech.web.trial.TRIAL_SECONDS", 1.5)
    monkeypatch.setattr("spech.web.trial.TOLD_AFTER", 0.6)
    answers = set()
    async with open_page(installation.url) as page:
        password = (await page.ask("add_person", name="bob"))["password"]
    attempt = {"name": "bob", "password": password}
    cookie = await trio.to_thread.run_sync(sign_in, installation.url, attempt)
    async with open_page(installation.url, cookie=cookie) as page, trio.open_nursery() as nursery:
        await page.refused("save_account", **installation.settings(password="wrong"))
        assert page.latest_steps == [("name", True), ("connection", True), ("registration", False)]
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))  # Bound and not listening: a closed port.
            ports = [reserved.getsockname()[1]]
            for behaviour in (closed, greets, is_silent):
                (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
                nursery.start_soon(trio.serve_listeners, behaviour, [listener])
                ports.append(listener.socket.getsockname()[1])
            for transport in ("tcp", "tls"):
                for port in ports:
                    began = trio.current_time()
                    error = await page.refused(
                        "save_account", **installation.settings(port=port, transport=transport)
                    )
                    assert trio.current_time() - began >= 2.1, (transport, port)
                    assert page.latest_steps == [("name", True)]
                    answers.add((error["code"], error["message"], error["hint"]))
        nursery.cancel_scope.cancel()
    assert len(answers) == 1, answers
