"""What commands print: lines for people, or one JSON object per line for programs."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console

from spech.cli.options import verbose_option


class Output:
    """What a command tells.

    Attributes:
        as_json: print JSON objects in place of lines.
        quiet: print the result only, and nothing where lines are for people.
        console: where lines are printed.
    """

    def __init__(
        self, *, as_json: bool = False, quiet: bool = False, to_stderr: bool = False
    ) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._to_stderr = to_stderr
        self.console = Console(stderr=to_stderr, highlight=False, soft_wrap=True)

    @property
    def is_live(self) -> bool:
        """Whether the output is a terminal, so that a live display can be shown."""
        return self.console.is_terminal and not (self.as_json or self.quiet)

    def on_stderr(self) -> Output:
        """The same on standard error, because standard output carries sound."""
        return Output(as_json=self.as_json, quiet=self.quiet, to_stderr=True)

    def tell(self, text: str, /, **fields: object) -> None:
        """Print an event: ``text`` for people, ``fields`` as JSON."""
        if not self.quiet:
            self.result(text, **fields)

    def result(self, text: str, /, **fields: object) -> None:
        """Print the last event; as JSON also where all others are left out."""
        if self.as_json:
            click.echo(json.dumps(fields, ensure_ascii=False), err=self._to_stderr)
        elif text and not self.quiet:
            self.console.print(text, markup=False)


def json_option(command: Callable[..., None]) -> Callable[..., None]:
    """``--json``. The command gets ``output``."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
    @functools.wraps(command)
    def collect(*, as_json: bool, **others: Any) -> None:
        command(output=Output(as_json=as_json), **others)

    return collect


def output_options(command: Callable[..., None]) -> Callable[..., None]:
    """``--json``, ``--quiet`` and ``--verbose``. The command gets ``output``."""

    @click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print one JSON object per line: each event, and at last the result.",
    )
    @click.option(
        "-q",
        "--quiet",
        is_flag=True,
        help="Print errors only; with --json the result only.",
    )
    @verbose_option
    @functools.wraps(command)
    def collect(*, as_json: bool, quiet: bool, **others: Any) -> None:
        command(output=Output(as_json=as_json, quiet=quiet), **others)

    return collect
