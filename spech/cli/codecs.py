"""``spech codecs``: lists the codecs."""

from __future__ import annotations

import click
from rich.table import Table

from spech.cli.output import Output, json_option
from spech.codecs import describe


@click.command(short_help="List the codecs and the libraries that they need.")
@json_option
def codecs(output: Output) -> None:
    """List the codecs, and the packages that are missing for unavailable ones."""
    table = Table("codec", "rate", "bitrate", "library", "", box=None, header_style="bold")
    for info in describe():
        state = "" if info.available else f"not installed: {info.package}"
        bitrate = f"{info.bitrate / 1000:g} kbit/s"
        table.add_row(info.name, f"{info.rate} Hz", bitrate, info.library or "built in", state)
        if output.as_json:
            output.result(
                "",
                name=info.name,
                rate_hz=info.rate,
                bitrate=info.bitrate,
                library=info.library,
                available=info.available,
                package=info.package,
            )
    if not output.as_json:
        output.console.print(table)
