"""The ``spech`` command, which combines all parts of Spech."""

from __future__ import annotations

from pathlib import Path

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
from spech.rtp import packet

__all__ = ["main"]

#: Whether the media is compiled, as in a wheel of `make wheel`.
_BUILD = "pure Python" if Path(packet.__file__).suffix == ".py" else "compiled by mypyc"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="spech", message=f"%(prog)s, version %(version)s ({_BUILD})")
def main() -> None:
    """A telephone for web pages, programs and test suites.

    Start with: spech demo
    """


for _command in (demo, serve, link, call, bridge, doctor, user, vault, codecs, tones, trace):
    main.add_command(_command)
