"""The control channel against clients that violate the protocol."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from spech.web.control import MAX_COMMAND, _Connection

from .conftest import Installation, Page, open_page


@pytest.fixture
async def stranger(installation: Installation) -> Any:
    async with open_page(installation.url) as page:
        yield page


async def answer_to(page: Page, frame: str | bytes, id: Any) -> dict[str, Any]:
    await page.connection.send_message(frame)
    return await page.answer_to(id)


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "x",
        "{",
        "[]",
        "null",
        "7",
        '"dial"',
        "{}",
        '{"command": "dial", "target": "600"}',
        '{"id": null, "command": "dial", "target": "600"}',
        '{"id": true, "command": "dial", "target": "600"}',
        '{"id": [1], "command": "dial", "target": "600"}',
        '{"id": {"id": 1}, "command": "dial"}',
        json.dumps({"id": "x" * 129, "command": "dial", "target": "600"}),
        "[" * 50_000,
        '{"id": 1, "x": ' + "[" * 50_000,
        '{"id": 1' * 5000,
        b"{}",
        b"",
        b"\xff\xfe\x00",
    ],
)
async def test_a_message_without_an_id_is_answered_without_one(
    stranger: Page, frame: str | bytes
) -> None:
    answer = await answer_to(stranger, frame, None)
    assert answer["error"]["code"] == "bad_request"
    # The connection continues.
    assert (await stranger.refused("hang_up", call="c1"))["code"] == "no_such_call"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"command": None},
        {"command": 7},
        {"command": "explode"},
        {"command": "_Command"},
        {"command": "dial"},
        {"command": "dial", "target": None},
        {"command": "dial", "target": 600},
        {"command": "dial", "target": ["600"]},
        {"command": "dial", "target": "6" * 2000},
        {"command": "dial", "target": "600", "more": 1},
        {"command": "hang_up", "call": 1},
        {"command": "hang_up", "call": "c" * 1000},
        {"command": "mute", "call": "c1", "muted": "yes"},
        {"command": "mute", "call": "c1", "muted": 1},
        {"command": "dtmf", "call": "c1", "digits": 12},
        {"command": "save_account", "server": "127.0.0.1"},
        {
            "command": "save_account",
            "server": "127.0.0.1",
            "port": "5060",
            "transport": "udp",
            "user": "alice",
            "password": "not to be repeated",
            "codecs": ["PCMU"],
        },
        {
            "command": "save_account",
            "server": "127.0.0.1",
            "port": 5060,
            "transport": "udp",
            "user": "alice",
            "password": 12345678,
            "codecs": ["PCMU"] * 1000,
        },
    ],
)
async def test_wrong_fields_are_a_bad_request(stranger: Page, fields: dict[str, Any]) -> None:
    for id in (7, "seven", -1, 2**80, ""):
        answer = await answer_to(stranger, json.dumps({"id": id, **fields}), id)
        assert answer["error"]["code"] == "bad_request"
        assert "not to be repeated" not in json.dumps(answer)
        assert "12345678" not in json.dumps(answer)


async def test_each_command_is_answered_once(stranger: Page) -> None:
    for id in range(200):
        await stranger.connection.send_message(
            json.dumps({"id": id, "command": "hang_up", "call": "c1"})
        )
    for id in range(200):
        assert (await stranger.answer_to(id))["error"]["code"] == "no_such_call"


async def test_a_huge_command_closes_only_its_connection(
    installation: Installation,
) -> None:
    async with open_page(installation.url) as other:
        async with open_page(installation.url) as page:
            await page.until(lambda state: state)
            await page.connection.send_message("x" * (MAX_COMMAND + 1))
            await page.closed()
            assert page.connection.closed is not None
            assert page.connection.closed.code == 1009
        assert (await other.refused("hang_up", call="c1"))["code"] == "no_such_call"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://evil.example", b"403"),
        ("null", b"403"),
        ("http://127.0.0.1:1", b"403"),
        (None, b"101"),
    ],
)
async def test_pages_of_other_origins_are_refused(
    installation: Installation, origin: str | None, status: bytes
) -> None:
    port = int(installation.url.rstrip("/").rpartition(":")[2])
    request = (
        f"GET /control HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Cookie: {installation.cookie}\r\n"
    )
    if origin is not None:
        request += f"Origin: {origin}\r\n"
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request.encode() + b"\r\n")
        assert (await stream.receive_some()).split()[1] == status


async def test_the_servers_own_page_is_accepted(installation: Installation) -> None:
    async with open_page(installation.url, origin=installation.url.rstrip("/")) as page:
        await page.until(lambda state: state)


async def test_an_internal_error_is_answered(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("spech.web.switchboard.Switchboard.hang_up", explode)
    async with open_page(installation.url) as page:
        assert (await page.refused("hang_up", call="c1"))["code"] == "internal"
    assert "ZeroDivisionError" in caplog.text


@given(
    frame=st.text(max_size=100)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["id", "command", "call", "x"]), inner, max_size=4)
        ),
        max_leaves=10,
    ).map(json.dumps)
)
@settings(deadline=None)
def test_any_message_gets_one_answer(frame: str) -> None:
    async def main() -> None:
        # Nothing here reaches a switchboard, because no strategy names a command.
        connection = _Connection(None, None, None, None, None)  # type: ignore[arg-type]
        answer = await connection._answer(frame)
        assert getattr(answer, "error").code == "bad_request"  # noqa: B009

    trio.run(main)
