"""``spech trace FILE``: what happened in a call, to read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import click

from spech.errors import RemoteProtocolError
from spech.sip.timeline import from_pcap, ladder


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, also where it was there before."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, 0o600)
        file.write(data)


@click.command(short_help="Print what was said in a call.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def trace(file: Path) -> None:
    """Print the SIP messages of FILE, which `spech call --trace FILE` wrote, as a ladder.

    Times are UTC.
    """
    try:
        entries = from_pcap(file.read_bytes())
    except RemoteProtocolError as error:
        raise click.ClickException(f"{file}: {error}") from error
    if not entries:
        raise click.ClickException(f"{file}: there is no message in it")
    click.echo(ladder(entries, wall=0.0))
