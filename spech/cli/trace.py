"""``spech trace FILE``: prints the SIP messages of a call."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import click

from spech.errors import RemoteProtocolError
from spech.sip.timeline import from_pcap, ladder


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, even if it already exists."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, 0o600)
        file.write(data)


@click.command(short_help="Print the SIP messages of a call.")
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
        raise click.ClickException(f"{file}: it contains no message")
    click.echo(ladder(entries, wall=0.0))
