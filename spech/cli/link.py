"""``spech link``: an address of the page that signs in."""

from __future__ import annotations

from pathlib import Path

import click

from spech import SpechError
from spech.cli.failure import reported, web_extra
from spech.cli.options import data_folder, data_option
from spech.cli.output import Output, json_option
from spech.cli.serve import local_link


@click.command(short_help="Make a link that signs in to the page.")
@click.argument("name", default="admin")
@data_option
@json_option
def link(name: str, data: Path | None, output: Output) -> None:
    """Print an address of the page that signs NAME in (admin by default), once, within two minutes.

    `spech serve` must be running with the same data folder.
    """
    with web_extra():
        from spech.web.admin import MakeLink, SignInLink, ask_server

    folder = data or data_folder()
    with reported():
        replies = ask_server(folder, MakeLink(name))
        if replies is None:
            raise SpechError(f"No Spech server uses {folder}. Start one with: spech serve")
        for reply in replies:
            assert isinstance(reply, SignInLink)
            url = local_link(reply.url)
            output.result(url, url=url)
