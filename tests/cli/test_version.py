"""``spech --version`` tells which build runs."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from spech.cli import main
from spech.rtp import packet


def test_the_version_names_the_build() -> None:
    build = "pure Python" if Path(packet.__file__).suffix == ".py" else "compiled by mypyc"
    printed = CliRunner().invoke(main, ["--version"]).output
    assert printed.rstrip().endswith(f"({build})")
