"""``spech user``: the people who share a web phone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import trio

from spech.cli.failure import reported, web_extra
from spech.cli.options import data_folder, data_option
from spech.cli.output import Output, json_option

if TYPE_CHECKING:
    from spech.web.admin import AdminAnswer, AdminRequest
    from spech.web.roster import Roster


@click.group(short_help="Add, list and remove the people of the web phone.")
def user() -> None:
    """The people who share the phone of `spech serve`, each with accounts and calls of their own.

    The server may run or not. The administrator, `admin`, is always there.
    """


@user.command("list", short_help="List the people.")
@data_option
@json_option
def list_(data: Path | None, output: Output) -> None:
    """List the names of everyone but the administrator."""
    with web_extra():
        from spech.web.admin import Known, ListPeople

    async def known(roster: Roster) -> Sequence[AdminAnswer]:
        return [Known(person.name) for person in await roster.people()]

    for reply in _carried_out(data, ListPeople(), known):
        assert isinstance(reply, Known)
        output.result(reply.name, name=reply.name)


@user.command(short_help="Add a person.")
@click.argument("name")
@data_option
@json_option
def add(name: str, data: Path | None, output: Output) -> None:
    """Add NAME and print the password, which is not shown again."""
    with web_extra():
        from spech.web.admin import AddPerson, NewPassword

    async def added(roster: Roster) -> Sequence[AdminAnswer]:
        return [NewPassword(await roster.add(name))]

    _print_password(output, name, _carried_out(data, AddPerson(name), added))


@user.command(short_help="Give a person a new password.")
@click.argument("name")
@data_option
@json_option
def reset(name: str, data: Path | None, output: Output) -> None:
    """Print a new password for NAME, who is signed out everywhere."""
    with web_extra():
        from spech.web.admin import NewPassword, ResetPerson

    async def renewed(roster: Roster) -> Sequence[AdminAnswer]:
        person, password = await roster.reset(name)
        await roster.sign_out(person)
        return [NewPassword(password)]

    _print_password(output, name, _carried_out(data, ResetPerson(name), renewed))


@user.command(short_help="Remove a person with accounts and recordings.")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
def remove(name: str, yes: bool, data: Path | None) -> None:
    """Remove NAME, end the calls, and delete the accounts and recordings."""
    with web_extra():
        from spech.web.admin import RemovePerson

    async def removed(roster: Roster) -> Sequence[AdminAnswer]:
        person = await roster.remove(name)
        await roster.sign_out(person)
        await roster.delete_files(person)
        return []

    if not yes:
        click.confirm(f"Delete {name} with all accounts and recordings?", abort=True)
    _carried_out(data, RemovePerson(name), removed)


def _carried_out(
    data: Path | None,
    request: AdminRequest,
    alone: Callable[[Roster], Awaitable[Sequence[AdminAnswer]]],
) -> Sequence[AdminAnswer]:
    """What the server that uses the folder answers; ``alone`` does the same where none does."""
    from spech.web.admin import ask_server
    from spech.web.roster import open_roster

    folder = data or data_folder()
    with reported():
        replies = ask_server(folder, request)
        if replies is not None:
            return list(replies)
        with open_roster(folder) as roster:
            return trio.run(alone, roster)


def _print_password(output: Output, name: str, replies: Iterable[AdminAnswer]) -> None:
    from spech.web.admin import NewPassword

    for reply in replies:
        assert isinstance(reply, NewPassword)
        output.result(reply.password, name=name, password=reply.password)
