"""``spech tones``: how the telephone networks of the world sound."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from spech.audio.progress import TONES, countries, written


@click.command(short_help="List the tones of each country's network.")
def tones() -> None:
    """List ringback, busy, congestion and call waiting of each country, after ITU-T E.180.

    425/480 is 425 Hz for 480 ms, 0/480 as much silence; 440+480 sounds both, 400x25 swells 25 times
    a second. `spech call --tone de/busy` plays one.
    """
    table = Table("", "country", *TONES, box=None, header_style="bold")
    for code, name in countries().items():
        table.add_row(code, name, *(written(tone, code) for tone in TONES))
    Console().print(table)
