"""The history of calls: what becomes of each, how it is found again, and when it is forgotten."""

from __future__ import annotations

import csv
import io
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import spech
from spech.web.appearance import Appearance
from spech.web.calls import CallList
from spech.web.database import Database
from spech.web.history import MOST_CALLS, History
from spech.web.history_files import to_csv, to_json
from spech.web.messages.calls import By
from spech.web.messages.command import Refused
from spech.web.messages.history import CallEntry

from .conftest import (
    Exchange,
    Installation,
    Page,
    ServeProcess,
    answered,
    get,
    open_page,
    run_server,
    sign_in,
)

KEY = secrets.token_bytes(32)
LINE = "sip:alice@127.0.0.1"


class Log:
    """A history with the list of calls that writes it, without a phone."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path, lambda: KEY)
        self.changes = 0
        self.history = History(self.database, self._notify)
        self.calls = CallList(lambda: None, lambda each: self.history.note(each, LINE))

    def _notify(self) -> None:
        self.changes += 1

    def over(
        self,
        direction: Any = "outgoing",
        remote: str = "600",
        name: str | None = None,
        *,
        by: By = "remote",
        status: int | None = 486,
        hung_up: bool = False,
        elsewhere: bool = False,
    ) -> Appearance:
        """A call that was not answered."""
        call = self.calls.begin("a1", direction, remote, name)
        call.hung_up = hung_up
        call.end(by, status, "It is over.", trio.current_time(), elsewhere=elsewhere)
        self.calls.note(call)
        return call

    async def listed(self, search: str = "", **options: Any) -> list[CallEntry]:
        """All entries that are found."""
        options = {"missed": False, "before": None, "limit": 200} | options
        return list((await self.history.find(search, **options)).entries)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Log]:
    log = Log(path)
    await log.history.load()
    try:
        yield log
    finally:
        log.history.finish()


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    async with opened(tmp_path / "personal.sqlite") as log:
        yield log


@pytest.mark.parametrize(
    ("fate", "call"),
    [
        ("busy", {"status": 486}),
        ("busy", {"status": 600}),
        ("declined", {"status": 603}),
        ("unanswered", {"status": 480}),
        ("unanswered", {"status": 408}),
        ("failed", {"status": 404}),
        ("failed", {"status": None}),
        ("failed", {"by": "local", "status": None}),
        ("cancelled", {"by": "local", "status": 487, "hung_up": True}),
        ("missed", {"direction": "incoming", "status": 487}),
        ("elsewhere", {"direction": "incoming", "status": 487, "elsewhere": True}),
        ("declined", {"direction": "incoming", "by": "local", "status": 603, "hung_up": True}),
        ("missed", {"direction": "incoming", "by": "local", "status": 480, "hung_up": True}),
    ],
)
async def test_what_became_of_a_call_that_was_not_answered(
    log: Log, fate: str, call: dict[str, Any]
) -> None:
    log.over(**call)
    await log.history.write()
    (entry,) = await log.listed()
    assert (entry.fate, entry.answered, entry.line) == (fate, None, LINE)
    assert entry.unseen == (fate == "missed")
    assert log.history.state.missed == (fate == "missed")


async def test_a_call_is_noted_once_however_often_its_end_is_told(log: Log) -> None:
    call = log.over()
    await log.history.write()
    revision = log.history.state.revision
    log.calls.note(call)
    await log.history.write()
    assert len(await log.listed()) == 1
    log.calls.begin("a1", "incoming", "602", None)
    await log.history.write()
    # A call that runs is in no list.
    assert len(await log.listed()) == 1
    assert log.history.state.revision >= revision


async def test_calls_that_were_running_when_the_server_ended_are_lost(tmp_path: Path) -> None:
    path = tmp_path / "personal.sqlite"
    async with opened(path) as log:
        log.calls.begin("a1", "outgoing", "600", None)
        log.calls.begin("a1", "incoming", "602", "Bob")
        await log.history.write()
        assert await log.listed() == []
        revision = log.history.state.revision
    async with opened(path) as log:
        assert log.history.state.missed == 1
        assert log.history.state.revision > revision
        found = [(e.remote, e.fate, e.ended, e.unseen) for e in await log.listed()]
        assert found == [("602", "lost", None, True), ("600", "lost", None, False)]


async def test_a_damaged_call_does_not_keep_others_from_being_told_as_lost(tmp_path: Path) -> None:
    path = tmp_path / "personal.sqlite"
    async with opened(path) as log:
        log.calls.begin("a1", "outgoing", "600", None)
        log.calls.begin("a1", "incoming", "602", "Bob")
        await log.history.write()
        await log.database.run(
            lambda tables: tables.sql.execute("UPDATE calls SET entry = x'00' WHERE number = 1")
        )
    async with opened(path) as log:
        assert [(e.remote, e.fate) for e in await log.listed()] == [("602", "lost")]


async def test_a_page_that_shows_missed_calls_ends_their_count(log: Log) -> None:
    for remote in ("601", "602"):
        log.over("incoming", remote, status=487)
    log.over()
    await log.history.write()
    assert log.history.state.missed == 2
    assert [e.remote for e in await log.listed(missed=True)] == ["602", "601"]
    await log.history.see()
    assert log.history.state.missed == 0
    assert [e.unseen for e in await log.listed(missed=True)] == [False, False]


async def test_calls_are_found_by_name_number_and_account(log: Log) -> None:
    log.over("incoming", "+49301234567", "Jürgen Groß")
    log.over("outgoing", "sip:carol@example.org")
    await log.history.write()
    for search in ("GROSS", "jürgen", "030/123 45-67"[1:], "+49 30 1234", "  groß "):
        assert [e.remote for e in await log.listed(search)] == ["+49301234567"], search
    assert len(await log.listed("alice@")) == 2
    assert await log.listed("nobody") == []


async def test_pages_follow_each_other_and_end(log: Log) -> None:
    for number in range(7):
        log.over(remote=str(number))
    await log.history.write()
    seen: list[str] = []
    before = None
    while True:
        found = await log.history.find("", missed=False, before=before, limit=3)
        seen += [entry.remote for entry in found.entries]
        before = found.entries[-1].id
        if not found.more:
            break
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]


async def test_calls_are_forgotten_one_by_one_by_age_and_all_together(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_772_000_000.0]
    monkeypatch.setattr("spech.web.history.time.time", lambda: now[0])
    log.over(remote="old")
    now[0] += 31 * 86_400
    log.over(remote="new")
    running = log.calls.begin("a1", "outgoing", "running", None)
    await log.history.write()
    await log.history.keep(30)
    assert log.history.state.keep_days == 30
    assert [e.remote for e in await log.listed()] == ["new"]
    log.over(remote="newer")
    await log.history.write()
    await log.history.forget((await log.listed())[0].id)
    assert [e.remote for e in await log.listed()] == ["new"]
    await log.history.clear()
    assert await log.listed() == []
    running.end("remote", 486, "", trio.current_time())
    log.calls.note(running)
    await log.history.write()
    assert [e.remote for e in await log.listed()] == ["running"]
    now[0] += 31 * 86_400
    await log.history.write()
    assert await log.listed() == []


async def test_a_damaged_entry_hides_no_other(log: Log) -> None:
    for number in range(3):
        log.over(remote=str(number))
    await log.history.write()
    damaged = (await log.listed())[1].id

    await log.database.run(
        lambda tables: tables.sql.execute("UPDATE calls SET entry = x'00' WHERE id = ?", (damaged,))
    )
    assert [e.remote for e in await log.listed()] == ["2", "0"]


async def test_there_are_never_more_than_the_most(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_CALLS == 20_000
    monkeypatch.setattr("spech.web.history.MOST_CALLS", 4)
    for number in range(7):
        log.over(remote=str(number))
    await log.history.write()
    assert [e.remote for e in await log.listed()] == ["6", "5", "4", "3"]


async def test_nothing_is_made_before_there_is_something_to_keep(log: Log) -> None:
    await log.history.write()
    await log.history.see()
    await log.history.clear()
    assert await log.listed() == []
    assert await log.history.all() == []
    with pytest.raises(Refused, match="no longer"):
        await log.history.tell("x")
    assert not log.database.exists


async def test_a_disk_that_refuses_ends_no_call(
    log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "personal.sqlite").mkdir()
    log.over()
    await log.history.write()
    assert "1 calls are missing in the history" in caplog.text
    with pytest.raises(Refused) as refused:
        await log.listed()
    assert refused.value.code == "no_history"


def test_files_hold_what_is_known_and_no_formula() -> None:
    entry = CallEntry(
        id="e1",
        account="a1",
        line=LINE,
        direction="incoming",
        remote="+49 30 1234",
        name='=HYPERLINK("http://evil.example","Bob")',
        began=1_772_000_000.0,
        answered=1_772_000_004.2,
        ended=1_772_000_065.9,
        fate="answered",
        status=200,
        text="The other side hung up.",
        codec="opus",
        mos=4.31,
        recordings=("one.wav", "two.wav"),
    )
    text = to_csv([entry])
    assert text.startswith(b"\xef\xbb\xbfbegan,")
    (row,) = csv.DictReader(io.StringIO(text.decode("utf-8-sig")))
    assert row["name"] == f"'{entry.name}"
    assert row["number"] == "+49 30 1234"
    assert (row["seconds"], row["fate"], row["mos"]) == ("62", "answered", "4.31")
    assert row["recordings"] == "one.wav two.wav"
    assert row["began"][:19] < row["answered"][:19] < row["ended"][:19]
    (back,) = json.loads(to_json([entry]))
    assert back["remote"] == "+49 30 1234"


# ------------------------------ with a phone


async def history(page: Page, count: int, **wanted: Any) -> list[dict[str, Any]]:
    """The entries, as soon as there are that many."""
    while True:
        entries: list[dict[str, Any]] = (await page.ask("history", **wanted))["entries"]
        if len(entries) >= count:
            return entries
        await trio.sleep(0.01)


async def test_an_answered_call_is_kept_with_its_sound_and_story(
    installation: Installation, page: Page
) -> None:
    call = await answered(page, "600")
    await page.ask("record", call=call)
    await page.ask("stop_record", call=call)
    await page.judged(lambda quality: quality.get(call, {}).get("mos_mean") is not None)
    await page.ask("hang_up", call=call)
    (entry,) = await history(page, 1)
    assert (entry["fate"], entry["direction"], entry["remote"]) == ("answered", "outgoing", "600")
    assert (entry["codec"], entry["status"], entry["text"]) == ("PCMU", 200, "You hung up.")
    assert entry["began"] <= entry["answered"] < entry["ended"]
    assert entry["mos"] > 3
    (name,) = entry["recordings"]
    assert name in [each["name"] for each in (await page.ask("recordings"))["recordings"]]
    steps = (await page.ask("history_story", entry=entry["id"]))["steps"]
    meanings = [step["meaning"] for step in steps]
    assert meanings[0] == "You call."
    assert {"They answer.", "You hang up."} <= set(meanings)
    assert {step["message"] for step in steps} == {""}
    refused = await page.refused("history_story", entry="none")
    assert refused["code"] == "no_such_entry"
    status, headers, body = await get(f"{installation.url}history.csv", installation.cookie)
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    assert headers["Content-Disposition"] == 'attachment; filename="spech-history.csv"'
    assert b",600," in body
    status, _, body = await get(f"{installation.url}history.json", installation.cookie)
    assert [each["id"] for each in json.loads(body)] == [entry["id"]]
    assert (await get(f"{installation.url}history.xml", installation.cookie))[0] == 404
    assert (await get(f"{installation.url}history.csv", "none"))[0] == 401


async def test_calls_without_a_page_are_kept_and_survive_a_restart(
    exchange: Exchange, data_folder: Path
) -> None:
    with trio.fail_after(20):
        async with run_server(exchange, data_folder) as installation:
            async with open_page(installation.url) as page:
                await page.ask("save_account", **installation.settings())
                await page.registered()
            contact = exchange.contact
            assert contact is not None
            async with exchange.phone.call(contact) as call:
                while call.state != "ringing":
                    await call.changed()
        # The server was stopped while the call rang: its end is written as well.
        async with (
            run_server(exchange, data_folder) as installation,
            open_page(installation.url) as page,
        ):
            await page.until(lambda state: state["history"]["missed"] == 1)
            (entry,) = await history(page, 1)
            assert (entry["fate"], entry["direction"]) == ("missed", "incoming")
            assert entry["unseen"]
            await page.ask("see_history")
            await page.until(lambda state: state["history"]["missed"] == 0)


async def test_a_killed_server_leaves_lost_calls(exchange: Exchange, data_folder: Path) -> None:
    with trio.fail_after(20):
        with ServeProcess(data_folder) as server:
            async with open_page(server.url) as page:
                settings = {"server": "127.0.0.1", "port": exchange.port, "transport": "udp"}
                settings |= {"user": "alice", "password": "open-sesame-42", "codecs": ["PCMU"]}
                await page.ask("save_account", **settings)
                await page.registered()
                await answered(page, "600")
                # The database does one thing after the other: what was noted is written then.
                for _ in range(2):
                    await page.ask("keep_history", days=None)
                server.process.kill()
        async with run_server(exchange, data_folder) as installation:
            url = installation.url
            async with open_page(url) as page:
                (entry,) = await history(page, 1)
    assert (entry["fate"], entry["ended"]) == ("lost", None)
    assert entry["answered"] is not None


async def test_nobody_sees_the_calls_of_another(installation: Installation, page: Page) -> None:
    await page.ask("dial", target="601")
    (entry,) = await history(page, 1)
    password = (await page.ask("add_person", name="bob"))["password"]
    cookie = await trio.to_thread.run_sync(
        sign_in, installation.url, {"name": "bob", "password": password}
    )
    async with open_page(installation.url, cookie=cookie) as bob:
        assert (await bob.ask("history"))["entries"] == []
        assert (await bob.refused("history_story", entry=entry["id"]))["code"] == "no_such_entry"
        await bob.ask("forget_entry", entry=entry["id"])
        await bob.ask("forget_history")
        assert (await get(f"{installation.url}history.json", cookie))[2] == b"[]"
    assert len(await history(page, 1)) == 1


async def test_a_call_above_the_limit_is_missed_without_ringing(
    installation: Installation, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spech.web.calls.CALL_LIMIT", 0)
    contact = installation.exchange.contact
    assert contact is not None
    async with installation.exchange.phone.call(contact) as call:
        with pytest.raises(spech.CallFailed) as failed:
            await call.answered()
    assert failed.value.status == 486
    (entry,) = await history(page, 1)
    assert (entry["fate"], entry["text"]) == ("missed", "All lines were busy.")
    assert page.state["calls"] == []
