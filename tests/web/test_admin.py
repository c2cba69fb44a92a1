"""Commands talk to a running server over the socket in its data folder."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner, Result

from spech.cli import main
from spech.errors import SpechError
from spech.web.admin import (
    MAX_REQUEST,
    MAX_REQUESTS,
    NAME,
    AdminAnswer,
    AdminRequest,
    CheckAccount,
    Checked,
    ListAccounts,
    Listed,
    ask_server,
    open_admin_socket,
)
from spech.web.data_lock import data_lock

from .conftest import PASSWORD, Exchange, Installation, open_page, run_server


async def ask(folder: Path, request: AdminRequest) -> list[AdminAnswer]:
    """All replies to a request; asked from a thread, as the client blocks."""

    def replies() -> list[AdminAnswer]:
        found = ask_server(folder, request)
        assert found is not None
        return list(found)

    return await trio.to_thread.run_sync(replies)


async def send(folder: Path, data: bytes, *, end: bool = True) -> list[dict[str, Any]]:
    """What the server answers to ``data``."""
    async with await trio.open_unix_socket(folder / NAME) as stream:
        heard = b""
        try:
            await stream.send_all(data)
            if end:
                await stream.send_eof()
            while piece := await stream.receive_some():
                heard += piece
        except trio.BrokenResourceError:
            pass  # It was closed before everything was sent.
    return [json.loads(line) for line in heard.splitlines()]


@pytest.fixture
async def registered(installation: Installation) -> Installation:
    """A server with a registered account."""
    async with open_page(installation.url) as page:
        await page.ask("save_account", **installation.settings())
        await page.registered()
    return installation


async def test_the_accounts_are_listed_without_their_passwords(
    registered: Installation, data_folder: Path, exchange: Exchange
) -> None:
    (listed,) = await ask(data_folder, ListAccounts())
    address = f"sip:alice@127.0.0.1:{exchange.port}"
    assert listed == Listed("a1", address, "udp", "registered", "OK", "admin")
    answer = await send(data_folder, b'{"type":"list_accounts"}\n', end=False)
    assert PASSWORD not in json.dumps(answer)
    assert [each["type"] for each in answer] == ["account", "done"]


async def test_an_account_is_checked_with_the_registration_of_the_server(
    registered: Installation, data_folder: Path, exchange: Exchange
) -> None:
    contact = exchange.contact
    checked = await ask(data_folder, CheckAccount("a1", "600"))
    steps = [(each.step.name, each.step.passed) for each in checked if isinstance(each, Checked)]
    assert steps == [
        ("name", True),
        ("connection", True),
        ("registration", True),
        ("options", True),
        ("echo", True),
    ]
    assert exchange.contact == contact is not None
    await exchange.quiet()


async def test_the_first_failure_is_the_last_step(
    registered: Installation, data_folder: Path
) -> None:
    checked = await ask(data_folder, CheckAccount("a1", "601"))
    failed = checked[-1]
    assert isinstance(failed, Checked)
    assert (failed.step.name, failed.step.passed) == ("echo", False)
    assert "486" in failed.step.text
    assert failed.step.advice


async def test_an_unknown_account_is_reported(registered: Installation, data_folder: Path) -> None:
    with pytest.raises(SpechError, match="no longer exists"):
        await ask(data_folder, CheckAccount("a9"))


async def test_a_client_that_leaves_ends_its_call(
    registered: Installation, data_folder: Path, exchange: Exchange
) -> None:
    async with await trio.open_unix_socket(data_folder / NAME) as stream:
        await stream.send_all(b'{"type":"check_account","account":"a1","echo":"602"}\n')
        while not exchange.callers:  # noqa: ASYNC110, nothing tells of it
            await trio.sleep(0.01)
    await exchange.quiet()
    assert exchange.heard == ["gave up"]


async def test_the_commands_ask_the_server(
    registered: Installation, data_folder: Path, exchange: Exchange
) -> None:
    async def spech(*words: str) -> Result:
        arguments = [*words, "--data", str(data_folder)]
        return await trio.to_thread.run_sync(CliRunner().invoke, main, arguments)

    address = f"sip:alice@127.0.0.1:{exchange.port}"
    listed = await spech("vault", "list")
    assert (listed.exit_code, listed.output) == (0, f"{address}  udp  registered\n")
    checked = await spech("doctor", "--echo", "600")
    assert checked.exit_code == 0
    names = ["name", "connection", "registration", "options", "echo"]
    lines = checked.output.splitlines()
    assert lines[0] == address
    assert [line.split()[:2] for line in lines[1:]] == [[name, "ok"] for name in names]
    checked = await spech("doctor", "--echo", "601")
    assert checked.exit_code == 1
    assert "echo         failed" in checked.output
    rekeyed = await spech("vault", "rekey")
    assert rekeyed.exit_code == 1
    assert f"process {os.getpid()}) is using" in rekeyed.output
    await exchange.quiet()


async def test_without_accounts_there_is_nothing_to_check(
    installation: Installation, data_folder: Path
) -> None:
    arguments = ["doctor", "--data", str(data_folder)]
    result = await trio.to_thread.run_sync(CliRunner().invoke, main, arguments)
    assert result.exit_code == 1
    assert "No account is saved" in result.output


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"\xff\xfe\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"[" * MAX_REQUEST + b"\n",
        b'{"type":"list_accounts","more":1}\n',
        b'{"type":"forget"}\n',
        b'{"type":"check_account","account":7}\n',
        b'{"type":"list_accounts"',
        b"x" * (MAX_REQUEST + 1),
        b" " * (1 << 20),
    ],
)
async def test_junk_is_refused_and_costs_nothing(
    registered: Installation, data_folder: Path, data: bytes
) -> None:
    answer = await send(data_folder, data)
    assert answer in ([], [{"type": "failed", "text": "The request is not understood."}])
    assert len(await ask(data_folder, ListAccounts())) == 1
    async with open_page(registered.url) as page:
        await page.registered()


async def test_silent_clients_are_limited_in_number_and_time(
    registered: Installation, data_folder: Path
) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    streams = [await trio.open_unix_socket(data_folder / NAME) for _ in range(200)]
    try:
        with trio.fail_after(15):
            for stream in streams[MAX_REQUESTS:]:
                assert await stream.receive_some() == b""
            for stream in streams[:MAX_REQUESTS]:
                assert b"not understood" in await stream.receive_some()
        assert len(await ask(data_folder, ListAccounts())) == 1
    finally:
        for stream in streams:
            await stream.aclose()
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


async def test_only_the_owner_may_connect_and_nothing_is_left(
    exchange: Exchange, data_folder: Path
) -> None:
    async with run_server(exchange, data_folder):
        assert stat.S_IMODE((data_folder / NAME).stat().st_mode) == 0o600
        assert await ask(data_folder, ListAccounts()) == []
    assert not (data_folder / NAME).exists()
    assert ask_server(data_folder, ListAccounts()) is None
    assert ask_server(data_folder / "missing", ListAccounts()) is None


async def test_the_socket_of_a_killed_server_is_replaced(
    exchange: Exchange, data_folder: Path
) -> None:
    with data_lock(data_folder):
        pass
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(data_folder / NAME))
    assert ask_server(data_folder, ListAccounts()) is None
    async with run_server(exchange, data_folder):
        assert await ask(data_folder, ListAccounts()) == []


async def test_a_refused_server_leaves_the_socket_of_the_first(
    installation: Installation, exchange: Exchange, data_folder: Path
) -> None:
    with pytest.RaisesGroup(SpechError, flatten_subgroups=True):
        async with run_server(exchange, data_folder):
            pass
    assert await ask(data_folder, ListAccounts()) == []


async def test_the_path_of_the_folder_may_be_long(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 50)
    folder.mkdir()
    with open_admin_socket(folder) as listener:
        replies = ask_server(folder, ListAccounts())
        assert replies is not None
        stream = await listener.accept()
        await stream.aclose()
        with pytest.raises(SpechError, match=r"ended the connection|cannot be asked"):
            await trio.to_thread.run_sync(lambda: list(replies))


def test_a_folder_that_holds_no_sockets_is_reported() -> None:
    with (
        pytest.raises(SpechError, match=r"/proc cannot hold a Unix socket: .*--data"),
        open_admin_socket(Path("/proc")),
    ):
        pass
