"""The settings that outlive the process, typed, kept in the vault as JSON."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import msgspec

from spech.errors import VaultError
from spech.sip.description.media_security import Policy
from spech.web.data_lock import data_lock
from spech.web.vault import Vault

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


class Settings(_Stored, frozen=True, tag=2):
    """Everything the vault holds: the accounts, the first one first."""

    accounts: tuple[StoredAccount, ...] = ()


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

    def save(self, settings: Settings) -> None:
        """Store ``settings`` in place of what was there.

        Raises:
            VaultError: the present vault cannot be read by this version, or the disk refused.
        """
        self.load()
        self.vault.write(msgspec.json.encode(settings))


def load_accounts(folder: Path) -> tuple[StoredAccount, ...]:
    """The accounts in a data folder that no server uses.

    Raises:
        VaultError: there is no vault, or it cannot be opened.
        SpechError: a server uses the folder.
    """
    vault = Vault(folder)
    vault.require()  # Or the lock would create a folder that was mistyped.
    with data_lock(folder):
        settings = Store(vault).load()
    return settings.accounts if settings else ()
