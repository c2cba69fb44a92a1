"""Messages and exit statuses for what several commands may lack: a server, or an extra."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from spech import RegistrationFailed, SpechError
from spech.cli.options import PASSWORD_VARIABLE

#: Seconds to wait for the registrar's response.
REGISTRATION_SECONDS: Final = 5.0


class Unreachable(click.ClickException):
    """Could not register or reach the server."""

    exit_code = 3


def explain(error: SpechError) -> str:
    """A message that says what to do about the failure."""
    if not isinstance(error, RegistrationFailed):
        return f"Could not reach the server: {error}"
    if error.status in (401, 403, 407):
        unset = "" if PASSWORD_VARIABLE in os.environ else ", which is not set"
        return (
            f"Could not register: the server does not accept this user and password ({error}). "
            f"The password is taken from {PASSWORD_VARIABLE}{unset}."
        )
    return f"Could not register: {error}"


@contextmanager
def web_extra() -> Iterator[None]:
    """Surrounds imports of :mod:`spech.web`; what is missing becomes a message."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise click.ClickException(
            "The web phone needs packages that are not installed; run: pip install 'spech[web]'"
        ) from error


@contextmanager
def bridge_extra() -> Iterator[None]:
    """Surrounds imports of :mod:`spech.bridge.api`; what is missing becomes a message."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise click.ClickException(
            "--api needs packages that are not installed; run: pip install 'spech[bridge]'"
        ) from error


@contextmanager
def reported() -> Iterator[None]:
    """Turn errors of Spech and of the system into one-line messages."""
    try:
        yield
    except SpechError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error
