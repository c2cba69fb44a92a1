"""A journal of dialogs, from which a restarted phone sends the farewells of a killed one.

Each line holds a checksum and a JSON array: the account, Call-ID and tag, and the
:class:`~spech.sip.call.leftover.FarewellRecord` of the call, or null when it has ended. A record is
written with one system call before the message that it is about is sent, so it outlives the
process; a background task syncs the file within a second, so it outlives a loss of power. The null
of an ended call goes with the next write: without it, a BYE is refused with 481, no more.

``bench/journal.py`` measures the time of a line. Stores to a mapped file would take less than a
system call, but where the file system then has no block left, they end the process with SIGBUS.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import stat
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
import trio

from spech.addresses import numeric
from spech.errors import LocalProtocolError
from spech.locks import lock_file
from spech.sip.call.leftover import FarewellRecord
from spech.sip.call.session import Session
from spech.sip.transaction.flow import TRANSPORTS

_log: Final = logging.getLogger(__name__)

#: Call-ID and our tag.
RecordKey = tuple[str, str]

#: Seconds after which a dead process's calls are left alone: the far ends have given up.
JOURNAL_LIFETIME: Final = 3600.0
#: Seconds between a line and its sync, and between two marks that the process is alive.
_SYNC_SECONDS: Final = 0.5
_ALIVE_SECONDS: Final = 60.0
#: Bytes from which on a file that holds mostly ended calls is written again.
_COMPACT_FROM: Final = 1 << 20
#: Bytes that are read at most.
_LARGEST: Final = 64 << 20
_LAST_PORT: Final = 65_535


_JournalEntry = tuple[str | None, str, str, FarewellRecord | None]
_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(_JournalEntry)


class Journal:
    """The calls of one phone whose far ends wait for a farewell, in a file.

    A context manager, open while the phone is. The file is readable by its owner alone and locked.

    Args:
        path: the file; created if missing.
        account: the account's address. Calls of other accounts are skipped, and forgotten.

    Raises:
        LocalProtocolError: the file cannot be used, another process uses it, or the operating
            system (Windows) has no locks that end with a process.
    """

    def __init__(self, path: str | Path, account: str | None) -> None:
        self._path = Path(path)
        self._account = account
        self._live: dict[RecordKey, bytes] = {}
        #: Bytes of the lines in ``_live``, and of the file.
        self._live_size = 0
        self._size = 0
        #: The record of each line in ``_live`` that this process has written.
        self._records: dict[RecordKey, FarewellRecord] = {}
        #: Lines that are not written yet: nulls of ended calls, and what a full disk refused.
        self._pending = b""
        self._unsynced = trio.Event()
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._refused(error.strerror) from error
        try:
            try:
                lock_file(self._file)
            except BlockingIOError as error:
                raise self._refused("another process uses it") from error
            self._require_journal()
            os.fchmod(self._file, 0o600)
            #: What the process before has left, to be given its farewells.
            self.left: Final = self._read()
            self._rewrite()
        except OSError as error:
            os.close(self._file)
            raise self._refused(error.strerror) from error
        except BaseException:
            os.close(self._file)
            raise

    def _require_journal(self) -> None:
        """Refuse a file of another kind, because what is not a record is not kept.

        A journal begins with a checksum, or with zeros where the power failed.
        """
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            raise self._refused("it is not a regular file")
        if os.pread(self._file, 8, 0).strip(b"0123456789abcdef\0"):
            raise self._refused("it is not a journal")

    def _refused(self, cause: str | None) -> LocalProtocolError:
        return LocalProtocolError(f"the journal {self._path} cannot be used: {cause}")

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *args: object) -> None:
        """Close the file; calls whose farewell was not confirmed stay in it."""
        self._empty()
        self._append(b"")
        os.close(self._file)

    # ------------------------------------------------------------------ writing

    def note(self, session: Session) -> None:
        """The farewell of a call may need something else now."""
        self.write((session.call_id, session.local_tag), session.farewell_record())

    def forget(self, key: RecordKey, status: int) -> None:
        """The farewell of an earlier process's call was answered with ``status``, or never."""
        self.write(key, None)

    def write(self, key: RecordKey, record: FarewellRecord | None) -> None:
        """Note what the farewell of a call needs now, None if it needs nothing."""
        if record is None:
            line = self._live.pop(key, None)
            if line is None:
                return
            self._live_size -= len(line)
            self._records.pop(key, None)
            self._pending += self._line(key, None)
            self._unsynced.set()
        elif self._records.get(key) != record:
            line = self._line(key, record)
            self._live_size += len(line) - len(self._live.get(key, b""))
            self._live[key] = line
            self._records[key] = record
            self._append(line)

    def _line(self, key: RecordKey, record: FarewellRecord | None) -> bytes:
        text = _ENCODER.encode((self._account, *key, record))
        return b"%08x %b\n" % (zlib.crc32(text), text)

    def _append(self, line: bytes) -> None:
        """Write the lines that wait, and ``line``. What the disk refuses waits for the next one."""
        lines, self._pending = self._pending + line, b""
        if not lines:
            return
        try:
            # The lines after a broken one take its place.
            self._write(lines, self._size)
            self._size += len(lines)
            self._unsynced.set()
            if self._size > _COMPACT_FROM and self._size > 4 * self._live_size:
                self._rewrite()
        except OSError as error:
            _log.warning("the journal %s is not written: %s", self._path, error.strerror)
            # Without the nulls, the BYE of an ended call is refused with 481.
            short = len(lines) <= _COMPACT_FROM
            self._pending = lines if short else b"".join(self._live.values())

    def _write(self, text: bytes, at: int) -> None:
        """Write all of ``text``.

        Raises:
            OSError: the disk is full, for example.
        """
        if os.pwrite(self._file, text, at) < len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _empty(self) -> None:
        """Empty the file when no call is up: this is slow, so not at the end of each call."""
        if not self._live:
            self._pending = b""
            if self._size:
                os.ftruncate(self._file, 0)
                self._size = 0

    def _rewrite(self) -> None:
        """Keep the live calls only.

        A process that is killed between the two steps leaves the old file's tail behind the new
        lines: its first line is damaged, and the others lead to the same state once more.
        """
        text = b"".join(self._live.values())
        self._write(text, 0)
        os.ftruncate(self._file, len(text))
        self._size = len(text)
        self._pending = b""
        self._unsynced.set()

    async def run(self) -> None:
        """Sync what was written, and mark the file as used, until cancelled."""
        while True:
            with trio.move_on_after(_ALIVE_SECONDS if self._live else math.inf):
                await self._unsynced.wait()
                await trio.sleep(_SYNC_SECONDS)
            self._empty()
            self._append(b"")
            self._unsynced = trio.Event()
            await trio.to_thread.run_sync(self._sync)

    def _sync(self) -> bool:
        """Whether the disk has everything."""
        try:
            os.utime(self._file)
            os.fsync(self._file)
        except OSError as error:
            _log.warning("the journal %s is not synced: %s", self._path, error.strerror)
            return False
        return not self._pending

    # ------------------------------------------------------------------ reading

    def _read(self) -> dict[RecordKey, FarewellRecord]:
        """The calls that were up when the process before ended. Damaged lines are skipped."""
        status = os.fstat(self._file)
        text = os.pread(self._file, min(status.st_size, _LARGEST), 0)
        if not text:
            return {}
        found: dict[RecordKey, FarewellRecord] = {}
        skipped = 0
        for line in text.splitlines(keepends=True):
            try:
                key, record = self._parse(line)
            except (ValueError, RecursionError):
                skipped += 1
                continue
            found.pop(key, None)
            if record is not None:
                found[key] = record
                self._live[key] = line
            else:
                self._live.pop(key, None)
        if skipped:
            _log.warning("%d damaged lines of the journal %s are skipped", skipped, self._path)
        if found and time.time() - status.st_mtime > JOURNAL_LIFETIME:
            _log.warning("%d calls of a process that ended long ago are left alone", len(found))
            found = {}
        self._live = {key: line for key, line in self._live.items() if key in found}
        self._live_size = sum(map(len, self._live.values()))
        return found

    def _parse(self, line: bytes) -> tuple[RecordKey, FarewellRecord | None]:
        checksum, _, text = line.removesuffix(b"\n").partition(b" ")
        if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
            raise ValueError("damaged")
        account, call_id, tag, record = _DECODER.decode(text)
        key = (call_id, tag)
        if account != self._account:
            _log.info("a call of %s, which is not this phone's account, is skipped", account)
            return key, None
        if record is not None:
            _check(record)
        return key, record


def adopt(path: Path, others: Iterable[Path], account: str | None) -> None:
    """Move the calls in other journals, which no process has any more, to the journal at ``path``.

    Those that a process uses are left alone, and what cannot be read. The emptied files stay. If
    the disk is full, calls stay where they are.

    Raises:
        LocalProtocolError: as of :class:`Journal`, for ``path``.
    """
    with Journal(path, account) as heir:
        for other in others:
            try:
                with Journal(other, account) as orphan:
                    for key, record in orphan.left.items():
                        heir.write(key, record)
                    if heir._sync():
                        for key in orphan.left:
                            orphan.write(key, None)
            except LocalProtocolError as error:
                _log.info("%s", error)


def _check(record: FarewellRecord) -> None:
    """Check what the types of a record do not say.

    Raises:
        ValueError: it has no flow, or one that no socket takes.
    """
    if not record.flows:
        raise ValueError("no flow")
    for transport, (_, here), (host, there), _ in record.flows:
        if transport not in TRANSPORTS or numeric(host) is None:
            raise ValueError("a damaged flow")
        if not 0 <= here <= _LAST_PORT or not 0 < there <= _LAST_PORT:
            raise ValueError("there is no such port")
