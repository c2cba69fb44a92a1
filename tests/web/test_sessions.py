"""Signing in and out: passwords, links, cookies, and what they open."""

from __future__ import annotations

import json
import stat
import time
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from spech.web.audio import BAD_TICKET
from spech.web.sessions import LINK_SECONDS, LINKS_EACH, SESSION_SECONDS, SESSIONS_EACH, Sessions

from .conftest import (
    Exchange,
    Installation,
    close_code,
    connect,
    follow_link,
    get,
    new_link,
    open_page,
    run_server,
)
from .test_app import client, refusal

PASSWORD = "correct horse"


async def attempt(http: Any, origin: str | None = None, **fields: str) -> Any:
    headers = {} if origin is None else {"Origin": origin}
    return await http.post("/session", data=json.dumps(fields), headers=headers)


async def test_a_password_opens_the_phone(data_folder: Path) -> None:
    async with client(data_folder, host="0.0.0.0", password=PASSWORD, signed_in=False) as http:
        for wrong in (
            {"name": "admin", "password": "wrong"},
            {"name": "nobody", "password": PASSWORD},
            {"name": "", "password": ""},
            {"link": "wrong"},
        ):
            answer = await attempt(http, **wrong)
            assert (answer.status_code, "Set-Cookie" in answer.headers) == (401, False)
        answer = await attempt(http, name="admin", password=PASSWORD)
        assert answer.status_code == 204
        async with http.websocket("/control") as websocket:
            assert '"type":"state"' in await websocket.receive()


async def test_without_a_password_only_links_sign_in(data_folder: Path) -> None:
    async with client(data_folder, signed_in=False) as http:
        assert (await attempt(http, name="admin", password="")).status_code == 401


@pytest.mark.parametrize(("scheme", "secure"), [("http", False), ("https", True)])
async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(
    data_folder: Path, scheme: str, secure: bool
) -> None:
    async with client(data_folder, password=PASSWORD, signed_in=False) as http:
        origin = f"{scheme}://localhost"
        answer = await attempt(http, origin, name="admin", password=PASSWORD)
        cookie = SimpleCookie(answer.headers["Set-Cookie"])["cookie"]
        assert cookie["httponly"] is True
        assert cookie["samesite"] == "Strict"
        assert bool(cookie["secure"]) is secure
        assert cookie["domain"] == ""
        assert answer.headers["Cache-Control"] == "no-store"


async def test_a_foreign_page_cannot_sign_in_or_out(data_folder: Path) -> None:
    async with client(data_folder, password=PASSWORD) as http:
        headers = {"Origin": "http://evil.example"}
        answer = await attempt(http, headers["Origin"], name="admin", password=PASSWORD)
        assert answer.status_code == 403
        assert (await http.delete("/session", headers=headers)).status_code == 403
        assert (await http.get("/session")).status_code == 204
        assert await refusal(http.websocket("/control", headers=headers)) == 403


@pytest.mark.parametrize("body", ["", "{", "[]", '{"name": 1}', '{"more": ""}', "\xff", "x" * 2000])
async def test_junk_signs_nobody_in(data_folder: Path, body: str) -> None:
    async with client(data_folder, signed_in=False) as http:
        answer = await http.post("/session", data=body.encode("latin-1"))
        assert answer.status_code in (400, 413)


async def test_a_link_works_once_and_for_two_minutes(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    sessions = Sessions(tmp_path)
    used, late, other = (sessions.link("admin") for _ in range(3))
    assert sessions.redeem(used) == "admin"
    assert sessions.redeem(used) is None
    await trio.sleep(LINK_SECONDS - 1)
    assert sessions.redeem(other) == "admin"
    await trio.sleep(1)
    assert sessions.redeem(late) is None
    links = [sessions.link("admin") for _ in range(LINKS_EACH + 1)]
    assert [sessions.redeem(link) for link in links] == [None, *["admin"] * LINKS_EACH]


async def test_a_session_survives_a_restart(exchange: Exchange, data_folder: Path) -> None:
    async with run_server(exchange, data_folder) as installation:
        name, _, token = installation.cookie.partition("=")
    file = data_folder / "sessions.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token not in file.read_text()
    async with run_server(exchange, data_folder) as again:
        # Each port has a cookie of its own, because browsers do not tell ports apart.
        other = again.cookie.partition("=")[0]
        assert name != other
        for cookie, status in ((f"{other}={token}", 204), (f"{name}={token}", 401)):
            assert (await get(f"{again.url}session", cookie))[0] == status


@pytest.mark.parametrize("password", ["another horse", None])
async def test_a_new_password_of_the_administrator_ends_only_the_sessions_of_the_old(
    tmp_path: Path, password: str | None
) -> None:
    sessions = Sessions(tmp_path)
    await sessions.set_password("admin", PASSWORD)
    mine, bobs = [await sessions.begin(person) for person in ("admin", "b0b")]
    assert PASSWORD not in (tmp_path / "sessions.json").read_text()

    # What the commands of a server that does not run write keeps the password.
    await Sessions(tmp_path).end_all("carol")
    same = Sessions(tmp_path)
    await same.set_password("admin", PASSWORD)
    assert same.find(mine) is not None

    changed = Sessions(tmp_path)
    await changed.set_password("admin", password)
    for each in (changed, Sessions(tmp_path)):
        assert each.find(mine) is None
        assert each.find(bobs) is not None


async def test_a_server_that_starts_with_a_new_password_signs_the_administrator_out(
    exchange: Exchange, data_folder: Path
) -> None:
    token = ""
    for password, status in ((PASSWORD, 401), (PASSWORD, 204), ("another horse", 401)):
        async with run_server(exchange, data_folder, password=password) as installation:
            name, _, new = installation.cookie.partition("=")
            assert (await get(f"{installation.url}session", f"{name}={token}"))[0] == status
            token = new


async def test_a_connection_ends_with_its_session(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    sessions = Sessions(tmp_path)
    session = sessions.find(await sessions.begin("admin"))
    assert session is not None
    with session.connection() as scope:
        await trio.sleep(SESSION_SECONDS - 60)
        assert not scope.cancel_called
        await trio.sleep(120)
    assert scope.cancelled_caught


async def test_signing_out_ends_this_session_with_its_sound(
    installation: Installation, page: Any, data_folder: Path
) -> None:
    await page.ask("dial", target="600")
    call = await page.call_in_state("answered")
    grants = [await page.ask("audio_ticket", call=call["id"]) for _ in range(2)]
    mine = installation.cookie
    await trio.to_thread.run_sync(lambda: follow_link(new_link(data_folder)))
    other = installation.cookie
    async with (
        connect(installation.audio_url) as audio,
        open_page(installation.url, cookie=other) as remaining,
    ):
        await audio.send_message(json.dumps({"ticket": grants[0]["ticket"], "rate": 8000}))
        await audio.get_message()
        assert (await get(f"{installation.url}session", mine, method="DELETE"))[0] == 204
        await page.closed()
        assert (await get(f"{installation.url}session", mine))[0] == 401
        assert await close_code(audio) == BAD_TICKET
        async with connect(installation.audio_url) as late:
            await late.send_message(json.dumps({"ticket": grants[1]["ticket"], "rate": 8000}))
            assert await close_code(late) == BAD_TICKET
        await remaining.ask("hang_up", call=call["id"])
        assert (await get(f"{installation.url}sessions", other, method="DELETE"))[0] == 204
        await remaining.closed()


async def test_the_number_of_sessions_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = Sessions(tmp_path)
    tokens = [await sessions.begin("admin") for _ in range(SESSIONS_EACH + 1)]
    assert [sessions.find(token) is not None for token in tokens[:3]] == [False, True, True]
    later = time.time() + SESSION_SECONDS + 1
    monkeypatch.setattr("spech.web.sessions.time.time", lambda: later)
    assert sessions.find(tokens[-1]) is None


async def test_a_damaged_file_signs_everyone_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "sessions.json").write_bytes(b"\xff{")
    sessions = Sessions(tmp_path)
    assert "everyone has to sign in again" in caplog.text
    token = await sessions.begin("admin")
    assert Sessions(tmp_path).find(token) is not None
