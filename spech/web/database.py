"""A person's database: SQLite in one file, its contents sealed with a key that is in the vault.

Whom a person called, and what was said about it, is sealed row by row with AES-256-GCM; order,
times and flags are not. The associated data of a seal names its row, so that no row passes for
another.

A file that is damaged, or sealed with a key that is lost, is moved aside and never overwritten.
"""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import trio
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from spech.errors import SpechError
from spech.web.messages.command import Refused
from spech.web.private_files import create_private

T = TypeVar("T")

_NONCE_BYTES: Final = 12
#: The setting that tells whether a key is that of the file.
_SEAL: Final = "seal"
#: The statements that lead from each version of the file to the next one.
_MIGRATIONS: Final = (
    (
        "CREATE TABLE settings (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT",
        """CREATE TABLE calls (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            began REAL NOT NULL,
            running INTEGER NOT NULL,
            unseen INTEGER NOT NULL,
            entry BLOB NOT NULL,
            story BLOB
        ) STRICT""",
        "CREATE INDEX calls_began ON calls (began)",
        "CREATE INDEX calls_running ON calls (number) WHERE running",
        "CREATE INDEX calls_unseen ON calls (number) WHERE unseen",
    ),
    (
        """CREATE TABLE texts (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            entry BLOB NOT NULL
        ) STRICT""",
    ),
    ("CREATE TABLE contacts (id TEXT PRIMARY KEY, contact BLOB NOT NULL) STRICT",),
)

_log: Final = logging.getLogger(__name__)


class DatabaseFault(SpechError):
    """The database cannot be used; the message says why."""


@contextmanager
def refusing(code: str, message: str) -> Iterator[None]:
    """Refuse a command for which the database cannot be used; the hint says why."""
    try:
        yield
    except DatabaseFault as error:
        raise Refused(code, message, str(error)) from error


class Tables:
    """The open database. Blocks on the disk."""

    def __init__(self, connection: sqlite3.Connection, key: bytes) -> None:
        self.sql = connection
        self._cipher = AESGCM(key)

    def seal(self, place: str, value: object) -> bytes:
        """``value`` as JSON, sealed; ``place`` names the row that it is for."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, msgspec.json.encode(value), place.encode())

    def unseal(self, place: str, sealed: bytes, kind: type[T]) -> T:
        """What is in a seal.

        Raises:
            InvalidTag: it was changed, is for another place, or has another key.
        """
        nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        if len(nonce) < _NONCE_BYTES:
            raise InvalidTag
        return msgspec.json.decode(self._cipher.decrypt(nonce, text, place.encode()), type=kind)

    def unseal_row(self, place: str, sealed: bytes, kind: type[T]) -> T | None:
        """What is in the seal of a row; None, with a line in the log, if it cannot be read."""
        try:
            return self.unseal(place, sealed, kind)
        except (InvalidTag, msgspec.DecodeError):
            _log.error("the %s in the database cannot be read", place)
            return None

    def setting(self, name: str) -> object:
        """The value of a setting, None if it has none."""
        row = self.sql.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def set(self, name: str, value: bytes | int | None) -> None:
        """Give a setting a value, or none."""
        self.sql.execute("DELETE FROM settings WHERE name = ?", (name,))
        if value is not None:
            self.sql.execute("INSERT INTO settings VALUES (?, ?)", (name, value))


class Database:
    """A file that is opened, and made if it does not exist, when it is first used.

    Args:
        path: the file; its folder is made if it does not exist.
        key: returns the key, 32 bytes, and makes one if there is none. It is called in a thread.
    """

    def __init__(self, path: Path, key: Callable[[], bytes]) -> None:
        self._path = path
        self._key = key
        self._turn = trio.Lock()
        self._tables: Tables | None = None

    @property
    def exists(self) -> bool:
        """Whether there is a file, so that there may be something in it."""
        return self._path.exists()

    async def run(self, work: Callable[[Tables], T]) -> T:
        """Do ``work`` in a thread, as one transaction, after all work that was given before.

        Raises:
            DatabaseFault: the file or the vault cannot be used. Nothing was changed.
        """
        async with self._turn:
            return await trio.to_thread.run_sync(self._transact, work)

    def finish(self, work: Callable[[Tables], None]) -> None:
        """Do the last work and close the file. Blocks; no other work may be under way.

        Raises:
            DatabaseFault: as from :meth:`run`.
        """
        try:
            self._transact(work)
        finally:
            self.close()

    def close(self) -> None:
        """Close the file, if it is open; the next `run` opens it again."""
        if self._tables is not None:
            self._tables.sql.close()
            self._tables = None

    def _transact(self, work: Callable[[Tables], T]) -> T:
        try:
            if self._tables is None:
                self._tables = self._open()
            with _transaction(self._tables.sql):
                return work(self._tables)
        except (sqlite3.Error, InvalidTag, msgspec.DecodeError, OSError) as error:
            raise DatabaseFault(f"{self._path} cannot be used: {error}") from error
        except SpechError as error:
            raise DatabaseFault(str(error)) from error

    def _open(self) -> Tables:
        key = self._key()
        try:
            return self._try_open(key)
        except sqlite3.OperationalError:
            raise  # The disk is full, or the file is locked: it may be good.
        except (sqlite3.DatabaseError, InvalidTag):
            aside = f"{self._path.name}.{datetime.now():%Y%m%d-%H%M%S}"
            _log.error("%s is damaged or has another key; it is now %s", self._path, aside)
            for ending in ("", "-wal", "-shm"):
                part = self._path.with_name(f"{self._path.name}{ending}")
                with suppress(FileNotFoundError):
                    part.rename(self._path.with_name(f"{aside}{ending}"))
            return self._try_open(key)

    def _try_open(self, key: bytes) -> Tables:
        if not self.exists:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(create_private(self._path))
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            # What was written survives a kill of the process at once, a loss of power soon.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("it is malformed")
            tables = Tables(connection, key)
            with _transaction(connection):
                _migrate(connection)
                _check_key(tables)
        except BaseException:
            connection.close()
            raise
        return tables


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(_MIGRATIONS):
        raise DatabaseFault("The database was written by a newer version of Spech.")
    for statements in _MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")


def _check_key(tables: Tables) -> None:
    """Whether the key is that of the file, which holds a sealed word.

    Raises:
        InvalidTag: it is not.
    """
    word = tables.setting(_SEAL)
    if isinstance(word, bytes):
        tables.unseal(_SEAL, word, str)
    else:
        tables.set(_SEAL, tables.seal(_SEAL, _SEAL))
