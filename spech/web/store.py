"""The settings that outlive the process, typed, kept in the vault as JSON."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from spech.errors import VaultError
from spech.sip.description.media_security import Policy
from spech.web.data_lock import data_lock
from spech.web.vault import Vault

#: The id and the name of the person who owns the phone and adds others.
ADMINISTRATOR: Final = "admin"
#: What a page may choose to carry SIP over.
ACCOUNT_TRANSPORTS = ("udp", "tcp", "tls")

#: A host name, or an IPv4 or IPv6 address without brackets.
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})|(?=[^:]*:)[0-9A-Fa-f:.]+")
_USER_UNRESERVED = "-_.!~*'()&=+$,;?/"  # RFC 3261 25.1, mark and user-unreserved


class StoredAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One SIP account as it was entered in the page.

    ``id`` tells it from others, empty before it is stored. ``name`` is what its owner calls it,
    empty for nothing in particular. ``server`` is a host name or an address, ``port`` None means
    the transport's default, ``codecs`` are names of the codec registry, the preferred one first,
    and ``encryption`` is one of the policies of `spech.Account`.
    """

    id: str = ""
    name: str = ""
    server: str
    port: int | None
    transport: str
    user: str
    password: str
    codecs: tuple[str, ...]
    encryption: Policy = "off"

    def __repr__(self) -> str:
        return f"StoredAccount({self.address!r}, password=…, codecs={self.codecs!r})"

    @property
    def address(self) -> str:
        """The SIP URI of the account (RFC 3261 19.1.1)."""
        host = f"[{self.server}]" if ":" in self.server else self.server
        port = "" if self.port is None else f":{self.port}"
        return f"sip:{quote(self.user, safe=_USER_UNRESERVED)}@{host}{port}"

    @property
    def registration_key(self) -> tuple[str, int | None, str]:
        """Server, port and user: no two accounts may have the same."""
        return self.server.lower(), self.port, self.user

    def fault(self, known_codecs: frozenset[str]) -> str | None:
        """What is wrong with the settings, in a sentence for the person at the page, or None."""
        if len(self.name) > 64 or not self.name.isprintable():
            return "The name of the account is not usable: it is too long."
        if not _HOST.fullmatch(self.server):
            return "The server must be a host name or an IP address, without sip: and without port."
        if self.port is not None and not 1 <= self.port <= 65535:
            return "The port must lie between 1 and 65535."
        if self.transport not in ACCOUNT_TRANSPORTS:
            return f"The transport must be one of: {', '.join(ACCOUNT_TRANSPORTS)}."
        if not 1 <= len(self.user) <= 255 or not self.user.isprintable() or "@" in self.user:
            return "The user must be the name before the @ of the SIP address."
        if len(self.password) > 1024 or not self.password.isprintable():
            return "The password is not usable: it is too long or holds control characters."
        if not self.codecs:
            return "At least one codec must be chosen."
        if len(set(self.codecs)) != len(self.codecs):
            return "Each codec may be chosen once."
        for name in self.codecs:
            if name not in known_codecs:
                return f"The codec {name[:40]!r} is not available here."
        return None


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="version"):
    """What a vault holds. Its version grows when a field changes its meaning."""


class Person(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Someone besides the administrator. ``password`` is a hash."""

    id: str
    name: str
    password: str
    accounts: tuple[StoredAccount, ...] = ()

    def __repr__(self) -> str:
        return f"Person({self.name!r}, password=…, accounts={self.accounts!r})"


class Settings(_Stored, frozen=True, tag=2, omit_defaults=True):
    """Everything the vault holds: the administrator's accounts, the first one first, and the
    other people with theirs."""

    accounts: tuple[StoredAccount, ...] = ()
    people: tuple[Person, ...] = ()

    def with_changes(self, person: str, **changes: Any) -> Settings:
        """The settings with other fields for the person with that id."""
        people = tuple(
            msgspec.structs.replace(each, **changes) if each.id == person else each
            for each in self.people
        )
        return msgspec.structs.replace(self, people=people)


class _OneAccount(_Stored, frozen=True, tag=1):
    """What a vault held when there was one account; the next save writes it as `Settings`."""

    account: StoredAccount | None = None

    def settings(self) -> Settings:
        if self.account is None:
            return Settings()
        return Settings((msgspec.structs.replace(self.account, id="a1"),))


class Store:
    """Reads and writes `Settings` through the vault. Blocks on the disk, as the vault does."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self._changing = threading.Lock()

    def folder(self, person: str) -> Path:
        """Where the files of the person with that id are; the administrator's are at the top."""
        top = self.vault.folder
        return top if person == ADMINISTRATOR else top / "people" / person

    def make_folder(self, person: str) -> Path:
        """The same; the folder is made if it does not exist."""
        folder = self.folder(person)
        if person != ADMINISTRATOR:
            for each in (folder.parent, folder):
                each.mkdir(mode=0o700, exist_ok=True)
        return folder

    def load(self) -> Settings | None:
        """The stored settings, or None when nothing was stored yet.

        Raises:
            VaultError: the vault cannot be opened, or holds what this version cannot read.
        """
        content = self.vault.read()
        if content is None:
            return None
        try:
            stored = msgspec.json.decode(content, type=Settings | _OneAccount)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise VaultError(
                f"{self.vault.path} was written by another version of Spech. Nothing was changed. "
                "Use that version, or move the file away to start with empty settings."
            ) from error
        return stored.settings() if isinstance(stored, _OneAccount) else stored

    def change(self, changed: Callable[[Settings], Settings]) -> None:
        """Store what ``changed`` makes of the present settings. One change follows the other.

        Raises:
            VaultError: the present vault cannot be read by this version, or the disk refused.
        """
        with self._changing:
            self.vault.write(msgspec.json.encode(changed(self.load() or Settings())))

    def save(self, settings: Settings) -> None:
        """Store ``settings`` in place of what was there.

        Raises:
            VaultError: as from :meth:`change`.
        """
        self.change(lambda _: settings)

    def load_accounts(self, person: str) -> tuple[StoredAccount, ...] | None:
        """The accounts of the person with that id, or None when nothing was stored yet.

        Raises:
            VaultError: as from :meth:`load`.
        """
        settings = self.load()
        if settings is None or person == ADMINISTRATOR:
            return None if settings is None else settings.accounts
        return next((each.accounts for each in settings.people if each.id == person), ())

    def save_accounts(self, person: str, accounts: tuple[StoredAccount, ...]) -> None:
        """Store the accounts of the person with that id in place of what was there.

        Raises:
            VaultError: as from :meth:`change`.
        """

        def changed(settings: Settings) -> Settings:
            if person == ADMINISTRATOR:
                return msgspec.structs.replace(settings, accounts=accounts)
            return settings.with_changes(person, accounts=accounts)

        self.change(changed)


def load_accounts(folder: Path) -> list[tuple[str, StoredAccount]]:
    """Everyone's accounts with the person's name, in a data folder that no server uses.

    Raises:
        VaultError: there is no vault, or it cannot be opened.
        SpechError: a server uses the folder.
    """
    vault = Vault(folder)
    vault.require()  # Or the lock would create a folder that was mistyped.
    with data_lock(folder):
        settings = Store(vault).load() or Settings()
    return [
        *((ADMINISTRATOR, account) for account in settings.accounts),
        *((person.name, account) for person in settings.people for account in person.accounts),
    ]
