"""``spech answer``: waits for one call and answers it."""

from __future__ import annotations

from dataclasses import dataclass

import click
import trio

from spech import Call, CallRules, IncomingCall, Phone, open_phone
from spech.cli.failure import Failure, reported
from spech.cli.options import allow_option, read_address
from spech.cli.output import Output, output_options
from spech.cli.plan import Plan, plan_options
from spech.cli.sound import converse
from spech.cli.telling import CallResult, told
from spech.codecs import DEFAULT
from spech.phone.running import run
from spech.sip.transaction.flow import host_port


@dataclass(frozen=True)
class Attendance:
    """Which call to answer, and when."""

    listen: tuple[str, int] | None = None
    callers: tuple[str, ...] | None = None
    ring: float = 0.0
    timeout: float | None = None


@click.command(short_help="Wait for a call and answer it: play, record, echo.")
@plan_options
@click.option(
    "--listen",
    metavar="HOST:PORT",
    callback=read_address,
    help="Accept a call that is sent to this address.",
)
@allow_option
@click.option(
    "--ring",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    metavar="SECONDS",
    help="Let it ring for this many seconds before the answer.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Give up if no call comes in this many seconds.  [default: wait forever]",
)
@output_options
@click.pass_context
def answer(
    ctx: click.Context,
    listen: tuple[str, int] | None,
    callers: tuple[str, ...],
    ring: float,
    timeout: float | None,
    plan: Plan,
    output: Output,
) -> None:
    """Wait for a call to the account or to --listen, answer it, and end with it.

    Callers who give up while it rings are not counted. Calls that come during the call get 486
    (busy). Calls are accepted from the account's registrar, and from the callers that --allow
    lists or, by default, from this machine.

    Exit status: 0 answered, 1 no call came, 2 wrong usage, 3 could not register.
    """
    if plan.account is None and listen is None:
        raise click.UsageError("give --account, or --listen HOST:PORT, or both", ctx)
    output = plan.messages(output)
    attendance = Attendance(listen, callers or None, ring, timeout)
    outcome = CallResult()
    try:
        with reported():
            run(lambda: take(attendance, plan, outcome, output))
    finally:
        outcome.print(output)
    if not outcome.answered:
        raise Failure("No call came.")


async def take(attendance: Attendance, plan: Plan, outcome: CallResult, output: Output) -> None:
    """Register, wait for a call, and fill in ``outcome``, however the call ends.

    Raises:
        RegistrationFailed, ServerUnreachable: registration failed, or the address to listen at
            cannot be used.
    """
    phone: Phone | None = None
    call: Call | None = None
    try:
        async with open_phone(
            plan.account,
            listen=attendance.listen or ("0.0.0.0", 0),
            codecs=plan.codecs or DEFAULT,
            rules=CallRules(call_waiting=False),
            callers=attendance.callers,
            stun=plan.stun,
            ice=plan.ice,
        ) as phone:
            await plan.register(phone, output)
            address = host_port(phone.address)
            output.tell(f"waiting for a call at {address}", event="waiting", address=address)
            incoming = None
            patience = float("inf") if attendance.timeout is None else attendance.timeout
            with trio.move_on_after(patience):
                incoming = await _next_call(phone, attendance.ring, output)
            if incoming is None:
                return
            async with incoming.answer(encryption=plan.encryption) as call:
                outcome.answered, outcome.status, outcome.reason = True, 200, "OK"
                async with told(call, outcome, output):
                    await converse(call, plan.sound)
    finally:
        if phone is not None:
            plan.keep_trace(phone, call)  # Includes the response to our BYE.


async def _next_call(phone: Phone, ring: float, output: Output) -> IncomingCall:
    """The first call that still rings after ``ring`` seconds."""
    async for incoming in phone.incoming_calls():
        caller = incoming.caller_number
        named = f"{incoming.display_name} ({caller})" if incoming.display_name else caller
        output.tell(
            f"{named} calls {incoming.called}",
            event="ringing",
            remote=caller,
            display_name=incoming.display_name,
            called=incoming.called,
        )
        with trio.move_on_after(ring):
            await incoming.ended()
        if not incoming.over:
            return incoming
        output.tell(f"{named} gave up", event="abandoned", remote=caller)
    raise AssertionError("incoming calls never end")
