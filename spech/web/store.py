"""The settings that outlive the process, typed, kept in the vault as JSON."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from spech.errors import LocalProtocolError, VaultError
from spech.phone.account import parse_address
from spech.phone.numbering import NumberFormat, NumberRules
from spech.phone.reach import stun_server
from spech.sip.description.media_security import Policy
from spech.web.data_lock import data_lock
from spech.web.messages.call_settings import DIALLABLE, CallSettings
from spech.web.vault import KEY_BYTES, Vault

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
    and ``encryption`` is one of the policies of `spech.Account`. ``auth_user``, ``display_name``,
    ``proxy`` and ``stun`` are as there and in `spech.open_phone`, empty for none. ``country``,
    ``number_format`` and ``prefix`` are those of `spech.NumberRules`; without a country there are
    no rules. ``voicemail`` is the number of the mailbox, empty for what the server says.
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
    auth_user: str = ""
    display_name: str = ""
    proxy: str = ""
    stun: str = ""
    country: str = ""
    number_format: NumberFormat = "typed"
    prefix: str = ""
    voicemail: str = ""

    def __repr__(self) -> str:
        return f"StoredAccount({self.address!r}, password=…, codecs={self.codecs!r})"

    @property
    def address(self) -> str:
        """The SIP URI of the account (RFC 3261 19.1.1)."""
        host = f"[{self.server}]" if ":" in self.server else self.server
        port = "" if self.port is None else f":{self.port}"
        return f"sip:{quote(self.user, safe=_USER_UNRESERVED)}@{host}{port}"

    @property
    def proxy_uri(self) -> str | None:
        """The SIP URI of the outbound proxy, which may be entered without ``sip:``."""
        if not self.proxy or self.proxy.lower().startswith(("sip:", "sips:")):
            return self.proxy or None
        return f"sip:{self.proxy}"

    @property
    def stun_uri(self) -> str | None:
        """The URI of the STUN server, which may be entered without ``stun:``."""
        if not self.stun or self.stun.startswith("stun:"):
            return self.stun or None
        return f"stun:{self.stun}"

    @property
    def number_rules(self) -> NumberRules | None:
        """How numbers are dialed.

        Raises:
            LocalProtocolError: the rules are unusable.
        """
        if not self.country:
            return None
        return NumberRules(self.country, self.number_format, self.prefix)

    @property
    def registration_key(self) -> tuple[str, int | None, str]:
        """Server, port and user: no two accounts may have the same."""
        return self.server.lower(), self.port, self.user

    @property
    def password_key(self) -> tuple[str, str, str]:
        """For whom the password is: the stored one is used for the same server and user only."""
        return self.server, self.user, self.proxy

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
        return self._fault_of_extras()

    def _fault_of_extras(self) -> str | None:
        if len(self.auth_user) > 255 or not self.auth_user.isprintable():
            return "The authentication name is not usable: it is too long."
        if len(self.display_name) > 64 or not self.display_name.isprintable():
            return "The name that others see is not usable: it is too long."
        try:
            if self.proxy_uri is not None:
                parse_address(self.proxy_uri)
        except LocalProtocolError:
            return "The outbound proxy must be a host name or an address, with a port if needed."
        try:
            if self.stun_uri is not None:
                stun_server(self.stun_uri)
        except LocalProtocolError:
            return "The STUN server must be a host name or an address, with a port if needed."
        try:
            rules = self.number_rules
        except LocalProtocolError:
            return "The prefix must be digits, and needs numbers as they are dialed there."
        if self.voicemail and not DIALLABLE.fullmatch(self.voicemail):
            return "The number of the mailbox is not a number."
        if rules is None and self.prefix:
            return "A prefix needs a country."
        return None


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="version"):
    """What a vault holds. Its version grows when a field changes its meaning."""


class Person(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """Someone besides the administrator. ``password`` is a hash, ``data_key`` for the database."""

    id: str
    name: str
    password: str
    accounts: tuple[StoredAccount, ...] = ()
    data_key: str = ""
    calls: CallSettings = CallSettings()

    def __repr__(self) -> str:
        return f"Person({self.name!r}, password=…, accounts={self.accounts!r})"


class Settings(_Stored, frozen=True, tag=2, omit_defaults=True):
    """Everything the vault holds: the administrator's accounts, the first one first, the other
    people with theirs, and the key of each person's database, in hexadecimal digits.

    ``calls`` are the administrator's settings for calls.
    """

    accounts: tuple[StoredAccount, ...] = ()
    people: tuple[Person, ...] = ()
    data_key: str = ""
    calls: CallSettings = CallSettings()

    def __repr__(self) -> str:
        return f"Settings({self.accounts!r}, {self.people!r}, data_key=…)"

    def find_key(self, person: str) -> str:
        """The key of a person's database; empty if there is none yet, or no such person."""
        if person == ADMINISTRATOR:
            return self.data_key
        return next((each.data_key for each in self.people if each.id == person), "")

    def with_changes(self, person: str, **changes: Any) -> Settings:
        """The settings with other fields for the person with that id."""
        if person == ADMINISTRATOR:
            return msgspec.structs.replace(self, **changes)
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

        self.change(lambda settings: settings.with_changes(person, accounts=accounts))

    def load_call_settings(self, person: str) -> CallSettings:
        """The settings for calls of the person with that id.

        Raises:
            VaultError: as from :meth:`load`.
        """
        settings = self.load() or Settings()
        if person == ADMINISTRATOR:
            return settings.calls
        found = (each.calls for each in settings.people if each.id == person)
        return next(found, CallSettings())

    def save_call_settings(self, person: str, calls: CallSettings) -> None:
        """Store the settings for calls of the person with that id in place of what was there.

        Raises:
            VaultError: as from :meth:`change`.
        """
        self.change(lambda settings: settings.with_changes(person, calls=calls))

    def data_key(self, person: str) -> bytes:
        """The key of the database of the person with that id, 32 bytes; made when first asked for.

        It is not the vault's own key, so that a new one of the vault leaves databases as they are.

        Raises:
            VaultError: as from :meth:`change`.
        """

        def with_key(settings: Settings) -> Settings:
            if settings.find_key(person):
                return settings
            return settings.with_changes(person, data_key=secrets.token_bytes(KEY_BYTES).hex())

        settings = self.load() or Settings()
        if not settings.find_key(person):
            self.change(with_key)
            settings = self.load() or Settings()
        key = settings.find_key(person)
        if not key:
            raise VaultError("The person of the database was removed.")
        return bytes.fromhex(key)


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
