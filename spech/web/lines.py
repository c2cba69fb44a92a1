"""The lines side by side: one for each account, independent of the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import trio

from spech.web.calls import CallList
from spech.web.chats import Chats
from spech.web.desk import Desk
from spech.web.line import Line, PhoneSettings
from spech.web.messages.command import Refused
from spech.web.store import StoredAccount


class Lines:
    """The lines of all accounts, in the order of the accounts, each run in a task of its own.

    Args:
        calls: where their calls appear.
        desk: has the rules for calls.
        chats: keep their text messages.
        notify: called at each change that a page shows.
        settings: how the phones are opened; one takes the port of ``listen``, the others any.
    """

    def __init__(
        self,
        calls: CallList,
        desk: Desk,
        chats: Chats,
        notify: Callable[[], None],
        settings: PhoneSettings,
    ) -> None:
        self._calls = calls
        self._desk = desk
        self._chats = chats
        self._notify = notify
        self._settings = settings
        self._lines: dict[str, Line] = {}
        #: The line that has the port of ``listen``, until it is closed.
        self._first: Line | None = None
        self._begin, self._begun = trio.open_memory_channel[tuple[Line, Line | None]](math.inf)

    def __iter__(self) -> Iterator[Line]:
        return iter(self._lines.values())

    def get(self, account: str) -> Line | None:
        """The line of the account with that id."""
        return self._lines.get(account)

    def choose(self, account: str | None) -> Line:
        """The line of the account with that id, of the first one for None.

        Raises:
            Refused: ``no_account``, ``no_such_account``.
        """
        if not self._lines:
            raise Refused("no_account", "No SIP account is set up.", "Open Settings and enter one.")
        line = next(iter(self)) if account is None else self.get(account)
        if line is None:
            raise no_such_account()
        return line

    def set_accounts(self, accounts: Sequence[StoredAccount]) -> None:
        """Have a line for each of ``accounts``: those of others close, one that changed is new."""
        before = self._lines
        self._lines = {}
        for account in accounts:
            old = before.pop(account.id, None)
            if old is not None and old.account == account:
                self._lines[account.id] = old
                continue
            self._lines[account.id] = line = Line(
                account, self._calls, self._desk, self._chats, self._notify
            )
            self._begin.send_nowait((line, old))
            if old is not None:
                old.close()
        for line in before.values():
            line.close()
        self._notify()

    def set_rules(self) -> None:
        """Have all phones go by the present rules for calls."""
        rules = self._desk.rules
        for line in self:
            if line.phone is not None and line.phone.rules != rules:
                line.phone.rules = rules

    async def run(self) -> None:
        """Run all lines until cancelled. An error of one line does not affect the others."""
        async with trio.open_nursery() as nursery:
            async for line, old in self._begun:
                if self._first in (None, old):
                    self._first = line
                nursery.start_soon(self._run, line, old)

    async def _run(self, line: Line, old: Line | None) -> None:
        if old is not None:
            # Its un-REGISTER would remove the registration of the new line.
            await old.closed.wait()
        settings = self._settings
        if self._first is not line:
            settings = replace(settings, listen=(settings.listen[0], 0))
        try:
            await line.run(settings)
        finally:
            if self._first is line:
                self._first = None


def no_such_account() -> Refused:
    """The answer to an id that names no account."""
    return Refused("no_such_account", "This account no longer exists.", "It was removed already.")
