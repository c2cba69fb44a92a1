"""``spech user``: the people who share a web phone."""

from __future__ import annotations

from pathlib import Path

import click
import trio

from spech.cli.failure import reported, web_extra
from spech.cli.options import data_folder, data_option


@click.group(short_help="Add, list and remove the people of the web phone.")
def user() -> None:
    """The people who share the phone of `spech serve`, each with accounts and calls of their own.

    The server may run or not. The administrator, `admin`, is always there.
    """


@user.command("list", short_help="List the people.")
@data_option
def list_(data: Path | None) -> None:
    """List the names of everyone but the administrator."""
    with web_extra():
        from spech.web.admin import Known, ListPeople, ask_server
        from spech.web.roster import open_roster

    folder = data or data_folder()
    with reported():
        replies = ask_server(folder, ListPeople())
        if replies is None:
            with open_roster(folder) as roster:
                for person in trio.run(roster.people):
                    click.echo(person.name)
            return
        for reply in replies:
            assert isinstance(reply, Known)
            click.echo(reply.name)


@user.command(short_help="Add a person.")
@click.argument("name")
@data_option
def add(name: str, data: Path | None) -> None:
    """Add NAME and print the password, which is not shown again."""
    with web_extra():
        from spech.web.admin import AddPerson, NewPassword, ask_server
        from spech.web.roster import open_roster

    folder = data or data_folder()
    with reported():
        replies = ask_server(folder, AddPerson(name))
        if replies is None:
            with open_roster(folder) as roster:
                click.echo(trio.run(roster.add, name))
            return
        for reply in replies:
            assert isinstance(reply, NewPassword)
            click.echo(reply.password)


@user.command(short_help="Give a person a new password.")
@click.argument("name")
@data_option
def reset(name: str, data: Path | None) -> None:
    """Print a new password for NAME, who is signed out everywhere."""
    with web_extra():
        from spech.web.admin import NewPassword, ResetPerson, ask_server
        from spech.web.roster import open_roster

    folder = data or data_folder()
    with reported():
        replies = ask_server(folder, ResetPerson(name))
        if replies is None:
            with open_roster(folder) as roster:
                person, password = trio.run(roster.reset, name)
                trio.run(roster.sign_out, person)
                click.echo(password)
            return
        for reply in replies:
            assert isinstance(reply, NewPassword)
            click.echo(reply.password)


@user.command(short_help="Remove a person with accounts and recordings.")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
def remove(name: str, yes: bool, data: Path | None) -> None:
    """Remove NAME, end the calls, and delete the accounts and recordings."""
    with web_extra():
        from spech.web.admin import RemovePerson, ask_server
        from spech.web.roster import open_roster

    if not yes:
        click.confirm(f"Delete {name} with all accounts and recordings?", abort=True)
    folder = data or data_folder()
    with reported():
        replies = ask_server(folder, RemovePerson(name))
        if replies is None:
            with open_roster(folder) as roster:
                person = trio.run(roster.remove, name)
                trio.run(roster.sign_out, person)
                trio.run(roster.delete_files, person)
            return
        list(replies)
