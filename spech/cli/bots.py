"""The options of ``spech bridge`` about bots: where they are, what they speak, how to get in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from spech import LocalProtocolError
from spech.bridge.access import Access
from spech.bridge.bridge import Fallback
from spech.bridge.dialects import find, names
from spech.bridge.routes import Routes
from spech.bridge.twilio.twiml import DocumentUrl, http_url
from spech.bridge.url import WebSocketUrl
from spech.cli.options import read_pairs
from spech.errors import RemoteProtocolError

_FILE: Final = click.Path(dir_okay=False, exists=True, path_type=Path)


def read_url(ctx: click.Context, param: click.Parameter, value: str | None) -> WebSocketUrl | None:
    """``ws://…``, ``wss://…`` or ``tcp://…``"""
    return None if value is None else parse_url(ctx, param, value)


def parse_url(ctx: click.Context, param: click.Parameter, value: str) -> WebSocketUrl:
    """The URL of a WebSocket, which an option must have."""
    try:
        return WebSocketUrl.parse(value)
    except LocalProtocolError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def read_answer_url(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> DocumentUrl | None:
    """``http://…`` or ``https://…``"""
    try:
        return None if value is None else DocumentUrl(http_url(value))
    except RemoteProtocolError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def read_protocol(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The name of a dialect."""
    try:
        if value is not None:
            find(value)
    except LocalProtocolError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    return value


def read_fallbacks(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[Fallback, ...]:
    """WebSockets, then a sound file or a SIP URI."""
    found: list[Fallback] = []
    for value in values:
        if found and not isinstance(found[-1], WebSocketUrl):
            raise click.BadParameter("nothing can follow a file or a SIP URI", ctx, param)
        if value.startswith(("ws:", "wss:")):
            found.append(parse_url(ctx, param, value))
        elif value.startswith(("sip:", "sips:", "tel:")):
            found.append(value)
        elif Path(value).is_file():
            found.append(Path(value))
        else:
            raise click.BadParameter(f"{value!r} is no WebSocket, file or SIP URI", ctx, param)
    return tuple(found)


def bot_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options about bots. The command gets ``protocol``, ``parameters``, ``fallbacks``,
    ``routes``, ``answer_url`` and ``access``."""

    @functools.wraps(command)
    def collect(
        *,
        target: WebSocketUrl | None,
        routes_file: Path | None,
        answer_url: DocumentUrl | None,
        headers: dict[str, str],
        token_file: Path | None,
        signing_key_file: Path | None,
        ca: Path | None,
        certificate: Path | None,
        protocol: str | None,
        **others: Any,
    ) -> None:
        if protocol is None:
            protocol = "raw" if answer_url is None else "twilio"
        access = Access(
            headers, token_file, signing_key_file, protocol == "twilio", ca, certificate
        )
        try:
            access.check()
            if answer_url is not None:
                if target or routes_file or protocol != "twilio":
                    raise LocalProtocolError(
                        "--answer-url takes the place of --websocket and --routes, and needs the "
                        "protocol twilio"
                    )
                routes = Routes()
            elif routes_file is not None:
                routes = Routes.read(routes_file, target)
            elif target is not None:
                routes = Routes(default=target)
            else:
                raise LocalProtocolError(
                    "give --websocket URL, or --routes FILE, or both, or --answer-url URL"
                )
        except LocalProtocolError as error:
            raise click.UsageError(f"{error}.") from error
        command(routes=routes, answer_url=answer_url, access=access, protocol=protocol, **others)

    for option in reversed(_OPTIONS):
        collect = option(collect)
    return collect


_OPTIONS: Final = (
    click.option(
        "--websocket",
        "target",
        metavar="WS://…",
        callback=read_url,
        help="URL to connect to for each call; {called}, {caller} and {header:X-…} stand for "
        "values of the call. tcp://HOST:PORT for the protocol audiosocket.",
    ),
    click.option(
        "--routes",
        "routes_file",
        type=_FILE,
        help="TOML file with the URLs of called numbers: tables [prefix] and [regex]. Other "
        "numbers go to --websocket or, without it, get 404.",
    ),
    click.option(
        "--answer-url",
        metavar="HTTP://…",
        callback=read_answer_url,
        help="Ask this server what to do with each call, as Twilio does, with a form that is "
        "answered with TwiML; in place of --websocket and --routes.",
    ),
    click.option(
        "--protocol",
        metavar="NAME",
        callback=read_protocol,
        help=f"What the bot speaks: {', '.join(names())}.  [default: raw; twilio with "
        "--answer-url]",
    ),
    click.option(
        "--parameter",
        "parameters",
        multiple=True,
        metavar="NAME=VALUE",
        callback=read_pairs,
        help="What the bot reads as a custom parameter. Can be repeated.",
    ),
    click.option(
        "--fallback",
        "fallbacks",
        multiple=True,
        metavar="WS://…|FILE|SIP:…",
        callback=read_fallbacks,
        help="What to do where the bot cannot be reached or fails: another bot, a sound to play, "
        "or a target to transfer the caller to. Can be repeated, for one after the other.",
    ),
    click.option(
        "--header",
        "headers",
        multiple=True,
        metavar="NAME=VALUE",
        callback=read_pairs,
        help="A header field of each WebSocket's handshake; can be repeated. Others on this "
        "machine can see it, so put secrets in --token-file.",
    ),
    click.option(
        "--token-file",
        type=_FILE,
        help="File with the token to send as Authorization: Bearer; it is read for each call.",
    ),
    click.option(
        "--signing-key",
        "signing_key_file",
        type=_FILE,
        help="File with the key to sign each handshake with: X-Twilio-Signature (protocol twilio) "
        "or X-Spech-Signature.",
    ),
    click.option(
        "--ca",
        type=_FILE,
        help="Certificates (PEM) to trust in place of the system's.",
    ),
    click.option(
        "--certificate",
        type=_FILE,
        help="Our own certificate with its key (PEM), for servers that ask for one.",
    ),
)
