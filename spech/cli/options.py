"""Options that several commands share, and the parsers of their values."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from rich.console import Console
from rich.logging import RichHandler

from spech import Account, CodecUnavailable, LocalProtocolError, MediaError, codecs
from spech.audio.writer import plan_writer
from spech.cli.failure import warn
from spech.cli.profiles import PASSWORD_VARIABLE, default_account, find_profile, profile_names
from spech.phone.callers import Callers
from spech.phone.reach import stun_server
from spech.sip.description.media_security import POLICIES

WEB_PASSWORD_VARIABLE: Final = "SPECH_WEB_PASSWORD"
#: Bytes that are read of standard input: more than any message may have.
_LONGEST_INPUT: Final = 10_000

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


def read_account(ctx: click.Context, param: click.Parameter, value: str | None) -> Account | None:
    """``sip:USER@HOST[:PORT]``, or the name of an account in the configuration file.

    The password of an address comes from the environment, which ``ps`` hides. A named account also
    has values for other options, where these are not given.
    """
    if not value or ctx.resilient_parsing:
        return None
    try:
        if "@" in value or value.lower().startswith(("sip:", "sips:")):
            return Account(value, password=os.environ.get(PASSWORD_VARIABLE))
        profile = find_profile(value)
    except LocalProtocolError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    if profile.exposed is not None:
        warn(
            f"others on this machine can read the password in {profile.exposed}",
            f"chmod 600 {profile.exposed}",
        )
    ctx.default_map = {**(ctx.default_map or {}), **profile.options}
    return profile.account


def read_own_account(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> Account | None:
    """The same; without the option, the account that the configuration file names."""
    if value is None:
        try:
            value = default_account()
        except LocalProtocolError as error:
            raise click.BadParameter(str(error), ctx, param) from error
    return read_account(ctx, param, value)


def complete_account(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The accounts in the configuration file, for the shell."""
    try:
        return [name for name in profile_names() if name.startswith(incomplete)]
    except LocalProtocolError:
        return []


def read_codecs(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...] | None:
    """Names of codecs, separated by commas, the preferred one first."""
    if not value:
        return None
    names = tuple(",".join(value).split(","))
    try:
        for name in names:
            codecs.create(name)
    except CodecUnavailable as error:
        raise click.BadParameter(str(error), ctx, param) from error
    return names


def read_address(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[str, int] | None:
    """``HOST:PORT``; port 0 is any."""
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter(f"{value!r} is not HOST:PORT", ctx, param)
    return host, int(port)


def account_option(command: _Decorated) -> _Decorated:
    """``--account NAME|sip:USER@HOST[:PORT]``"""
    return click.option(
        "--account",
        metavar="NAME|SIP:USER@HOST[:PORT]",
        callback=read_account,
        is_eager=True,
        shell_complete=complete_account,
        help=f"The account to use: an address, whose password is taken from {PASSWORD_VARIABLE}, "
        "or a name in the configuration file.",
    )(command)


def own_account_option(command: _Decorated) -> _Decorated:
    """The same, with the configuration file's account where the option is not given."""
    return click.option(
        "--account",
        metavar="NAME|SIP:USER@HOST[:PORT]",
        callback=read_own_account,
        is_eager=True,
        shell_complete=complete_account,
        help=f"The account to use: an address, whose password is taken from {PASSWORD_VARIABLE}, "
        "or a name in the configuration file; '' for none.  [default: that of the file, if any]",
    )(command)


def codec_option(command: _Decorated) -> _Decorated:
    """``--codec NAME,…``"""
    return click.option(
        "--codec",
        "codec_names",
        multiple=True,
        metavar="NAME,…",
        callback=read_codecs,
        help="Codecs to offer, the preferred one first; may be repeated. `spech codecs` lists "
        "them. Settings may follow a name: 'opus;bitrate=24000;complexity=8,PCMU;ptime=40'.",
    )(command)


def encryption_option(command: _Decorated) -> _Decorated:
    """``--encryption off|optional|required|sdes|dtls``"""
    return click.option(
        "--encryption",
        type=click.Choice(POLICIES),
        default="off",
        show_default=True,
        help="Encryption of the sound: not offered, if the far end supports it, or always; "
        "sdes and dtls require that kind of key exchange.",
    )(command)


def read_pairs(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """``NAME=VALUE``, again and again."""
    found = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE", ctx, param)
        found[name] = text
    return found


def read_text(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Text that is not empty; ``-`` is standard input without the line end behind it."""
    try:
        if value == "-":
            if sys.stdin.isatty():
                raise click.BadParameter("give the text, or a pipe that it comes from", ctx, param)
            value = sys.stdin.buffer.read(_LONGEST_INPUT).decode().rstrip("\n")
        value.encode()
    except UnicodeError as error:
        raise click.BadParameter("it is not text in UTF-8", ctx, param) from error
    if not value.strip():
        raise click.BadParameter("the text is empty", ctx, param)
    return value


def read_stun(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """``stun:HOST[:PORT]``"""
    if value is not None:
        try:
            stun_server(value)
        except LocalProtocolError as error:
            raise click.BadParameter(str(error), ctx, param) from error
    return value


def stun_option(command: _Decorated) -> _Decorated:
    """``--stun stun:HOST[:PORT]``"""
    return click.option(
        "--stun",
        metavar="STUN:HOST[:PORT]",
        callback=read_stun,
        help="Behind a NAT: the STUN server that reports our public addresses. Also offers ICE.",
    )(command)


def read_callers(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    """Addresses, networks and host names."""
    try:
        Callers(value)
    except LocalProtocolError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    return value


def allow_option(command: _Decorated) -> _Decorated:
    """``--allow ADDRESS|NETWORK|NAME``, any number of times"""
    return click.option(
        "--allow",
        "callers",
        multiple=True,
        metavar="ADDRESS|NETWORK|NAME",
        callback=read_callers,
        help="Who may call besides the registrar, such as a provider's trunk; may be repeated. "
        "Without this option, programs on this machine may call; with it, only if 127.0.0.1 is "
        "listed, because a local proxy may forward anyone's calls. 0.0.0.0/0 allows every IPv4 "
        "address.",
    )(command)


def read_output(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Check that a file, which is written when the call is over, can be created."""
    if value is not None and not value.parent.is_dir():
        raise click.BadParameter(f"the folder {value.parent} does not exist", ctx, param)
    if value is not None and not os.path.lexists(value):
        try:
            value.touch()
            value.unlink()
        except OSError as error:
            message = f"{value} cannot be written: {error.strerror}"
            raise click.BadParameter(message, ctx, param) from error
    return value


def read_recording(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Check the same for a recording, and that its suffix names a known format."""
    if read_output(ctx, param, value) is not None:
        assert value is not None
        try:
            plan_writer(value, 8000, 1)
        except MediaError as error:
            raise click.BadParameter(str(error), ctx, param) from error
    return value


def data_option(command: _Decorated) -> _Decorated:
    """``--data FOLDER``"""
    return click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of the vault with the SIP accounts  [default: $XDG_DATA_HOME/spech]",
    )(command)


def ice_option(command: _Decorated) -> _Decorated:
    """``--ice``"""
    return click.option(
        "--ice",
        is_flag=True,
        default=None,
        help="Offer ICE even without a STUN server, as calls to browsers need it.",
    )(command)


def verbose_option(command: _Decorated) -> _Decorated:
    """``-v`` logs at level INFO and ``-vv`` at level DEBUG, to standard error."""
    return click.option(
        "-v",
        "--verbose",
        count=True,
        expose_value=False,
        callback=lambda ctx, param, value: set_up_logging(value),
        help="Log events to standard error; repeat it for debug messages.",
    )(command)


def web_options(command: _Decorated) -> _Decorated:
    """``--host``, ``--port`` and ``--audio-port``: where the web phone listens."""
    for option in (
        click.option(
            "--audio-port",
            type=click.IntRange(0, 65535),
            default=8888,
            show_default=True,
            help="TCP port for the sound alone, which --port carries too; 0 for any.",
        ),
        click.option(
            "--port",
            type=click.IntRange(0, 65535),
            default=8080,
            show_default=True,
            help="TCP port of the page, 0 for any.",
        ),
        click.option(
            "--host",
            default="127.0.0.1",
            show_default=True,
            help="Address to listen on.",
        ),
    ):
        command = option(command)
    return command


def set_up_logging(verbosity: int) -> None:
    """Log to standard error from level WARNING, with 1 from INFO, with 2 from DEBUG."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)]
    handler = RichHandler(console=Console(stderr=True), show_path=False, rich_tracebacks=False)
    logging.basicConfig(
        level=level, format="%(name)s: %(message)s", datefmt="%H:%M:%S", handlers=[handler]
    )


def data_folder() -> Path:
    """The folder for persistent data (XDG base directories)."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local/share") / "spech"
