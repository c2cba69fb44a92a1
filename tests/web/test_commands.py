"""Commands of a page that come in several parts."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from spech.web.audio import Tickets
from spech.web.commands import Commands
from spech.web.messages.command import Refused
from spech.web.messages.contacts import ImportContacts, ImportOutcome
from spech.web.people import open_people
from spech.web.roster import Roster
from spech.web.sessions import PageSession, Sessions
from spech.web.store import ADMINISTRATOR, Store
from spech.web.switchboard import open_switchboard
from spech.web.vault import Vault


@pytest.fixture
async def commands(tmp_path: Path) -> AsyncIterator[Commands]:
    store = Store(Vault(tmp_path))
    roster = Roster(store, Sessions(tmp_path))
    async with open_people(roster, partial(open_switchboard, store)) as people:
        switchboard = people.switchboard(ADMINISTRATOR)
        assert switchboard is not None
        yield Commands(people, switchboard, PageSession(ADMINISTRATOR, 0.0), Tickets())


async def import_part(commands: Commands, text: str, *, more: bool = False) -> ImportOutcome:
    part = ImportContacts(id=1, text=text, more=more)
    outcome = await commands.run(part, lambda step: None)
    assert isinstance(outcome, ImportOutcome)
    return outcome


async def test_a_file_of_contacts_comes_in_parts(commands: Commands) -> None:
    await import_part(commands, "Name,Number\nBo", more=True)
    await import_part(commands, "b,60", more=True)
    assert (await import_part(commands, "2\n")).added == 1
    with pytest.raises(Refused, match="no contacts"):
        await import_part(commands, "2\n")  # It belongs to no file any more.


async def test_the_parts_of_a_file_are_bounded_together(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spech.web.commands.LONGEST_FILE", 20)
    await import_part(commands, "x" * 20, more=True)
    with pytest.raises(Refused, match="too large"):
        await import_part(commands, "x", more=True)
    assert (await import_part(commands, "Name,Number\nBob,602\n"[:20])).added == 1


async def test_parts_without_text_take_no_memory(commands: Commands) -> None:
    await import_part(commands, "", more=True)
    tracemalloc.start()
    try:
        for _ in range(5000):
            await import_part(commands, "", more=True)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 20_000
