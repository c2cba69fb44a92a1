"""``spech tones``: lists the call progress tones of each country."""

from __future__ import annotations

import click
from rich.table import Table

from spech.audio.progress import TONES, countries, written
from spech.cli.output import Output, json_option


@click.command(short_help="List the tones of each country's network.")
@json_option
def tones(output: Output) -> None:
    """List ringback, busy, congestion and call waiting of each country, after ITU-T E.180.

    425/480 is 425 Hz for 480 ms, 0/480 is 480 ms of silence, 440+480 is both frequencies at once,
    and 400x25 is 400 Hz, modulated at 25 Hz. `spech call --tone de/busy` plays one.
    """
    table = Table("", "country", *TONES, box=None, header_style="bold")
    for code, name in countries().items():
        cadences = {tone: written(tone, code) for tone in TONES}
        table.add_row(code, name, *cadences.values())
        if output.as_json:
            output.result("", country=code, name=name, **cadences)
    if not output.as_json:
        output.console.print(table)
