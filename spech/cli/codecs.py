"""``spech codecs``: what can be spoken here."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from spech.codecs import describe


@click.command(short_help="List the codecs and what they need.")
def codecs() -> None:
    """List the codecs, and what is missing for those that do not work here."""
    table = Table("codec", "rate", "bitrate", "library", "", box=None, header_style="bold")
    for info in describe():
        state = "" if info.available else f"not installed: {info.package}"
        bitrate = f"{info.bitrate / 1000:g} kbit/s"
        table.add_row(info.name, f"{info.rate} Hz", bitrate, info.library or "built in", state)
    Console().print(table)
