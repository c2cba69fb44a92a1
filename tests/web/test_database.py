"""A person's database: sealed, private, and never overwritten."""

from __future__ import annotations

import secrets
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from spech.errors import VaultError
from spech.web.database import Database, DatabaseFault, Tables
from spech.web.store import ADMINISTRATOR, Person, Settings, Store
from spech.web.vault import Vault

KEY = secrets.token_bytes(32)


@contextmanager
def opened(path: Path, key: Callable[[], bytes] = lambda: KEY) -> Iterator[Database]:
    with closing(Database(path, key)) as database:
        yield database


def keep(tables: Tables) -> None:
    tables.set("word", tables.seal("word", "whom Alice called"))


def read(tables: Tables) -> str:
    word = tables.setting("word")
    assert isinstance(word, bytes)
    return tables.unseal("word", word, str)


def spoil(path: Path, damage: str) -> bytes:
    """Damage a file, and return what is in it then."""
    if damage == "garbage":
        path.write_bytes(secrets.token_bytes(5000))
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:6000])
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "personal.sqlite"


async def test_what_is_sealed_is_in_no_file_and_comes_back(path: Path) -> None:
    with opened(path) as database:
        assert not database.exists
        await database.run(keep)
        assert database.exists
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert b"Alice" not in file.read_bytes()
        assert await database.run(read) == "whom Alice called"
    with opened(path) as database:
        assert await database.run(read) == "whom Alice called"


async def test_a_seal_is_good_for_its_own_place(path: Path) -> None:
    def move(tables: Tables) -> None:
        tables.unseal("call 2", tables.seal("call 1", "hello"), str)

    with opened(path) as database:
        with pytest.raises(DatabaseFault):
            await database.run(move)
        await database.run(keep)


async def test_work_that_fails_changes_nothing(path: Path) -> None:
    def fail(tables: Tables) -> None:
        tables.set("word", 1)
        tables.sql.execute("no such statement")

    with opened(path) as database:
        await database.run(keep)
        with pytest.raises(DatabaseFault, match="syntax"):
            await database.run(fail)
        assert await database.run(read) == "whom Alice called"


@pytest.mark.parametrize("damage", ["key", "garbage", "cut"])
async def test_a_file_that_cannot_be_opened_is_moved_aside(path: Path, damage: str) -> None:
    with opened(path) as database:
        await database.run(keep)
    content = spoil(path, damage)
    other = secrets.token_bytes(32)
    with opened(path, lambda: other if damage == "key" else KEY) as database:
        assert await database.run(lambda tables: tables.setting("word")) is None
        await database.run(keep)
    (aside,) = path.parent.glob("personal.sqlite.*")
    assert aside.read_bytes() == content
    if damage == "key":
        with opened(aside) as database:
            assert await database.run(read) == "whom Alice called"


async def test_the_file_of_a_newer_version_stays_as_it_is(path: Path) -> None:
    with opened(path) as database:
        await database.run(keep)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1000")
    content = spoil(path, "nothing")
    with opened(path) as database, pytest.raises(DatabaseFault, match="newer version"):
        await database.run(read)
    assert spoil(path, "nothing") == content


async def test_without_the_vault_no_file_is_touched(path: Path) -> None:
    def no_key() -> bytes:
        raise VaultError("the vault is damaged")

    with opened(path, no_key) as database:
        with pytest.raises(DatabaseFault, match="vault is damaged"):
            await database.run(keep)
        assert not database.exists


async def test_each_person_has_a_key_that_outlives_a_new_one_of_the_vault(tmp_path: Path) -> None:
    store = Store(Vault(tmp_path))
    bob = Person(id="b1", name="bob", password="")
    store.save(Settings(people=(bob,)))
    keys = [store.data_key(ADMINISTRATOR), store.data_key("b1")]
    assert keys[0] != keys[1]
    assert [len(key) for key in keys] == [32, 32]
    store.vault.change_key()
    again = Store(Vault(tmp_path))
    assert [again.data_key(ADMINISTRATOR), again.data_key("b1")] == keys
    assert keys[0].hex() not in repr(again.load())
    assert keys[1].hex() not in repr(again.load())
    again.save(Settings())
    with pytest.raises(VaultError, match="removed"):
        again.data_key("b1")
