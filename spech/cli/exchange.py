"""``spech exchange``: the small exchange of the demo, on its own."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
import trio

from spech import MediaError
from spech.audio.player import Player
from spech.cli.failure import reported
from spech.cli.options import read_address
from spech.cli.output import Output, output_options
from spech.cli.profiles import PASSWORD_VARIABLE
from spech.exchange import EXTENSIONS, SERVICES, Extension, announcement, open_exchange
from spech.phone.running import run
from spech.sip.transaction.flow import host_port

_BUILT_IN: Final = ", ".join(f"{each.number} ({name})" for name, each in SERVICES.items())


def read_extensions(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, Extension]:
    """``NUMBER=SERVICE`` or ``NUMBER=FILE``, again and again."""
    found = {}
    for value in values:
        number, _, does = value.partition("=")
        if not number or not does:
            raise click.BadParameter(f"{value!r} is not NUMBER=SERVICE", ctx, param)
        if does in SERVICES:
            found[number] = replace(SERVICES[does], number=number)
            continue
        try:
            Player(does).close()
        except MediaError as error:
            known = ", ".join(SERVICES)
            message = f"{does!r} is neither one of {known} nor a sound file: {error}"
            raise click.BadParameter(message, ctx, param) from error
        found[number] = announcement(number, Path(does))
    return found


@click.command(short_help="A small exchange for tests: echo, tone, digits, calls between users.")
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:5060",
    show_default=True,
    callback=read_address,
    help="Where it takes SIP over UDP and TCP; port 0 is any.",
)
@click.option(
    "--user",
    "users",
    multiple=True,
    default=("alice", "bob"),
    show_default="alice, bob",
    metavar="NAME",
    help="A user who may register and call; can be repeated.",
)
@click.option(
    "--password",
    help="The password of all users; others on this machine can see it in the list of processes.  "
    "[default: random ones, which are printed]",
)
@click.option(
    "--extension",
    "extensions",
    multiple=True,
    metavar="NUMBER=SERVICE|FILE",
    callback=read_extensions,
    help=f"What a number does: {', '.join(SERVICES)}, or a sound file to play; can be repeated. "
    f"There are {_BUILT_IN} besides.",
)
@click.option(
    "--md5",
    is_flag=True,
    help="Authenticate with MD5 alone, for old phones that fail where SHA-256 is offered.",
)
@output_options
def exchange(
    listen: tuple[str, int],
    users: tuple[str, ...],
    password: str | None,
    extensions: dict[str, Extension],
    md5: bool,
    output: Output,
) -> None:
    """Run a small exchange until Ctrl-C, to try phones and programs with.

    Its users register, call its extensions and each other, transfer calls and send messages.
    Registrations are kept in memory only.

    Exit status: 0 stopped, 2 wrong usage, 3 the address cannot be used.
    """
    accounts = {user: password or secrets.token_hex(4) for user in users}
    numbers = {**EXTENSIONS, **extensions}

    async def main() -> None:
        async with open_exchange(listen, accounts, extensions=numbers, md5_only=md5) as running:
            address = host_port(running.address)
            titles = {each.number: each.title for each in numbers.values()}
            output.result(
                _welcome(address, accounts, titles),
                event="listening",
                address=address,
                users=accounts,
                extensions=titles,
            )
            await trio.sleep_forever()

    with reported():
        run(main)


def _welcome(address: str, accounts: dict[str, str], titles: dict[str, str]) -> str:
    user, password = next(iter(accounts.items()))
    users = [f"    sip:{user}@{address}  password {word}" for user, word in accounts.items()]
    numbers = [f"    {number}  {title}" for number, title in titles.items()]
    return "\n".join(
        (
            f"The exchange is at {address}  (Ctrl-C ends it). Its users:",
            *users,
            "Its numbers:",
            *numbers,
            "To try it, from another terminal:",
            f"    {PASSWORD_VARIABLE}={password} spech call 601 --account sip:{user}@{address}",
        )
    )
