"""``spech tones``: lists the call progress tones of each country."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from spech.audio.progress import TONES, countries, written


@click.command(short_help="List the tones of each country's network.")
def tones() -> None:
    """List ringback, busy, congestion and call waiting of each country, after ITU-T E.180.

    425/480 is 425 Hz for 480 ms, 0/480 is 480 ms of silence, 440+480 is both frequencies at once,
    and 400x25 is 400 Hz, modulated at 25 Hz. `spech call --tone de/busy` plays one.
    """
    table = Table("", "country", *TONES, box=None, header_style="bold")
    for code, name in countries().items():
        table.add_row(code, name, *(written(tone, code) for tone in TONES))
    Console().print(table)
