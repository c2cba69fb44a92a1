"""The history of a person's calls, written while they run, so that it does not depend on a page.

A call is written when it begins, when it is answered, and when it ends. What a process that was
killed has left as running, the next one tells as lost.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Final, TypeVar

import msgspec
import trio

from spech.web.appearance import Appearance
from spech.web.database import Database, DatabaseFault, Tables, refusing
from spech.web.messages.calls import TimelineOutcome
from spech.web.messages.command import Refused
from spech.web.messages.history import CallEntry, Fate, HistoryOutcome, HistoryState
from spech.web.numbers import holds_number, number_key

T = TypeVar("T")

#: Calls that are kept; older ones are forgotten.
MOST_CALLS: Final = 20_000
#: Steps of a story that are kept.
_MOST_STEPS: Final = 200
#: Between two looks for calls that are too old, seconds.
_PRUNING: Final = 3600.0
_DAY: Final = 86_400.0
_KEEP_DAYS: Final = "keep_days"
_LOST: Final = "The call was lost when Spech was restarted."

#: What became of a call that we placed and that was not answered, by its final status.
_FATES: Final[dict[int | None, Fate]] = {
    408: "unanswered",
    480: "unanswered",
    486: "busy",
    487: "unanswered",
    600: "busy",
    603: "declined",
}
_DECLINED: Final = 603
_FORWARDED: Final = 302

_refusing: Final = partial(refusing, "no_history", "The history cannot be used.")

_log: Final = logging.getLogger(__name__)


class History:
    """The calls of a person. `load` it, `run` it, and `finish` it when all calls are over.

    Args:
        database: where it is kept.
        notify: called when something has changed that a page shows.
    """

    def __init__(self, database: Database, notify: Callable[[], None]) -> None:
        self._database = database
        self._notify = notify
        # So that pages notice a restart, whatever happened meanwhile.
        self._state = HistoryState(0, int(time.time() * 1000), None)
        #: What is to be written: the latest of each call, and how it went.
        self._unwritten: dict[str, tuple[CallEntry, TimelineOutcome | None]] = {}
        self._work = trio.Event()

    @property
    def state(self) -> HistoryState:
        """The history's part of the state feed."""
        return self._state

    # ------------------------------ writing

    def note(self, appearance: Appearance, line: str) -> None:
        """Note what is new about a call; ``line`` is the address of its account."""
        before = appearance.entry
        if before is not None and before.ended is not None:
            return
        entry = appearance.entry = _describe(appearance, line)
        if entry != before:
            story = None if entry.ended is None else _shortened(appearance)
            self._unwritten[entry.id] = entry, story
            self._work.set()

    async def run(self) -> None:
        """Write what is noted, and forget calls that are too old, until cancelled."""
        while True:
            with trio.move_on_after(_PRUNING):
                await self._work.wait()
            self._work = trio.Event()
            await self.write()

    async def write(self) -> None:
        """Write what is noted. What the disk refuses is logged and lost."""
        unwritten, self._unwritten = self._unwritten, {}
        if not unwritten and not self._database.exists:
            return
        listed = not unwritten or any(entry.ended is not None for entry, _ in unwritten.values())
        try:
            with _logging(len(unwritten)):
                await self._change(lambda tables: _write(tables, unwritten.values()), listed=listed)
        except trio.Cancelled:
            self._unwritten = unwritten | self._unwritten  # `finish` writes it.
            raise

    def finish(self) -> None:
        """Write what the last calls have left, and close the database. Blocks for a moment."""
        if self._unwritten:
            with _logging(len(self._unwritten)):
                self._database.finish(lambda tables: _write(tables, self._unwritten.values()))
        self._database.close()

    async def load(self) -> None:
        """Take over what the last process has left."""
        if self._database.exists:
            try:
                await self._change(_take_over)
            except DatabaseFault as error:
                _log.error("the history cannot be read: %s", error)

    # ------------------------------ commands

    async def find(
        self,
        search: str,
        *,
        missed: bool,
        before: str | None,
        limit: int,
        also: Container[str] = frozenset(),
    ) -> HistoryOutcome:
        """Calls that have ended, the newest first.

        Args:
            search: part of the number, the name, or the account.
            missed: only those that came in and that nobody answered.
            before: only those older than the call of that id.
            limit: how many at most.
            also: keys of numbers (`number_key`) whose calls are found as well.

        Raises:
            Refused: ``no_history``.
        """

        def find(tables: Tables) -> HistoryOutcome:
            entries = (
                entry
                for entry in _entries(tables, before)
                if (_matches(entry, search) or number_key(entry.remote) in also)
                and (not missed or entry.fate == "missed")
            )
            found = tuple(islice(entries, limit + 1))
            return HistoryOutcome(found[:limit], len(found) > limit)

        return await self._ask(find, HistoryOutcome((), False))

    async def all(self) -> list[CallEntry]:
        """All calls that have ended, the newest first.

        Raises:
            Refused: ``no_history``.
        """
        return await self._ask(lambda tables: list(_entries(tables, None)), [])

    async def tell(self, entry: str) -> TimelineOutcome:
        """How a call went.

        Raises:
            Refused: ``no_such_entry``, ``no_history``.
        """
        story = await self._ask(lambda tables: _tell(tables, entry), None)
        if story is None:
            raise Refused("no_such_entry", "This call is no longer in the history.")
        return story

    async def see(self) -> None:
        """A page has shown the missed calls.

        Raises:
            Refused: ``no_history``.
        """
        if self._state.missed:
            await self._execute("UPDATE calls SET unseen = 0 WHERE unseen")

    async def forget(self, entry: str) -> None:
        """Delete a call that has ended.

        Raises:
            Refused: ``no_history``.
        """
        await self._execute("DELETE FROM calls WHERE NOT running AND id = ?", entry)

    async def clear(self) -> None:
        """Delete all calls that have ended.

        Raises:
            Refused: ``no_history``.
        """
        await self._execute("DELETE FROM calls WHERE NOT running")

    async def keep(self, days: int | None) -> None:
        """Forget calls that are older than ``days``, now and from now on; None keeps them.

        Raises:
            Refused: ``no_history``.
        """
        with _refusing():
            await self._change(lambda tables: tables.set(_KEEP_DAYS, days))

    async def _execute(self, statement: str, *values: str) -> None:
        def execute(tables: Tables) -> None:
            tables.sql.execute(statement, values)

        if self._database.exists:
            with _refusing():
                await self._change(execute)

    async def _ask(self, work: Callable[[Tables], T], nothing: T) -> T:
        """The result of ``work``; ``nothing`` if there is no database yet."""
        with _refusing():
            return await self._database.run(work) if self._database.exists else nothing

    async def _change(self, work: Callable[[Tables], None], *, listed: bool = True) -> None:
        """Do ``work``, which has changed what pages list if ``listed`` is true."""

        def change(tables: Tables) -> tuple[int, int | None]:
            work(tables)
            return _prune(tables)

        missed, keep_days = await self._database.run(change)
        self._state = HistoryState(missed, self._state.revision + listed, keep_days)
        self._notify()


@contextmanager
def _logging(count: int) -> Iterator[None]:
    try:
        yield
    except DatabaseFault as error:
        _log.error("%d calls are missing in the history: %s", count, error)


# ------------------------------ what is known of a call


def _describe(appearance: Appearance, line: str) -> CallEntry:
    """The entry of a call as it is now; what it was before is ``appearance.entry``."""
    before = appearance.entry
    now = trio.current_time()
    began = time.time() - now + appearance.began_at if before is None else before.began

    def wall(at: float) -> float:
        return round(began + at - appearance.began_at, 3)

    call, ended = appearance.call, appearance.ended
    answered = None if before is None else before.answered
    if answered is None and appearance.was_answered and call is not None:
        answered = wall(now - call.duration)
    fate: Fate = "running" if ended is None else _fate(appearance)
    return CallEntry(
        id=secrets.token_hex(8) if before is None else before.id,
        account=appearance.account,
        line=line if before is None else before.line,
        direction=appearance.direction,
        remote=appearance.remote,
        name=appearance.display_name,
        began=round(began, 3),
        answered=answered,
        ended=None if appearance.ended_at is None else wall(appearance.ended_at),
        fate=fate,
        status=None if ended is None else ended.status,
        text="" if ended is None else ended.text,
        codec=None if call is None or answered is None else call.codec,
        mos=None if call is None or ended is None else _rounded(call.statistics.mos_mean),
        recordings=tuple(appearance.recordings),
    )


def _fate(appearance: Appearance) -> Fate:
    """What became of a call that is over."""
    ended = appearance.ended
    assert ended is not None
    if appearance.was_answered:
        return "answered"
    if appearance.direction == "incoming":
        if ended.status == _FORWARDED:
            return "forwarded"
        declined = ended.by == "local" and ended.status == _DECLINED
        return "elsewhere" if ended.elsewhere else "declined" if declined else "missed"
    if ended.by == "local":
        return "cancelled" if appearance.hung_up else "failed"
    return _FATES.get(ended.status, "failed")


def _shortened(appearance: Appearance) -> TimelineOutcome | None:
    """How a call went, without the text of its messages; None if nothing was sent or received."""
    steps = appearance.story()[-_MOST_STEPS:]
    if not steps:
        return None
    return TimelineOutcome(tuple(msgspec.structs.replace(step, message="") for step in steps))


def _rounded(mos: float | None) -> float | None:
    return None if mos is None else round(mos, 2)


def _matches(entry: CallEntry, search: str) -> bool:
    """Whether the search is in the number, the name or the account, however it is written."""
    text = f"{entry.remote}\n{entry.name or ''}\n{entry.line}".casefold()
    return search.strip().casefold() in text or holds_number(search, entry.remote)


# ------------------------------ in the database


def _write(tables: Tables, unwritten: Iterable[tuple[CallEntry, TimelineOutcome | None]]) -> None:
    for entry, story in unwritten:
        tables.sql.execute(
            "INSERT INTO calls (id, began, running, unseen, entry, story) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET running = excluded.running, unseen = excluded.unseen,"
            " entry = excluded.entry, story = excluded.story",
            (
                entry.id,
                entry.began,
                entry.fate == "running",
                entry.fate == "missed",
                tables.seal(f"call {entry.id}", entry),
                None if story is None else tables.seal(f"story {entry.id}", story),
            ),
        )


def _take_over(tables: Tables) -> None:
    """Calls that were running when the last process ended are lost."""
    running = tables.sql.execute("SELECT id, entry FROM calls WHERE running").fetchall()
    for id, sealed in running:
        entry = tables.unseal_row(f"call {id}", sealed, CallEntry)
        if entry is None:
            tables.sql.execute("UPDATE calls SET running = 0 WHERE id = ?", (id,))
            continue
        missed = entry.direction == "incoming" and entry.answered is None
        lost = msgspec.structs.replace(entry, fate="lost", text=_LOST)
        tables.sql.execute(
            "UPDATE calls SET running = 0, unseen = ?, entry = ? WHERE id = ?",
            (missed, tables.seal(f"call {id}", lost), id),
        )


def _entries(tables: Tables, before: str | None) -> Iterator[CallEntry]:
    """The calls that have ended, the newest first, from the one with the id ``before`` on."""
    statement = "SELECT id, unseen, story IS NOT NULL, entry FROM calls WHERE NOT running"
    if before is not None:
        statement += " AND number < (SELECT number FROM calls WHERE id = ?)"
    values = () if before is None else (before,)
    for id, unseen, told, sealed in tables.sql.execute(f"{statement} ORDER BY number DESC", values):
        entry = tables.unseal_row(f"call {id}", sealed, CallEntry)
        if entry is not None:
            yield msgspec.structs.replace(entry, unseen=bool(unseen), told=bool(told))


def _tell(tables: Tables, entry: str) -> TimelineOutcome | None:
    row = tables.sql.execute("SELECT story FROM calls WHERE id = ?", (entry,)).fetchone()
    if row is None or row[0] is None:
        return None
    return tables.unseal(f"story {entry}", row[0], TimelineOutcome)


def _prune(tables: Tables) -> tuple[int, int | None]:
    """Forget calls that are too old or too many; return how many missed ones are unseen, and the
    age in days at which calls are forgotten."""
    keep_days = tables.setting(_KEEP_DAYS)
    assert keep_days is None or isinstance(keep_days, int)
    if keep_days is not None:
        oldest = time.time() - keep_days * _DAY
        tables.sql.execute("DELETE FROM calls WHERE NOT running AND began < ?", (oldest,))
    tables.sql.execute(
        "DELETE FROM calls WHERE NOT running AND number <= "
        "(SELECT number FROM calls ORDER BY number DESC LIMIT 1 OFFSET ?)",
        (MOST_CALLS,),
    )
    (missed,) = tables.sql.execute("SELECT count(*) FROM calls WHERE unseen").fetchone()
    return missed, keep_days
