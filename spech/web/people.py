"""The people of a web phone."""

from __future__ import annotations

from functools import partial
from typing import Final

import trio

from spech.errors import SpechError
from spech.web.passwords import hash_password, password_matches
from spech.web.switchboard import Switchboard

#: The id and the name of the person who owns the phone.
ADMINISTRATOR: Final = "admin"
#: Characters that a password needs.
MIN_PASSWORD: Final = 10


class People:
    """Who may sign in, and whose calls are whose.

    Args:
        switchboard: the administrator's.
        password: the administrator's, None if there is none, so that only links sign in.
    """

    def __init__(self, switchboard: Switchboard, password: str | None) -> None:
        self._switchboard = switchboard
        self._password = None if password is None else hash_password(password)

    def switchboard(self, person: str) -> Switchboard:
        """The switchboard of the person with that id."""
        return self._switchboard

    async def check(self, name: str, password: str) -> str | None:
        """The id of the person with that name and password; None if there is none."""
        hashed = self._password if name == ADMINISTRATOR else None
        matches = partial(password_matches, password, hashed)
        return ADMINISTRATOR if await trio.to_thread.run_sync(matches) else None


def check_password(password: str | None) -> None:
    """Check the password that the operator has set.

    Raises:
        SpechError: it is too short.
    """
    if password is not None and len(password) < MIN_PASSWORD:
        raise SpechError(
            f"The password (SPECH_WEB_PASSWORD) needs at least {MIN_PASSWORD} characters."
        )
