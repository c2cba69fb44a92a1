"""The ``spech`` command, which combines all parts of Spech."""

from __future__ import annotations

import click

from spech.cli.bridge import bridge
from spech.cli.call import call
from spech.cli.codecs import codecs
from spech.cli.demo import demo
from spech.cli.doctor import doctor
from spech.cli.link import link
from spech.cli.serve import serve
from spech.cli.tones import tones
from spech.cli.trace import trace
from spech.cli.user import user
from spech.cli.vault import vault

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="spech")
def main() -> None:
    """A telephone for web pages, programs and test suites.

    Start with: spech demo
    """


for _command in (demo, serve, link, call, bridge, doctor, user, vault, codecs, tones, trace):
    main.add_command(_command)
