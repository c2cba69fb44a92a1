"""Several people on one server: each has what is theirs, and nobody gets at another's."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from click.testing import CliRunner, Result

from spech.cli import main
from spech.web.data_lock import data_lock
from spech.web.people import open_people
from spech.web.roster import Roster
from spech.web.sessions import PageSession, Sessions
from spech.web.store import ADMINISTRATOR, Person, Settings, Store, StoredAccount
from spech.web.switchboard import Switchboard, open_switchboard
from spech.web.vault import Vault

from .conftest import (
    Exchange,
    Installation,
    Page,
    close_code,
    connect,
    get,
    open_page,
    post,
    run_server,
    sign_in,
)

ALICE = StoredAccount(
    server="127.0.0.1",
    port=1,
    transport="udp",
    user="alice",
    password="s",
    codecs=("PCMU",),
    id="a1",
)


async def spech(folder: Path, *words: str) -> Result:
    arguments = [*words, "--data", str(folder)]
    return await trio.to_thread.run_sync(CliRunner().invoke, main, arguments)


@asynccontextmanager
async def page_of(installation: Installation, name: str, password: str) -> AsyncIterator[Page]:
    attempt = {"name": name, "password": password}
    cookie = await trio.to_thread.run_sync(sign_in, installation.url, attempt)
    async with open_page(installation.url, cookie=cookie) as page:
        page.cookie = cookie
        yield page


@pytest.fixture
async def bob(installation: Installation, page: Page) -> AsyncIterator[Page]:
    """The page of a second person, whose account is registered; alice's is the administrator's."""
    password = (await page.ask("add_person", name="bob"))["password"]
    async with page_of(installation, "Bob", password) as bob:
        await bob.ask("save_account", **installation.settings(user="bob"))
        await bob.registered()
        yield bob


async def test_two_people_who_try_get_nothing_of_each_other(
    installation: Installation, page: Page, bob: Page, data_folder: Path
) -> None:
    call = (await page.ask("dial", target="600"))["call"]
    await page.call_in_state("answered")
    name = (await page.ask("record", call=call))["recording"]
    grant = await page.ask("audio_ticket", call=call)
    await trio.sleep(0.3)
    await page.ask("stop_record", call=call)

    assert bob.state["person"] == {"name": "bob", "administrator": False}
    assert bob.state["calls"] == []
    assert [each["user"] for each in bob.state["accounts"]] == ["bob"]
    for command, fields in (
        ("hang_up", {"call": call}),
        ("audio_ticket", {"call": call}),
        ("timeline", {"call": call}),
        ("quality_history", {"call": call}),
        ("delete_recording", {"name": name}),
    ):
        assert (await bob.refused(command, **fields))["code"].startswith("no_such"), command
    assert await bob.ask("recordings") == {"recordings": []}
    for path in (f"calls/{call}.txt", f"calls/{call}.pcap", f"recordings/{name}"):
        status, headers, _ = await get(installation.url + path, installation.cookie)
        assert (status, headers["Cache-Control"]) == (200, "no-store")
        assert (await get(installation.url + path, bob.cookie))[0] == 404
    # The ids are the same, and mean another call and another account.
    assert (await bob.ask("dial", target="601"))["call"] == call
    await bob.ask("forget_account", account="a1")
    assert [each["user"] for each in page.state["accounts"]] == ["alice"]
    await page.ask("hang_up", call=call)
    assert grant["ticket"] not in bob.everything
    for secret in ("alice", name, installation.exchange.contact or "alice"):
        assert secret not in bob.everything


async def test_a_call_rings_and_sounds_for_its_own_person(
    installation: Installation, page: Page, bob: Page
) -> None:
    exchange = installation.exchange
    async with exchange.phone.call(exchange.contacts["bob"]) as calling:
        ringing = await bob.call_in_state("ringing")
        await bob.ask("answer", call=ringing["id"])
        await calling.answered(timeout=5)
        grant = await bob.ask("audio_ticket", call=ringing["id"])
        async with connect(installation.audio_url) as audio:
            await audio.send_message(json.dumps({"ticket": grant["ticket"], "rate": 8000}))
            assert json.loads(await audio.get_message())["call"] == ringing["id"]
        assert page.state["calls"] == []


async def test_only_the_administrator_manages_people(page: Page, bob: Page) -> None:
    for command in ("people", "add_person", "reset_person", "remove_person"):
        fields = {} if command == "people" else {"name": "carol"}
        assert (await bob.refused(command, **fields))["code"] == "not_administrator"
    assert await page.ask("people") == {"people": ["bob"]}
    for name in ("", "bob", "BOB", "admin", "a b", "x" * 65, "a/b", "\u202e"):
        assert (await page.refused("add_person", name=name))["code"] == "bad_person", name
    for command in ("reset_person", "remove_person"):
        for name in ("nobody", "admin"):
            assert (await page.refused(command, name=name))["code"] == "bad_person"


async def test_a_new_password_signs_out(installation: Installation, page: Page, bob: Page) -> None:
    password = (await page.ask("reset_person", name="bob"))["password"]
    await bob.closed()
    assert (await get(f"{installation.url}session", bob.cookie))[0] == 401
    async with page_of(installation, "bob", password) as again:
        await again.registered()


@pytest.fixture
def store(data_folder: Path) -> Store:
    data_folder.mkdir()
    return Store(Vault(data_folder))


@pytest.mark.parametrize("change", ["reset", "remove"])
async def test_the_old_password_begins_no_session_while_others_end(
    store: Store, change: str
) -> None:
    checked = []

    class Watched(Sessions):
        async def end_all(self, person: str, *, but: PageSession | None = None) -> None:
            checked.append(await people.check("bob", password))
            await super().end_all(person, but=but)

    roster = Roster(store, Watched(store.vault.folder))
    async with open_people(roster, partial(open_switchboard, store)) as people:
        password = await people.add("bob")
        assert await people.check("bob", password) == people.id_of("bob")
        await getattr(people, change)("bob")
    assert checked == [None]


@pytest.mark.parametrize("change", ["reset", "remove"])
async def test_a_password_that_changes_while_it_is_compared_is_wrong(
    store: Store, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    roster = Roster(store, Sessions(store.vault.folder))

    def matches(password: str, hashed: str | None) -> bool:
        trio.from_thread.run(getattr(people, change), "bob")
        return True

    async with open_people(roster, partial(open_switchboard, store)) as people:
        password = await people.add("bob")
        monkeypatch.setattr("spech.web.people.password_matches", matches)
        assert await people.check("bob", password) is None


async def test_people_of_a_vault_that_was_repaired_are_reset_and_removed(store: Store) -> None:
    roster = Roster(store, Sessions(store.vault.folder))
    await roster.add("bob")
    await roster.add("carol")
    bob, carol = await roster.people()
    recordings = store.make_folder(carol.id) / "recordings"
    recordings.mkdir()
    content = store.vault.path.read_bytes()
    store.vault.path.write_bytes(b"damaged")
    async with open_people(roster, partial(open_switchboard, store)) as people:
        store.vault.path.write_bytes(content)
        password = await people.reset("bob")
        assert await people.check("bob", password) == bob.id
        assert people.switchboard(bob.id) is not None
        await people.remove("carol")
        assert not recordings.exists()
    assert [each.name for each in await roster.people()] == ["bob"]


async def test_who_cannot_enter_is_not_added(store: Store) -> None:
    roster = Roster(store, Sessions(store.vault.folder))

    def opening(person: Person) -> AbstractAsyncContextManager[Switchboard]:
        if person.id != ADMINISTRATOR:
            raise OSError("the disk is full")
        return open_switchboard(store, person)

    async with open_people(roster, opening) as people:
        with pytest.raises(OSError, match="full"):
            await people.add("bob")
        assert await roster.people() == ()
        assert len(list(people)) == 1


async def test_an_error_ends_one_switchboard_which_is_opened_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("spech.web.people._REOPEN_AFTER", 0)
    roster = Roster(store, Sessions(store.vault.folder))
    await roster.add("bob")
    opened: list[str] = []
    slip, again = trio.Event(), trio.Event()

    @asynccontextmanager
    async def opening(person: Person) -> AsyncIterator[Switchboard]:
        async with open_switchboard(store, person) as switchboard, trio.open_nursery() as nursery:
            opened.append(person.name)
            if opened.count("bob") > 1:
                again.set()
            elif person.name == "bob":
                nursery.start_soon(fail)
            yield switchboard

    async def fail() -> None:
        await slip.wait()
        raise ValueError("an answer that nobody thought of")

    async with open_people(roster, opening) as people:
        bob = people.id_of("bob")
        before, administrators = people.switchboard(bob), people.switchboard(ADMINISTRATOR)
        assert before is not None
        with before.attended():
            slip.set()
            await trio.sleep_forever()
        with before.attended():
            await trio.sleep_forever()
        await again.wait()
        await trio.testing.wait_all_tasks_blocked()
        now = people.switchboard(bob)
        assert now is not None
        assert now is not before
        assert people.switchboard(ADMINISTRATOR) is administrators
        await people.remove("bob")
    assert opened == [ADMINISTRATOR, "bob", "bob"]
    assert "nobody thought of" in caplog.text


async def test_who_is_removed_loses_calls_accounts_and_recordings(
    installation: Installation, page: Page, bob: Page, data_folder: Path
) -> None:
    call = (await bob.ask("dial", target="600"))["call"]
    await bob.call_in_state("answered")
    await bob.ask("record", call=call)
    grant = await bob.ask("audio_ticket", call=call)
    (folder,) = (data_folder / "people").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list((folder / "recordings").iterdir())
    await page.ask("remove_person", name="bob")
    await bob.closed()
    assert not folder.exists()
    assert "bob" not in installation.exchange.contacts
    await installation.exchange.quiet()
    async with connect(installation.audio_url) as audio:
        await audio.send_message(json.dumps({"ticket": grant["ticket"], "rate": 8000}))
        assert await close_code(audio) == 4401
    assert await page.ask("people") == {"people": []}
    assert (await get(f"{installation.url}session", bob.cookie))[0] == 401
    assert Store(Vault(data_folder)).load() != Settings()


async def test_people_and_their_accounts_survive_a_restart(
    exchange: Exchange, data_folder: Path
) -> None:
    async with run_server(exchange, data_folder) as installation:
        async with open_page(installation.url) as page:
            password = (await page.ask("add_person", name="bob"))["password"]
        async with page_of(installation, "bob", password) as bob:
            await bob.ask("save_account", **installation.settings(user="bob"))
    async with (
        run_server(exchange, data_folder) as installation,
        page_of(installation, "bob", password) as bob,
    ):
        await bob.registered()
        listed = await spech(data_folder, "vault", "list")
        assert listed.output.endswith("udp  registered  (bob)\n")
        checked = await spech(data_folder, "doctor")
        assert checked.exit_code == 0, checked.output


@pytest.mark.parametrize("running", [False, True])
async def test_the_command_manages_people(
    exchange: Exchange, data_folder: Path, running: bool
) -> None:
    user = partial(spech, data_folder, "user")

    async def manage() -> None:
        added = await user("add", "bob")
        assert added.exit_code == 0, added.output
        assert len(added.output.strip()) == 19
        again = await user("add", "Bob")
        assert (again.exit_code, "already" in again.output) == (1, True)
        assert (await user("list")).output == "bob\n"
        assert (await user("reset", "bob")).output != added.output
        assert (await user("reset", "admin")).exit_code == 1
        removed = await user("remove", "--yes", "bob")
        assert removed.exit_code == 0, removed.output
        assert (await user("list")).output == ""
        assert (await user("remove", "--yes", "bob")).exit_code == 1

    with trio.fail_after(30):
        if running:
            async with run_server(exchange, data_folder):
                await manage()
        else:
            await manage()


async def test_a_link_can_be_for_another_person(
    installation: Installation, data_folder: Path, page: Page
) -> None:
    await page.ask("add_person", name="bob")
    made = await spech(data_folder, "link", "bob")
    link = made.output.strip().rpartition("#link=")[2]
    cookie = await trio.to_thread.run_sync(sign_in, installation.url, {"link": link})
    async with open_page(installation.url, cookie=cookie) as bob:
        person = await bob.until(lambda state: state["person"])
        assert person["name"] == "bob"
    assert (await spech(data_folder, "link", "carol")).exit_code == 1


def test_a_vault_of_before_belongs_to_the_administrator(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.write(json.dumps({"version": 2, "accounts": [_plain(ALICE)]}).encode())
    store = Store(vault)
    assert store.load_accounts("admin") == (ALICE,)
    store.save_accounts("admin", ())
    # Without further people an older version can still read it.
    assert json.loads(vault.read() or b"") == {"version": 2}
    with data_lock(tmp_path):
        pass


def _plain(account: StoredAccount) -> dict[str, Any]:
    return {name: getattr(account, name) for name in account.__struct_fields__}


async def test_a_person_chooses_another_password(
    installation: Installation, page: Page, bob: Page
) -> None:
    """The other sessions end, and this one goes on."""

    async def change(cookie: str, old: str, new: str) -> int:
        return await post(f"{installation.url}password", cookie, old=old, new=new)

    told = (await page.ask("reset_person", name="bob"))["password"]
    attempt = {"name": "bob", "password": told}
    here, elsewhere = [
        await trio.to_thread.run_sync(sign_in, installation.url, attempt) for _ in range(2)
    ]
    assert await change("other=1", told, "correct-horse") == 401
    assert await change(here, "not-this-one", "correct-horse") == 401
    assert await change(here, told, "short") == 409
    assert await change(installation.cookie, "no-matter-what", "correct-horse") == 401
    async with open_page(installation.url, cookie=here) as mine:
        assert await change(here, told, "correct-horse") == 204
        await mine.ask("recordings")
    assert (await get(f"{installation.url}session", elsewhere))[0] == 401
    assert await post(f"{installation.url}session", "", **attempt) == 401
    attempt["password"] = "correct-horse"
    assert await post(f"{installation.url}session", "", **attempt) == 204
