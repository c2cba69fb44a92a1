"""``spech call``: places one call from the command line."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import click
import trio
from rich.console import Console

from spech import (
    Account,
    Call,
    CallEnded,
    CallFailed,
    LocalProtocolError,
    MediaError,
    Phone,
    RegistrationFailed,
    ServerUnreachable,
    SpechError,
    open_phone,
)
from spech.audio.player import Player
from spech.audio.progress import TONES, ToneName, countries
from spech.cli.failure import REGISTRATION_SECONDS, Unreachable, explain
from spech.cli.options import (
    account_option,
    codec_option,
    encryption_option,
    ice_option,
    read_output,
    read_recording,
    stun_option,
    verbose_option,
)
from spech.cli.trace import write_private
from spech.phone.running import run
from spech.scopes import open_scope
from spech.sip.description.media_security import Policy

ANSWERED: Final = 0
NOT_ANSWERED: Final = 1

#: Seconds from the last sound to the BYE, which would cut off what is still in the far end's
#: jitter buffer.
_TAIL: Final = 0.3
_DIGITS: Final = re.compile(r"[0-9*#A-Da-d,pPwW]+")


@dataclass(frozen=True)
class Plan:
    """What to do in the call."""

    target: str
    account: Account | None
    codecs: tuple[str, ...] | None
    encryption: Policy
    stun: str | None
    ice: bool | None
    play: Path | None
    #: Country and name.
    tone: tuple[str, ToneName] | None
    record: Path | None
    stereo: bool
    dtmf: str | None
    duration: float | None
    timeout: float
    trace: Path | None


@dataclass
class CallResult:
    """The result of the call; the fields are the keys of ``--json``."""

    target: str
    answered: bool = False
    status: int | None = None
    reason: str = ""
    codec: str | None = None
    encrypted: str | None = None
    duration_s: float = 0.0
    ended_by: str | None = None
    rtp: dict[str, float] = field(
        default_factory=lambda: {"sent": 0, "received": 0, "lost": 0, "jitter_ms": 0.0}
    )
    quality: dict[str, float | None] = field(default_factory=dict)
    dtmf_received: str = ""
    #: The quality in one line; not a field, and so not a key of the JSON.
    summary = ""

    def copy_from(self, call: Call) -> None:
        """Copy the results of ``call``; called when it is over, or about to be."""
        self.codec = call.codec
        self.encrypted = call.encrypted
        self.duration_s = round(call.duration, 3)
        self.ended_by = call.ended_by or "local"
        self.dtmf_received = call.digits_received
        counted = call.statistics
        self.rtp = {
            "sent": counted.sent,
            "received": counted.received,
            "lost": counted.lost,
            "jitter_ms": round(counted.jitter_ms, 3),
        }
        self.quality = {
            "mos": _rounded(counted.mos_mean),
            "mos_worst": _rounded(counted.mos_worst),
            "mos_listening": _rounded(counted.mos_listening),
            "loss_percent": _rounded(counted.total_loss_percent),
            "round_trip_ms": _rounded(counted.round_trip_ms),
            "one_way_ms": _rounded(counted.one_way_ms),
            "remote_loss_percent": _rounded(counted.remote_loss_percent),
            "remote_mos": _rounded(counted.remote_mos),
        }
        self.summary = str(counted)


def read_tone(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[str, ToneName] | None:
    """Split ``[COUNTRY/]NAME`` into country and name."""
    if value is None:
        return None
    country, _, wanted = value.rpartition("/")
    name = next((tone for tone in TONES if tone == wanted), None)
    if name is None:
        raise click.BadParameter(f"one of {', '.join(TONES)}", ctx, param)
    if country and country.lower() not in countries():
        known = ", ".join(filter(None, countries()))
        raise click.BadParameter(f"the countries are {known}", ctx, param)
    return country, name


@click.command(short_help="Place a call: play, record, send digits.")
@click.argument("target")
@account_option
@click.option("--no-register", is_flag=True, help="Call without registering first.")
@codec_option
@encryption_option
@stun_option
@ice_option
@click.option(
    "--play",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Sound file to play; then hang up, unless --duration is longer.",
)
@click.option(
    "--tone",
    metavar="[COUNTRY/]NAME",
    callback=read_tone,
    help="Tone to play until the end: ringback, busy, congestion, waiting; see `spech tones`.",
)
@click.option(
    "--record",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=read_recording,
    help="File to record both sides into: .wav, or .opus.",
)
@click.option("--stereo", is_flag=True, help="Record us on the left and them on the right.")
@click.option(
    "--dtmf",
    metavar="DIGITS",
    help="Keys to press after the answer: 0-9 * # A-D; a comma pauses for 2 s, w for 0.5 s.",
)
@click.option(
    "--duration",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Hang up this many seconds after the answer.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up after ringing for this many seconds.",
)
@click.option(
    "--trace",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=read_output,
    help="Packet capture of the call's SIP messages to write, or of the registration's where that "
    "fails, for `spech trace` or Wireshark.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object about the call.")
@verbose_option
@click.pass_context
def call(
    ctx: click.Context,
    target: str,
    account: Account | None,
    no_register: bool,
    codec_names: tuple[str, ...] | None,
    encryption: Policy,
    stun: str | None,
    ice: bool | None,
    play: Path | None,
    tone: tuple[str, ToneName] | None,
    record: Path | None,
    stereo: bool,
    dtmf: str | None,
    duration: float | None,
    timeout: float,
    trace: Path | None,
    as_json: bool,
) -> None:
    """Call TARGET, a number at the account's server or a SIP address. Ctrl-C hangs up.

    Exit status: 0 answered, 1 not answered, 2 wrong usage, 3 could not register or reach the
    server.
    """
    if stereo and record is None:
        raise click.UsageError("--stereo needs --record FILE")
    if dtmf is not None and not _DIGITS.fullmatch(dtmf):
        raise click.BadParameter(
            "the keys are 0-9 * # A-D, and the pauses are , and w", param_hint="--dtmf"
        )
    if play is not None and not play.is_fifo():  # A pipe can be read only once.
        try:
            Player(play).close()
        except MediaError as error:
            raise click.BadParameter(str(error), param_hint="--play") from error
    if account is not None and no_register:
        account = replace(account, register=False)
    plan = Plan(
        target=target,
        account=account,
        codecs=codec_names,
        encryption=encryption,
        stun=stun,
        ice=ice,
        play=play,
        tone=tone,
        record=record,
        stereo=stereo,
        dtmf=dtmf,
        duration=duration,
        timeout=timeout,
        trace=trace,
    )
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    errors = Console(stderr=True, highlight=False, soft_wrap=True, style="red")
    outcome = CallResult(target)
    try:
        run(lambda: place(plan, outcome, console))
        status = ANSWERED if outcome.answered else NOT_ANSWERED
        if outcome.answered:
            console.print(_summary(outcome))
        else:
            errors.print(_why_not(outcome), markup=False)
    except LocalProtocolError as error:
        raise click.UsageError(str(error)) from error
    except (RegistrationFailed, ServerUnreachable) as error:
        status = Unreachable.exit_code
        outcome.reason = str(error)
        if isinstance(error, RegistrationFailed):
            outcome.status, outcome.reason = error.status, error.reason
        errors.print(explain(error), markup=False)
    except SpechError as error:
        status = ANSWERED if outcome.answered else NOT_ANSWERED
        errors.print(str(error), markup=False)
    if as_json:
        click.echo(json.dumps(asdict(outcome), ensure_ascii=False))
    ctx.exit(status)


async def place(plan: Plan, outcome: CallResult, console: Console) -> None:
    """Register, call, and fill in ``outcome``, however the call ends.

    Raises:
        RegistrationFailed, ServerUnreachable: registration failed, or the server cannot be
            reached.
        LocalProtocolError: the target is neither a number nor a SIP address.
    """
    heard: set[str] = set()
    phone: Phone | None = None
    call: Call | None = None
    try:
        async with open_phone(plan.account, stun=plan.stun, ice=plan.ice) as phone:
            if plan.account is not None and plan.account.register:
                await phone.registered(timeout=REGISTRATION_SECONDS)
                console.print(f"registered as {plan.account.address}", markup=False)
            async with phone.call(
                plan.target, codecs=plan.codecs, encryption=plan.encryption
            ) as call:
                try:
                    async with open_scope() as nursery:
                        nursery.start_soon(_report, call, heard, console)
                        await _converse(call, plan, outcome)
                        nursery.cancel_scope.cancel()
                finally:
                    outcome.copy_from(call)
    finally:
        if plan.trace is not None and phone is not None:  # Includes the response to our BYE.
            capture = phone.capture_registration() if call is None else call.capture()
            write_private(plan.trace, capture)
    registered = plan.account is not None and plan.account.register
    if not outcome.answered and outcome.status == 408 and not registered and heard == {"trying"}:
        raise ServerUnreachable("The server does not answer.")


async def _converse(call: Call, plan: Plan, outcome: CallResult) -> None:
    """Wait for the answer, then play, record and send digits as planned."""
    try:
        await call.answered(timeout=plan.timeout)
    except CallFailed as error:
        outcome.status, outcome.reason = error.status, error.reason
        return
    outcome.answered, outcome.status, outcome.reason = True, 200, "OK"
    until = trio.current_time() + (plan.duration or 0.0)
    try:
        if plan.record is not None:
            call.record(plan.record, stereo=plan.stereo)
        if plan.dtmf is not None:
            call.send_dtmf(plan.dtmf)
        if plan.play is not None:
            call.play(plan.play)
        if plan.tone is not None:
            country, name = plan.tone
            call.play_tone(name, country=country, seconds=plan.duration)
        async with open_scope() as nursery:

            async def watch() -> None:
                await call.ended()
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            await call.played()
            if plan.play is not None:
                await trio.sleep(_TAIL)
            if plan.play is None and plan.duration is None:
                await trio.sleep_forever()
            await trio.sleep_until(until)
            nursery.cancel_scope.cancel()
    except CallEnded:
        pass  # The far end hung up during playback.


async def _report(call: Call, heard: set[str], console: Console) -> None:
    """Print states and digits as they happen."""
    state, digits, encrypted = "", 0, None
    while True:
        if call.state != state:
            state = call.state
            if state != "ended":
                heard.add(state)
                codec = f", {call.codec}" if state == "answered" and call.codec else ""
                console.print(f"{call.remote}: {state}{codec}", markup=False)
        if call.encrypted != encrypted:
            encrypted = call.encrypted
            console.print(f"{call.remote}: encrypted, {encrypted}", markup=False)
        if len(call.digits_received) > digits:
            console.print(f"they pressed {call.digits_received[digits:]}", markup=False)
            digits = len(call.digits_received)
        await call.changed()


def _summary(outcome: CallResult) -> str:
    who = "they hung up" if outcome.ended_by == "remote" else "we hung up"
    rtp = outcome.rtp
    codec = f"{outcome.codec} encrypted" if outcome.encrypted else outcome.codec
    return (
        f"ended after {outcome.duration_s:.1f} s, {who}; {codec}, "
        f"packets sent {rtp['sent']}, received {rtp['received']}, lost {rtp['lost']}, "
        f"jitter {rtp['jitter_ms']:.1f} ms\n{outcome.summary}"
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _why_not(outcome: CallResult) -> str:
    if outcome.status is None:
        return "Not answered: stopped before there was an answer."
    return f"Not answered: {outcome.status} {outcome.reason}"
