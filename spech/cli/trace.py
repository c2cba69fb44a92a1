"""``spech trace FILE``: prints the SIP messages of a call."""

from __future__ import annotations

import os
import stat
from functools import partial
from pathlib import Path

import click

from spech.cli.output import Output, json_option
from spech.errors import RemoteProtocolError
from spech.sip.timeline import from_pcap, ladder
from spech.sip.transaction.flow import host_port


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, even if it already exists."""
    try:
        with open(path, "wb", opener=partial(os.open, mode=0o600)) as file:
            if hasattr(os, "fchmod") and stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                os.fchmod(file.fileno(), 0o600)
            file.write(data)
    except OSError as error:
        error.filename = str(path)  # Errors of writing have none.
        raise


@click.command(short_help="Print the SIP messages of a call.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def trace(file: Path, output: Output) -> None:
    """Print the SIP messages of FILE, which `spech call --trace FILE` wrote, as a ladder.

    Times are UTC.
    """
    try:
        entries = from_pcap(file.read_bytes())
    except RemoteProtocolError as error:
        raise click.ClickException(f"{file}: {error}") from error
    if not entries:
        raise click.ClickException(f"{file}: it contains no message")
    for entry in entries if output.as_json else ():
        output.result(
            "",
            at=entry.at,
            source=None if entry.source is None else host_port(entry.source),
            destination=None if entry.destination is None else host_port(entry.destination),
            message=entry.data.decode(errors="replace"),
        )
    if not output.as_json:
        click.echo(ladder(entries, wall=0.0))
