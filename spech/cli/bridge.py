"""``spech bridge``: connects calls to bots over WebSockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from spech import Account
from spech.bridge.access import Access
from spech.bridge.bridge import Bridge, Fallback
from spech.bridge.dialects import can_answer
from spech.bridge.recordings import RecordingStore
from spech.bridge.records import CallListener, CallRecord
from spech.bridge.routes import Routes
from spech.bridge.twilio.twiml import DocumentUrl
from spech.bridge.url import WebSocketUrl
from spech.cli.bots import bot_options, read_url
from spech.cli.control import ControlPlane, control_options
from spech.cli.failure import bridge_extra
from spech.cli.options import (
    account_option,
    allow_option,
    codec_option,
    read_address,
    stun_option,
    verbose_option,
)
from spech.cli.output import Output, json_option
from spech.cli.serve import run_server
from spech.cli.workers import BridgeSetup, run_worker, serve_alone, serve_front
from spech.codecs import DEFAULT

if TYPE_CHECKING:
    from spech.bridge.twilio.application import Application


@click.command(short_help="Connect calls to a bot on a WebSocket.")
@bot_options
@click.option(
    "--recordings",
    type=click.Path(file_okay=False, exists=True, writable=True, path_type=Path),
    help="The folder for recordings that the bot or the control plane asks for.",
)
@click.option(
    "--keep-recordings",
    "keep_days",
    type=click.FloatRange(min=0, min_open=True),
    metavar="DAYS",
    help="Delete recordings of that folder after this many days.  [default: never]",
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
    help="Let each call ring until the bot answers or rejects it (protocols raw, asterisk and "
    "asterisk-text).",
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
    help="After SIGTERM, accept no more calls and let current calls go on for this many seconds; a "
    "second signal ends them.  [default: 0]",
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
    help="Calls at once; further callers, and requests to call, get 503 with Retry-After.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Carry the calls in this many processes, behind one SIP address and one control plane: "
    "one for each core.",
)
@click.option("--worker-channel", type=int, hidden=True)
@json_option
@control_options
@verbose_option
def bridge(
    routes: Routes,
    answer_url: DocumentUrl | None,
    protocol: str,
    parameters: dict[str, str],
    fallbacks: tuple[Fallback, ...],
    access: Access,
    recordings: Path | None,
    keep_days: float | None,
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
    workers: int,
    worker_channel: int | None,
    output: Output,
    control: ControlPlane,
    callable_targets: tuple[Any, ...],
    show_digits: bool,
) -> None:
    """Answer calls and carry their sound to and from a WebSocket, one for each call.

    In the protocol "raw", binary messages are PCM, signed 16-bit little-endian mono, 20 ms each.
    The first message is JSON text with the caller and the sample rate. The other protocols are
    those of telephone services: a bot that was written for one of them runs unchanged. See
    docs/bots.md.

    When the call or the WebSocket ends, so does the other. If the WebSocket cannot be opened, the
    call is rejected, usually with 503 (see docs/bots.md), unless there is a fallback.

    With --api, calls are placed over HTTP as well, and carried in the same way once they are
    answered.

    Calls are accepted from the account's registrar, and from the callers that --allow lists or, by
    default, from this machine.
    """
    if listen is None and account is None:
        raise click.UsageError("give --listen HOST:PORT, or --account, or both")
    if keep_days is not None and recordings is None:
        raise click.UsageError("--keep-recordings needs --recordings DIRECTORY")
    if bot_answers and not can_answer(protocol):
        raise click.UsageError(
            f"--bot-answers needs a protocol in which bots can answer calls: {protocol} has no "
            "message for that; raw, asterisk and asterisk-text have"
        )
    if rate is not None and rate % 50:
        raise click.BadParameter("20 ms must be a whole number of samples", param_hint="--rate")
    twilio = answer_url is not None or (control.address is not None and protocol == "twilio")
    if twilio:
        with bridge_extra("--answer-url" if answer_url else "--api"):
            from spech.bridge.twilio.application import open_application
            from spech.bridge.twilio.course import script_of

    @asynccontextmanager
    async def open_bridge(
        report: CallListener, on_barge_in: Callable[[float], None] | None
    ) -> AsyncIterator[tuple[Bridge, Application | None]]:
        async with AsyncExitStack() as stack:
            application = script = None
            if twilio:
                application = await stack.enter_async_context(open_application(access))
                if answer_url is not None:
                    script = script_of(application, answer_url)
            bridge = Bridge(
                routes,
                access=access,
                protocol=protocol,
                rate=rate,
                parameters=parameters,
                fallbacks=fallbacks,
                recordings=None if recordings is None else RecordingStore(recordings, keep_days),
                tap=tap,
                bot_answers=bot_answers,
                low_latency=ear == "low-latency",
                max_calls=max_calls,
                callable_targets=callable_targets or None,
                script=script,
                show_digits=show_digits,
                report=report,
                on_barge_in=on_barge_in,
            )
            yield bridge, application

    setup = BridgeSetup(
        account,
        listen,
        codec_names or DEFAULT,
        stun,
        callers,
        max_calls,
        drain,
        control,
        output,
        open_bridge,
    )
    if worker_channel is not None:
        run_worker(setup, worker_channel)
        return

    async def main() -> None:
        async with control.watching(access) as note:

            def report(record: CallRecord) -> None:
                if record.state == "ended":
                    fields = msgspec.to_builtins(record)
                    output.result(record.summary, event="ended", **fields)
                note(record)

            if workers > 1:
                await serve_front(setup, workers, report)
            else:
                await serve_alone(setup, report)

    run_server(main)
