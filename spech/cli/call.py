"""``spech call``: places one call from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import click

from spech import (
    Account,
    Call,
    CallFailed,
    LocalProtocolError,
    Phone,
    RegistrationFailed,
    ServerUnreachable,
    SpechError,
    open_phone,
)
from spech.cli.failure import Failure, Unreachable, credentials_hint
from spech.cli.options import read_pairs
from spech.cli.output import Output, output_options
from spech.cli.plan import Plan, plan_options
from spech.cli.sound import converse
from spech.cli.telling import CallResult, told
from spech.phone.dialling import caller_address, target_uri, without_headers
from spech.phone.fields import sendable
from spech.phone.running import run

#: Without a response: nothing came in time, or the network says that nobody is there.
_NO_ANSWER: Final = (408, 503)


@dataclass(frozen=True)
class Order:
    """Whom to call, and how the INVITE looks."""

    target: str
    caller: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0

    def check(self, account: Account | None) -> None:
        """Refuse what cannot be sent, before the account is registered.

        Raises:
            LocalProtocolError: the target, the caller or a header field is wrong.
        """
        without_headers(target_uri(self.target, account))
        if self.caller is not None:
            caller_address(self.caller, account)
        sendable(self.headers)


@click.command(short_help="Place a call: play, record, send digits.")
@click.argument("target")
@plan_options
@click.option("--no-register", is_flag=True, help="Call without registering first.")
@click.option(
    "--caller",
    metavar="[NAME] USER|SIP:…",
    help="Whom the call comes from, in place of the account: 1234, or 'Bob <sip:bob@example.org>'.",
)
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="NAME=VALUE",
    callback=read_pairs,
    help="A header field of the INVITE, such as X-Customer=42; can be repeated.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up after ringing for this many seconds.",
)
@output_options
@click.pass_context
def call(
    ctx: click.Context,
    target: str,
    no_register: bool,
    caller: str | None,
    headers: dict[str, str],
    timeout: float,
    plan: Plan,
    output: Output,
) -> None:
    """Call TARGET, a number at the account's server or a SIP address. Ctrl-C hangs up.

    Exit status: 0 answered, 1 not answered or failed, 2 wrong usage, 3 could not register or
    reach the server.
    """
    if plan.account is not None and no_register:
        plan = replace(plan, account=replace(plan.account, register=False))
    output = plan.messages(output)
    order = Order(target, caller, headers, timeout)
    outcome = CallResult(target)
    try:
        order.check(plan.account)
        run(lambda: place(order, plan, outcome, output))
        failure = None if outcome.answered else _why_not(outcome)
    except LocalProtocolError as error:
        raise click.UsageError(str(error), ctx) from error
    except (RegistrationFailed, ServerUnreachable) as error:
        outcome.reason = str(error)
        if isinstance(error, RegistrationFailed):
            outcome.status, outcome.reason = error.status, error.reason
        failure = Unreachable(error)
    except SpechError as error:
        failure = Failure(str(error))
    outcome.print(output)
    if failure is not None:
        raise failure


async def place(order: Order, plan: Plan, outcome: CallResult, output: Output) -> None:
    """Register, call, and fill in ``outcome``, however the call ends.

    Raises:
        RegistrationFailed, ServerUnreachable: registration failed, or the server cannot be
            reached.
        LocalProtocolError: the target is neither a number nor a SIP address.
    """
    phone: Phone | None = None
    call: Call | None = None
    try:
        async with open_phone(plan.account, stun=plan.stun, ice=plan.ice) as phone:
            await plan.register(phone, output)
            async with (
                phone.call(
                    order.target,
                    codecs=plan.codecs,
                    caller=order.caller,
                    headers=order.headers,
                    encryption=plan.encryption,
                ) as call,
                told(call, outcome, output),
            ):
                if await _is_answered(call, order, plan, outcome):
                    await converse(call, plan.sound)
    finally:
        if phone is not None:
            plan.keep_trace(phone, call)  # Includes the response to our BYE.


async def _is_answered(call: Call, order: Order, plan: Plan, outcome: CallResult) -> bool:
    """Whether the far end answers.

    Raises:
        ServerUnreachable: there is no response at all, and there was none to a registration.
    """
    try:
        await call.answered(timeout=order.timeout)
    except CallFailed as error:
        registered = plan.account is not None and plan.account.register
        if error.status in _NO_ANSWER and not registered and not call.headers:
            raise ServerUnreachable("The server does not answer.") from error
        outcome.status, outcome.reason = error.status, error.reason
        return False
    outcome.answered, outcome.status, outcome.reason = True, 200, "OK"
    return True


def _why_not(outcome: CallResult) -> Failure:
    if outcome.status is None:
        return Failure("Not answered: stopped before there was an answer.")
    hint = credentials_hint(outcome.status)
    return Failure(f"Not answered: {outcome.status} {outcome.reason}", hint)
