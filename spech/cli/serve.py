"""``spech serve``: the web phone."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click
import trio

from spech import SpechError
from spech.cli.failure import web_extra
from spech.cli.options import (
    WEB_PASSWORD_VARIABLE,
    allow_option,
    data_folder,
    data_option,
    stun_option,
    verbose_option,
    web_options,
)
from spech.cli.output import Output, json_option
from spech.phone.running import run
from spech.scopes import open_scope
from spech.web.auth import is_loopback

#: Calls of strangers that may ring at once with ``--strangers``.
_STRANGERS: Final = 2


@click.command(short_help="Serve the phone as a web page.")
@web_options
@data_option
@click.option(
    "--sip-host",
    default="0.0.0.0",
    show_default=True,
    help="Local address for SIP.",
)
@click.option(
    "--sip-port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Local UDP port for SIP, for one of the accounts  [default: any]",
)
@click.option(
    "--allow-host",
    multiple=True,
    metavar="NAME",
    help="An additional host name of the page; may be repeated.",
)
@click.option(
    "--trusted-proxy",
    multiple=True,
    metavar="NET",
    help="Address or network of a reverse proxy whose Forwarded and X-Forwarded-For headers are "
    "trusted; may be repeated.",
)
@click.option(
    "--tls-cert",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Serve the page over HTTPS with this certificate (PEM, with its chain), without a proxy.",
)
@click.option(
    "--tls-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The key of that certificate (PEM)  [default: in the file of --tls-cert]",
)
@click.option(
    "--recordings-quota",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="GB",
    help="Space for each person's recordings; when it is used up, no further one begins.",
)
@click.option(
    "--keep-recordings",
    type=click.FloatRange(min=0, min_open=True),
    metavar="DAYS",
    help="Delete recordings after this time  [default: never]",
)
@stun_option
@allow_option
@click.option(
    "--strangers",
    is_flag=True,
    help="Let anyone call, at most two at once for each account.",
)
@json_option
@click.option(
    "--webhook",
    envvar="SPECH_WEBHOOK",
    metavar="URL",
    help="Post each incoming call to this URL as JSON, for a CRM.",
)
@verbose_option
def serve(
    host: str,
    port: int,
    audio_port: int,
    data: Path | None,
    sip_host: str,
    sip_port: int,
    allow_host: Sequence[str],
    trusted_proxy: Sequence[str],
    tls_cert: Path | None,
    tls_key: Path | None,
    recordings_quota: float,
    keep_recordings: float | None,
    stun: str | None,
    callers: tuple[str, ...],
    strangers: bool,
    output: Output,
    webhook: str | None,
) -> None:
    """Serve the phone as a web page.

    On a terminal it prints a link that signs you in, once, within two minutes; `spech link` makes
    another one.

    Environment: SPECH_WEB_PASSWORD is a password with which `admin` signs in, of at least ten
    characters;
    SPECH_VAULT_KEY_HEX is the vault's key, which is otherwise generated and stored beside the
    vault; SPECH_WEBHOOK is the URL of --webhook.
    """
    # Importing Quart takes a third of a second; `spech call` should not wait for it.
    with web_extra():
        from spech.web import app
        from spech.web.certificate import PageCertificate
        from spech.web.recordings import RecordingLimits
        from spech.web.vault import Vault

    if tls_key is not None and tls_cert is None:
        raise click.UsageError("--tls-key needs --tls-cert.")
    require_free(host, port, audio_port)
    _require_sip(sip_host, sip_port)
    folder = data or data_folder()
    try:
        Vault(folder).check()
        certificate = None if tls_cert is None else PageCertificate(tls_cert, tls_key or tls_cert)
    except SpechError as error:
        raise click.ClickException(str(error)) from error
    console = output.console
    keep = None if keep_recordings is None else keep_recordings * 86400

    async def main() -> None:
        async with open_scope() as nursery:
            serving = await nursery.start(
                partial(
                    app.serve,
                    host=host,
                    port=port,
                    audio_port=audio_port,
                    data_folder=folder,
                    sip_listen=(sip_host, sip_port),
                    stun=stun,
                    callers=callers,
                    strangers=_STRANGERS if strangers else 0,
                    password=os.environ.get(WEB_PASSWORD_VARIABLE) or None,
                    allowed_hosts=allow_host,
                    trusted_proxies=trusted_proxy,
                    certificate=certificate,
                    recordings=RecordingLimits(int(recordings_quota * 1e9), keep),
                    webhook=webhook,
                )
            )
            here, elsewhere = addresses(serving.web_url)
            # A link lets in who reads it: only a person at a terminal does, not a log.
            if console.is_terminal:
                here = local_link(serving.link)
            if output.as_json:
                output.result("", event="serving", url=here, elsewhere=elsewhere)
                await trio.sleep_forever()
            console.print(f"The phone is at [bold]{here}[/]  (Ctrl-C ends it)")
            if elsewhere:
                console.print(f"From other machines: [bold]{' or '.join(elsewhere)}[/]")
                if certificate is None:
                    console.print("(browsers there need HTTPS for the microphone)")
            await trio.sleep_forever()

    run_server(main)


def addresses(url: str) -> tuple[str, list[str]]:
    """The addresses of the page that is served at ``url``: on this machine, and on other machines.

    A server that listens on every address is reached over loopback on this machine, and elsewhere
    by this machine's name and by the source address of its default route.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host):
        return url, []
    if host not in ("", "0.0.0.0", "::"):
        return url, [url]
    family = socket.AF_INET6 if host == "::" else socket.AF_INET
    names = [socket.gethostname()]
    with socket.socket(family, socket.SOCK_DGRAM) as probe, suppress(OSError):
        # Sends nothing: the kernel chooses the route to a documentation address (RFC 5737, 3849).
        probe.connect(("2001:db8::1" if host == "::" else "192.0.2.1", 9))
        names.append(probe.getsockname()[0])
    shown = [f"[{name}]" if ":" in name else name for name in names]
    here = "[::1]" if host == "::" else "127.0.0.1"
    here, *elsewhere = (f"{parts.scheme}://{name}:{parts.port}/" for name in (here, *shown))
    return here, elsewhere


def local_link(link: str) -> str:
    """A link to sign in, with an address of this machine."""
    address, _, token = link.partition("#")
    return f"{addresses(address)[0]}#{token}"


def run_server(main: Callable[[], Awaitable[None]]) -> None:
    """Run ``main`` until it is stopped, and turn errors into one-line messages."""
    try:
        run(main)
    except SpechError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"Cannot listen: {error.strerror or error}.") from error


def require_free(host: str, port: int, audio_port: int) -> None:
    """Check that both TCP ports are free; the error says what to do otherwise.

    Raises:
        ClickException: one is in use, or ``host`` is not an address of this machine.
    """
    for wanted, option in ((port, "--port"), (audio_port, "--audio-port")):
        _require_port(socket.SOCK_STREAM, (host, wanted), ("--host", option))


def _require_sip(host: str, port: int) -> None:
    """Check the UDP port of SIP, which is opened for the first account only."""
    _require_port(socket.SOCK_DGRAM, (host, port), ("--sip-host", "--sip-port"))


def _require_port(
    kind: socket.SocketKind, address: tuple[str, int], options: tuple[str, str]
) -> None:
    host, port = address
    try:
        found = socket.getaddrinfo(host, port, type=kind)
        with socket.socket(found[0][0], kind) as probe:
            if kind is socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[0][4])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            cause = (
                f"Port {port} on {host} is in use, perhaps by another Spech. End that program, or "
                f"choose another port with {options[1]} (0 for any)."
            )
        else:
            cause = (
                f"Cannot listen on {host}, port {port}: {error.strerror or error}. Choose an "
                f"address of this machine with {options[0]}."
            )
        raise click.ClickException(cause) from error
