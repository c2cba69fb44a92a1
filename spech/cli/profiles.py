"""The configuration file: accounts by name, and where their passwords come from.

account = "work"

[accounts.work]
address = "sip:alice@pbx.example.org"
password-command = "secret-tool lookup sip alice@pbx.example.org"
codecs = ["G722", "PCMA"]
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from spech.errors import LocalProtocolError
from spech.phone.account import Account
from spech.sip.description.media_security import Policy
from spech.sip.transaction.flow import TransportName
from spech.sip.transport.tls import TlsSettings

#: The variable with the password of an account whose profile names no other source.
PASSWORD_VARIABLE: Final = "SPECH_SIP_PASSWORD"


@dataclass(frozen=True)
class Profile:
    """An account of the configuration file.

    Attributes:
        account: the account, with its password.
        options: values for options of a command that were not given, by parameter.
        exposed: the file with the password, if other users of this machine can read it.
    """

    account: Account
    options: Mapping[str, Any]
    exposed: Path | None


class _Table(msgspec.Struct, forbid_unknown_fields=True, rename="kebab", kw_only=True):
    """What a table of an account can hold."""

    address: str
    password: str | None = None
    password_env: str | None = None
    password_file: str | None = None
    password_command: str | None = None
    auth_user: str | None = None
    display_name: str | None = None
    transport: TransportName | None = None
    proxy: str | None = None
    ca: str | None = None
    encryption: Policy | None = None
    codecs: list[str] | None = None
    stun: str | None = None
    ice: bool | None = None


class _Configuration(msgspec.Struct, forbid_unknown_fields=True):
    account: str | None = None
    #: Tables are checked when they are used: a mistake in one concerns no other.
    accounts: dict[str, dict[str, Any]] = {}


def config_file() -> Path:
    """The configuration file (XDG base directories)."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "spech" / "config.toml"


def default_account() -> str | None:
    """The account for commands that are given none: a name or an address; None without one.

    Raises:
        LocalProtocolError: the file cannot be read.
    """
    return _read().account


def profile_names() -> list[str]:
    """The names of the accounts.

    Raises:
        LocalProtocolError: the file cannot be read.
    """
    return sorted(_read().accounts)


def find_profile(name: str) -> Profile:
    """The account with this name, with its password.

    Raises:
        LocalProtocolError: there is none, its table has a mistake, or its password is not found.
    """
    known = _read().accounts
    where = f"{config_file()}, [accounts.{name}]"
    if name not in known:
        listed = f"; it has {', '.join(sorted(known))}" if known else ""
        raise LocalProtocolError(
            f"{name!r} is neither a SIP address (sip:user@host) nor an account in "
            f"{config_file()}{listed}"
        )
    try:
        table = msgspec.convert(known[name], _Table)
        password, exposed = _password(table)
        account = Account(
            table.address,
            password=password,
            auth_user=table.auth_user,
            display_name=table.display_name,
            transport=table.transport,
            proxy=table.proxy,
            tls=TlsSettings(ca_file=None if table.ca is None else _path(table.ca)),
            encryption=table.encryption or "off",
            ice=table.ice,
        )
    except (msgspec.ValidationError, LocalProtocolError) as error:
        raise LocalProtocolError(f"{where}: {error}") from error
    options = {
        "codec_names": table.codecs,
        "encryption": table.encryption,
        "stun": table.stun,
        "ice": table.ice,
    }
    return Profile(account, {key: v for key, v in options.items() if v is not None}, exposed)


def _read() -> _Configuration:
    path = config_file()
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), _Configuration)
    except FileNotFoundError:
        return _Configuration()
    except OSError as error:
        raise LocalProtocolError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # Includes msgspec.ValidationError.
        raise LocalProtocolError(f"{path}: {error}") from error


def _path(text: str) -> Path:
    """A path of the file, relative to its folder."""
    return config_file().parent / Path(text).expanduser()


def _password(table: _Table) -> tuple[str | None, Path | None]:
    """The password from its only source, and the file that it was read from if others can read it.

    Raises:
        LocalProtocolError: there are several sources, or the one has no password.
    """
    sources = ("password", "password_env", "password_file", "password_command")
    given = [name for name in sources if getattr(table, name) is not None]
    if len(given) > 1:
        names = " and ".join(name.replace("_", "-") for name in given)
        raise LocalProtocolError(f"{names} exclude each other")
    if table.password is not None:
        return table.password, _exposed(config_file())
    if table.password_file is not None:
        path = _path(table.password_file)
        try:
            return _first_line(path.read_text(), "password-file"), _exposed(path)
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise LocalProtocolError(f"password-file {path} cannot be read: {why}") from error
    if table.password_command is not None:
        return _ask(table.password_command), None
    variable = table.password_env or PASSWORD_VARIABLE
    found = os.environ.get(variable)
    if found is None and table.password_env is not None:
        raise LocalProtocolError(f"the variable {variable} of password-env is not set")
    return found, None


def _ask(command: str) -> str:
    """The password that a program prints. It may ask for a passphrase at the terminal."""
    try:
        words = shlex.split(command)
        ended = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    except (OSError, ValueError, IndexError, subprocess.CalledProcessError) as error:
        raise LocalProtocolError(f"password-command failed: {error}") from error
    return _first_line(ended.stdout, "password-command")


def _first_line(text: str, source: str) -> str:
    line = text.partition("\n")[0].rstrip("\r")
    if not line:
        raise LocalProtocolError(f"{source} has no password in its first line")
    return line


def _exposed(path: Path) -> Path | None:
    """The path, if other users of this machine can read the file."""
    return path if path.stat().st_mode & 0o077 else None
