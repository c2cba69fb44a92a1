"""Errors of commands: one line that says what failed, a hint what to do, and the exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import click
from rich.console import Console
from rich.text import Text

from spech import (
    LocalProtocolError,
    RegistrationFailed,
    ServerUnreachable,
    SipFailure,
    SpechError,
)
from spech.cli.profiles import PASSWORD_VARIABLE

#: Seconds to wait for the registrar's response.
REGISTRATION_SECONDS: Final = 5.0
#: What a server answers to wrong credentials, and to none.
_UNAUTHORIZED: Final = (401, 403, 407)


class Failure(click.ClickException):
    """Ends a command with an error.

    Args:
        message: what failed.
        hint: what to do about it, None where nobody knows.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class Unreachable(Failure):
    """Could not register, or reach the server."""

    exit_code = 3

    def __init__(self, error: RegistrationFailed | ServerUnreachable) -> None:
        message, hint = str(error), None
        if isinstance(error, RegistrationFailed):
            message, hint = f"Could not register: {error}", credentials_hint(error.status)
        super().__init__(message, hint)


class CommandGroup(click.Group):
    """Prints errors as `show_error` does, those of the system as well."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command and end the process with its exit status."""
        try:
            status = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.ClickException as error:
            show_error(error)
            status = error.exit_code
        except click.Abort:
            warn("stopped")
            status = 1
        except OSError as error:  # Of a file, or of standard output, which has no name.
            named = (error.filename, error.strerror or str(error))
            show_error(Failure(": ".join(str(part) for part in named if part)))
            status = 1
        if standalone_mode:
            sys.exit(status or 0)
        return status


def show_error(error: click.ClickException) -> None:
    """Print an error to standard error, with its hint; wrong usage with the usage of the command.

    Nothing is colored where standard error is not a terminal, or NO_COLOR is set.
    """
    _label("error", "bold red", error.format_message())
    hint = getattr(error, "hint", None)
    if hint:
        _label("hint", "bold cyan", hint)
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(
            f"\n{error.ctx.get_usage()}\nFor help: {error.ctx.command_path} --help", err=True
        )


def warn(message: str, hint: str | None = None) -> None:
    """Print a warning to standard error."""
    _label("warning", "bold yellow", message)
    if hint:
        _label("hint", "bold cyan", hint)


def _label(label: str, style: str, message: str) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text.assemble((label, style), ": ", message))


def credentials_hint(status: int | None) -> str | None:
    """What to do where a server answers with this SIP status, None where that is no question."""
    if status not in _UNAUTHORIZED:
        return None
    unset = "" if PASSWORD_VARIABLE in os.environ else ", which is not set"
    return (
        "The server does not accept this user and password. The password is taken from "
        f"{PASSWORD_VARIABLE}{unset}, or from the account's table in the configuration file."
    )


@contextmanager
def web_extra() -> Iterator[None]:
    """Surrounds imports of :mod:`spech.web`; what is missing becomes a message."""
    with _extra("web", "The web phone"):
        yield


@contextmanager
def bridge_extra(option: str) -> Iterator[None]:
    """Surrounds imports for an option of ``spech bridge``; what is missing becomes a message."""
    with _extra("bridge", option):
        yield


@contextmanager
def _extra(name: str, what: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise Failure(
            f"{what} needs packages that are not installed", f"pip install 'spech[{name}]'"
        ) from error


@contextmanager
def reported() -> Iterator[None]:
    """Turn errors of Spech into errors of the command."""
    try:
        yield
    except LocalProtocolError as error:
        raise click.UsageError(str(error), click.get_current_context(silent=True)) from error
    except (RegistrationFailed, ServerUnreachable) as error:
        raise Unreachable(error) from error
    except SipFailure as error:
        raise Failure(f"Refused: {error}", credentials_hint(error.status)) from error
    except SpechError as error:
        raise Failure(str(error)) from error
