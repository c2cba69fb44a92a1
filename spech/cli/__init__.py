"""The ``spech`` command, which combines all parts of Spech."""

from __future__ import annotations

from pathlib import Path

import click

from spech.cli.answer import answer
from spech.cli.bridge import bridge
from spech.cli.call import call
from spech.cli.codecs import codecs
from spech.cli.demo import demo
from spech.cli.doctor import doctor
from spech.cli.exchange import exchange
from spech.cli.failure import CommandGroup
from spech.cli.link import link
from spech.cli.message import message
from spech.cli.ping import ping
from spech.cli.register import register
from spech.cli.serve import serve
from spech.cli.tones import tones
from spech.cli.trace import trace
from spech.cli.user import user
from spech.cli.vault import vault
from spech.rtp import packet

__all__ = ["main"]

#: Whether the media is compiled, as in a wheel of `make wheel`.
_BUILD = "pure Python" if Path(packet.__file__).suffix == ".py" else "compiled by mypyc"


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="spech", message=f"%(prog)s, version %(version)s ({_BUILD})")
def main() -> None:
    """A telephone for web pages, programs and test suites.

    Start with: spech demo

    With --json a command prints one JSON object per line. Colors are off when the output is
    not a terminal, or when NO_COLOR is set. Errors go to standard error. docs/commands.md has more.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 could not register or reach the server.
    """


_COMMANDS = (
    *(demo, serve, link, user, vault),
    *(call, answer, message, register, ping, doctor, trace),
    *(bridge, exchange, codecs, tones),
)
for _command in _COMMANDS:
    main.add_command(_command)
