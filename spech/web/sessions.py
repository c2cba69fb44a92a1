"""Sessions: which browsers have signed in, and as whom.

A session is a random token in a cookie. ``sessions.json`` holds the SHA-256 of each token, so that
sessions outlive the process and whoever reads the file cannot use them. It also holds the Argon2id
hash of the administrator's password, so that a new one is noticed at the start.

A link signs in once, within two minutes. Links are in memory only.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from spech.web.passwords import hash_password, password_matches
from spech.web.private_files import replace_private

_log: Final = logging.getLogger(__name__)

#: How long a browser stays signed in, and how long a link can be used, in seconds.
SESSION_SECONDS: Final = 90 * 86400
LINK_SECONDS: Final = 120.0
#: Sessions and links of a person; a further one replaces the oldest.
SESSIONS_EACH: Final = 20
LINKS_EACH: Final = 4

_TOKEN_BYTES: Final = 32


class PageSession:
    """A browser that has signed in.

    Attributes:
        person: the id of the person.
        ends: when it ends, in seconds since 1970.
    """

    def __init__(self, person: str, ends: float) -> None:
        self.person = person
        self.ends = ends
        self._closed = False
        self._connections: set[trio.CancelScope] = set()

    @contextmanager
    def connection(self) -> Iterator[trio.CancelScope]:
        """The block is cancelled when the person signs out, and when the session ends."""
        deadline = trio.current_time() + self.ends - time.time()
        with trio.CancelScope(deadline=deadline) as scope:
            if self._closed:
                scope.cancel()
            self._connections.add(scope)
            try:
                yield scope
            finally:
                self._connections.discard(scope)

    def close(self) -> None:
        """Cancel everything that runs for this session, now and later."""
        self._closed = True
        for scope in self._connections:
            scope.cancel()


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A session in the file; ``token`` is the SHA-256 of its token."""

    token: str
    person: str
    ends: float


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is in the file; ``password`` is a hash, None if only links sign the administrator in."""

    password: str | None
    sessions: list[_Kept]


class Sessions:
    """The sessions and links of all people of a data folder.

    Args:
        folder: where ``sessions.json`` is kept. It blocks on the disk while it is read here.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sessions.json"
        self._sessions: dict[str, PageSession] = {}
        self._links: dict[str, tuple[str, float]] = {}
        self._password: str | None = None
        self._saving = trio.Lock()
        self._load()

    async def set_password(self, administrator: str, password: str | None) -> None:
        """Tell the password of the administrator, whose id is given; None if only links sign in.

        If it is not that of the last start, the administrator's sessions end.
        """

        def hashed() -> str | None:
            if password is None:
                return None
            known = password_matches(password, self._password)
            return self._password if known else hash_password(password)

        before, self._password = self._password, await trio.to_thread.run_sync(hashed)
        if self._password != before:
            await self.end_all(administrator)

    def find(self, token: str) -> PageSession | None:
        """The session with that token, None if there is none or it has ended."""
        session = self._sessions.get(_digest(token))
        return None if session is None or session.ends <= time.time() else session

    async def begin(self, person: str) -> str:
        """Begin a session and return its token."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._sessions[_digest(token)] = PageSession(person, time.time() + SESSION_SECONDS)
        self._close([key for key, each in self._of(person)][:-SESSIONS_EACH])
        await self._save()
        return token

    async def end(self, session: PageSession) -> None:
        """End a session: what it has open is cancelled."""
        self._close([key for key, each in self._of(session.person) if each is session])
        await self._save()

    async def end_all(self, person: str, *, but: PageSession | None = None) -> None:
        """End all sessions of a person but one, and void the person's links."""
        self._close([key for key, each in self._of(person) if each is not but])
        for token in self._links_of(person):
            del self._links[token]
        await self._save()

    def link(self, person: str) -> str:
        """The token of a new link, with which the person signs in once."""
        for token in self._links_of(person)[: 1 - LINKS_EACH]:
            del self._links[token]
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._links[token] = (person, trio.current_time() + LINK_SECONDS)
        return token

    def redeem(self, link: str) -> str | None:
        """The person whose link has that token, once; None if it is unknown, used or too old."""
        person, until = self._links.pop(link, ("", 0.0))
        return person if trio.current_time() < until else None

    def _of(self, person: str) -> list[tuple[str, PageSession]]:
        return [(key, each) for key, each in self._sessions.items() if each.person == person]

    def _links_of(self, person: str) -> list[str]:
        return [token for token, (owner, _) in self._links.items() if owner == person]

    def _close(self, keys: list[str]) -> None:
        for key in keys:
            self._sessions.pop(key).close()

    def _load(self) -> None:
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_File)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.warning("everyone has to sign in again: %s cannot be read: %s", self._path, error)
            return
        self._sessions = {each.token: PageSession(each.person, each.ends) for each in kept.sessions}
        self._password = kept.password

    async def _save(self) -> None:
        # Shielded: what was revoked must not come back at the next start.
        with trio.CancelScope(shield=True):
            async with self._saving:
                now = time.time()
                kept = [
                    _Kept(token, each.person, each.ends)
                    for token, each in self._sessions.items()
                    if each.ends > now
                ]
                content = msgspec.json.encode(_File(self._password, kept))
                try:
                    await trio.to_thread.run_sync(replace_private, self._path, content)
                except OSError as error:
                    _log.error("%s cannot be written: %s", self._path, error.strerror)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
