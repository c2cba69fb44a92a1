"""``spech vault``: the saved accounts, the key that seals them, and backups of both."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

from spech.cli.failure import reported, web_extra
from spech.cli.options import data_folder, data_option
from spech.cli.output import Output, json_option
from spech.cli.trace import write_private

#: Bytes of a backup at most: a vault of 1 MiB, its key, and what tar adds.
_LARGEST: Final = 2 << 20


@click.group(short_help="List, back up and restore the saved accounts.")
def vault() -> None:
    """The vault with the accounts of `spech serve`.

    Environment: SPECH_VAULT_KEY_HEX is the vault's key, which is otherwise read from vault.key
    beside the vault.
    """


@vault.command("list", short_help="List the accounts.")
@data_option
@json_option
def list_(data: Path | None, output: Output) -> None:
    """List the accounts without their passwords; while the server runs, with their state."""
    with web_extra():
        from spech.web.admin import ListAccounts, Listed, ask_server
        from spech.web.store import load_accounts

    folder = data or data_folder()
    with reported():
        listed = ask_server(folder, ListAccounts())
        if listed is None:
            for person, account in load_accounts(folder):
                _print(output, person, account.address, account.transport)
            return
        for reply in listed:
            assert isinstance(reply, Listed)
            reason = reply.reason if reply.state == "failed" else ""
            _print(output, reply.person, reply.address, reply.transport, reply.state, reason)


def _print(
    output: Output,
    person: str,
    address: str,
    transport: str,
    state: str | None = None,
    reason: str = "",
) -> None:
    """Print an account; its state is None where no server runs."""
    why = f" ({reason})" if reason else ""
    shown = "" if state is None else f"  {state}{why}"
    whose = "" if person == "admin" else f"  ({person})"
    output.result(
        f"{address}  {transport}{shown}{whose}",
        address=address,
        transport=transport,
        state=state,
        reason=reason,
        person=person,
    )


@vault.command(short_help="Change the key.")
@data_option
def rekey(data: Path | None) -> None:
    """Seal the vault with a new key, which is stored in vault.key. The server must be stopped."""
    with web_extra():
        from spech.web.data_lock import data_lock
        from spech.web.vault import Vault

    folder = data or data_folder()
    with reported():
        found = Vault(folder)
        found.require()  # Or the lock would create a folder that was mistyped.
        with data_lock(folder):
            found.change_key()
    click.echo(f"The new key is in {folder / 'vault.key'}.")
    _remind_of_environment()


@vault.command(short_help="Write the vault and its key to a file.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@data_option
def backup(file: Path, data: Path | None) -> None:
    """Write the vault and its key to FILE, a tar archive that only its owner can read.

    The server may run. Whoever has FILE has the passwords.
    """
    with web_extra():
        from spech.web.vault import Vault

    with reported():
        write_private(file, Vault(data or data_folder()).backup())


@vault.command(short_help="Restore the vault and its key from a file.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace a vault that is there.")
@data_option
def restore(file: Path, force: bool, data: Path | None) -> None:
    """Restore the vault and its key from FILE, a backup. The server must be stopped."""
    with web_extra():
        from spech.web.data_lock import data_lock
        from spech.web.vault import Vault

    folder = data or data_folder()
    with reported(), data_lock(folder):
        found = Vault(folder)
        if found.path.exists() and not force:
            raise click.ClickException(f"{found.path} exists. Replace it with --force.")
        with file.open("rb") as archive:
            found.restore(archive.read(_LARGEST))
    _remind_of_environment()


def _remind_of_environment() -> None:
    from spech.web.vault import KEY_VARIABLE

    if KEY_VARIABLE in os.environ:
        click.echo(
            f"{KEY_VARIABLE} is set and takes precedence over vault.key: remove it from the "
            "server's environment, or set it to the digits in vault.key."
        )
