"""``spech bridge``: connects each incoming call to a bot over a WebSocket."""

from __future__ import annotations

import hashlib
import signal
from pathlib import Path

import click
import msgspec
import trio

from spech import Account, LocalProtocolError, RegistrationFailed, ServerUnreachable, open_phone
from spech.bridge.access import Access, read_secret
from spech.bridge.bridge import Bridge, Fallback
from spech.bridge.records import CallRecord
from spech.bridge.routes import Routes
from spech.bridge.url import WebSocketUrl
from spech.cli.bots import bot_options, read_url
from spech.cli.failure import REGISTRATION_SECONDS, Unreachable, bridge_extra, explain
from spech.cli.options import (
    account_option,
    allow_option,
    codec_option,
    data_folder,
    read_address,
    stun_option,
    verbose_option,
)
from spech.cli.serve import run_server
from spech.codecs import DEFAULT
from spech.scopes import open_scope
from spech.sip.transaction.flow import host_port
from spech.web.auth import is_loopback


def journal_file(account: Account | None, listen: tuple[str, int] | None) -> Path | None:
    """The journal of a bridge, which ends the calls of a killed predecessor.

    There is one file for each account and address. A bridge without either, on any free port, has
    no predecessor and no journal.
    """
    if account is None and (listen is None or not listen[1]):
        return None
    name = hashlib.sha256(f"{account and account.address} {listen}".encode()).hexdigest()[:16]
    folder = data_folder() / "journals"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"bridge-{name}"


def _print(record: CallRecord) -> None:
    click.echo(record.summary)


def _print_json(record: CallRecord) -> None:
    click.echo(msgspec.json.encode(record))


async def _drain(bridge: Bridge, seconds: float, serving: trio.CancelScope) -> None:
    """At SIGTERM, wait for the end of the calls, and then end the bridge."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        await anext(signals)
    # A second signal ends everything: it is caught where the first one usually is.
    with trio.move_on_after(seconds):
        await bridge.drain()
    serving.cancel()


@click.command(short_help="Carry incoming calls to a bot on a WebSocket.")
@bot_options
@click.option(
    "--recordings",
    type=click.Path(file_okay=False, exists=True, writable=True, path_type=Path),
    help="The folder for recordings that the bot asks for.",
)
@click.option(
    "--tap",
    metavar="WS://…",
    callback=read_url,
    help="A listener that hears both sides of each call, on a WebSocket of its own.",
)
@click.option(
    "--bot-answers",
    is_flag=True,
    help="Let each call ring until the bot answers or rejects it (protocols raw and asterisk).",
)
@click.option(
    "--ear",
    type=click.Choice(("low-latency", "smooth")),
    default="low-latency",
    show_default=True,
    help="Whether the bot hears sound as it arrives, or at even intervals and some tens of "
    "milliseconds later, as people need it.",
)
@click.option(
    "--drain",
    type=click.FloatRange(min=0),
    default=0,
    metavar="SECONDS",
    help="After SIGTERM, accept no more calls and let the present ones go on for so long; a second "
    "signal ends them.  [default: 0]",
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    callback=read_address,
    help="Accept calls that are sent to this address.",
)
@account_option
@codec_option
@stun_option
@click.option(
    "--rate",
    type=click.IntRange(8000, 48000),
    metavar="HZ",
    help="Sample rate of the PCM, where the protocol leaves it open  [default: that of the call's "
    "codec]",
)
@allow_option
@click.option(
    "--max-calls",
    type=click.IntRange(min=1),
    metavar="N",
    help="Calls at once; further callers get 503 with Retry-After.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print each call's end as one line of JSON.",
)
@click.option(
    "--api",
    metavar="HOST:PORT",
    callback=read_address,
    help="Serve the control plane over HTTP there: calls, health and metrics; beyond loopback "
    "--api-token-file is required.",
)
@click.option(
    "--api-token-file",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="File with the token that requests must show as Authorization: Bearer.",
)
@verbose_option
def bridge(
    routes: Routes,
    protocol: str,
    parameters: dict[str, str],
    fallbacks: tuple[Fallback, ...],
    access: Access,
    recordings: Path | None,
    tap: WebSocketUrl | None,
    bot_answers: bool,
    ear: str,
    drain: float,
    listen: tuple[str, int] | None,
    account: Account | None,
    codec_names: tuple[str, ...] | None,
    stun: str | None,
    rate: int | None,
    callers: tuple[str, ...],
    max_calls: int | None,
    as_json: bool,
    api: tuple[str, int] | None,
    api_token_file: Path | None,
) -> None:
    """Answer calls and carry their sound to and from a WebSocket, one for each call.

    In the protocol "raw", binary messages are PCM, signed 16-bit little-endian mono, 20 ms each.
    The first message is JSON text with the caller and the sample rate. The other protocols are
    those of telephone services: a bot that was written for one of them runs unchanged. See
    docs/bots.md.

    When the call or the WebSocket ends, so does the other. If the WebSocket cannot be opened, the
    call is rejected with 503, unless there is a fallback.

    Calls are accepted from the account's registrar, and from the callers that --allow lists or, by
    default, from this machine.
    """
    if listen is None and account is None:
        raise click.UsageError("give --listen HOST:PORT, or --account, or both")
    if rate is not None and rate % 50:
        raise click.BadParameter("20 ms must be a whole number of samples", param_hint="--rate")

    if api is not None and api_token_file is None and not is_loopback(api[0]):
        raise click.UsageError("--api beyond loopback needs --api-token-file FILE")
    try:
        token = None if api_token_file is None else read_secret(api_token_file)
    except LocalProtocolError as error:
        raise click.UsageError(f"{error}.") from error
    report = _print_json if as_json else _print
    if api is not None:
        with bridge_extra():
            from spech.bridge.api.app import serve_api
            from spech.bridge.api.metrics import BridgeMetrics
            from spech.web.http import bind

            metrics = BridgeMetrics()

    def note(record: CallRecord) -> None:
        report(record)
        if api is not None:
            metrics.note(record)

    journal = journal_file(account, listen)

    async def main() -> None:
        async with open_phone(
            account,
            listen=listen or ("0.0.0.0", 0),
            codecs=codec_names or DEFAULT,
            stun=stun,
            callers=callers,
            max_calls=max_calls,
            journal=journal,
        ) as phone:
            if account is not None:
                try:
                    await phone.registered(timeout=REGISTRATION_SECONDS)
                except (RegistrationFailed, ServerUnreachable) as error:
                    raise Unreachable(explain(error)) from error
                click.echo(f"registered as {account.address}")
            click.echo(f"taking calls at {host_port(phone.address)}")
            bridge = Bridge(
                routes,
                access=access,
                protocol=protocol,
                rate=rate,
                parameters=parameters,
                fallbacks=fallbacks,
                recordings=recordings,
                tap=tap,
                bot_answers=bot_answers,
                low_latency=ear == "low-latency",
                report=note,
            )
            async with open_scope() as nursery:
                if drain:
                    nursery.start_soon(_drain, bridge, drain, nursery.cancel_scope)
                if api is not None:
                    listener = await bind(*api)
                    at = host_port(listener.socket.getsockname()[:2])
                    click.echo(f"control plane at http://{at}/")
                    nursery.start_soon(serve_api, bridge, phone, metrics, listener, token)
                await bridge.serve(phone)

    run_server(main)
