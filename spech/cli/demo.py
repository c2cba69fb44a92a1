"""``spech demo``: the web phone with its own exchange, to try without a provider."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click
import trio
from rich.console import Console

from spech.cli.failure import web_extra
from spech.cli.options import WEB_PASSWORD_VARIABLE, verbose_option, web_options
from spech.cli.output import Output, json_option
from spech.cli.profiles import PASSWORD_VARIABLE
from spech.cli.serve import local_link, require_free, run_server
from spech.exchange import EXTENSIONS, Exchange, open_exchange
from spech.scopes import open_scope
from spech.sip.transaction.flow import host_port

_SIP_HOST: Final = "127.0.0.1"
_SIP_PORT: Final = 5060
#: The user of the page, and the user for `spech call` and other phones.
_PAGE_USER: Final = "alice"
_OTHER_USER: Final = "bob"


@click.command(short_help="Try it: the phone and a small exchange.")
@web_options
@click.option(
    "--password",
    help="The SIP password of alice and bob; others on this machine can see it in the list of "
    "processes.  [default: a random one for each]",
)
@json_option
@verbose_option
def demo(host: str, port: int, audio_port: int, password: str | None, output: Output) -> None:
    """Start the phone with its own exchange, ready to dial.

    Nothing is saved: accounts, passwords and settings are discarded when the program ends.
    """
    with web_extra():
        from spech.web import app
        from spech.web.messages.state import KnownNumber
        from spech.web.store import Settings, Store, StoredAccount
        from spech.web.switchboard import SUGGESTED_CODECS
        from spech.web.trial import try_account
        from spech.web.vault import Vault

    require_free(host, port, audio_port)
    accounts = {user: password or secrets.token_hex(4) for user in (_PAGE_USER, _OTHER_USER)}

    async def main() -> None:
        with TemporaryDirectory(prefix="spech-demo-") as folder:
            async with open_exchange((_SIP_HOST, _free_sip_port()), accounts) as exchange:
                # As the page's settings do: register first, then save to the vault.
                account = StoredAccount(
                    id="a1",
                    server=_SIP_HOST,
                    port=exchange.address[1],
                    transport="udp",
                    user=_PAGE_USER,
                    password=accounts[_PAGE_USER],
                    codecs=SUGGESTED_CODECS,
                )
                await try_account(account, _SIP_HOST)
                store = Store(Vault(Path(folder)))
                await trio.to_thread.run_sync(store.save, Settings((account,)))
                async with open_scope() as nursery:
                    serving = await nursery.start(
                        partial(
                            app.serve,
                            host=host,
                            port=port,
                            audio_port=audio_port,
                            data_folder=Path(folder),
                            sip_listen=(_SIP_HOST, 0),
                            numbers=tuple(
                                KnownNumber(each.number, each.title) for each in EXTENSIONS.values()
                            ),
                            password=os.environ.get(WEB_PASSWORD_VARIABLE) or None,
                        )
                    )
                    link = local_link(serving.link)
                    if output.as_json:
                        address = host_port(exchange.address)
                        output.result(
                            "", event="serving", url=link, sip=address, users=accounts, data=folder
                        )
                    else:
                        _welcome(output.console, link, folder, exchange, accounts)
                    await trio.sleep_forever()

    run_server(main)


def _command() -> str:
    """The command that starts this program in another terminal."""
    if shutil.which("spech"):
        return "spech"
    started = Path(sys.argv[0])
    return str(started) if started.name == "spech" else f"{sys.executable} -m spech"


def _welcome(
    console: Console, link: str, folder: str, exchange: Exchange, accounts: dict[str, str]
) -> None:
    server = f"{_SIP_HOST}:{exchange.address[1]}"
    console.print("\n[bold]Your phone is ready.[/] Open this address in a browser:\n")
    console.print(f"    [bold cyan]{link}[/]\n", soft_wrap=True)
    console.print(
        "It signs you in once, within two minutes. For another one, run\n\n"
        f"    {_command()} link --data {folder}\n",
        soft_wrap=True,
    )
    console.print("In the page, dial\n")
    for extension in EXTENSIONS.values():
        console.print(f"    [bold]{extension.number}[/]  {extension.title}")
    console.print("\nTo hear it ring, call it from another terminal:\n")
    console.print(
        f"    {PASSWORD_VARIABLE}={accounts[_OTHER_USER]} "
        f"{_command()} call {_PAGE_USER} --account sip:{_OTHER_USER}@{server}\n",
        soft_wrap=True,
    )
    console.print(
        f"Other phones on this machine may register as {_OTHER_USER} at {server}, "
        f"password {accounts[_OTHER_USER]}.\nCtrl-C ends the demo.\n"
    )


def _free_sip_port() -> int:
    """Port 5060, which people expect, if it is free; otherwise 0 for any port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((_SIP_HOST, _SIP_PORT))
        except OSError:
            return 0
    return _SIP_PORT
