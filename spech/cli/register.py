"""``spech register``: proves that an account can be registered."""

from __future__ import annotations

from dataclasses import replace

import click
import trio

from spech import Account, Phone, RegistrationFailed, ServerUnreachable, open_phone
from spech.cli.failure import REGISTRATION_SECONDS, reported
from spech.cli.options import own_account_option, stun_option
from spech.cli.output import Output, output_options
from spech.phone.running import run


@click.command(short_help="Register an account, and stay registered with --keep.")
@own_account_option
@stun_option
@click.option("--keep", is_flag=True, help="Stay registered until Ctrl-C, and print each change.")
@click.option(
    "--expires",
    type=click.IntRange(min=1),
    metavar="SECONDS",
    help="The lifetime to request.  [default: 300]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=REGISTRATION_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="Give up after this many seconds without an answer.",
)
@output_options
@click.pass_context
def register(
    ctx: click.Context,
    account: Account | None,
    stun: str | None,
    keep: bool,
    expires: int | None,
    timeout: float,
    output: Output,
) -> None:
    """Register the account, print how it went, and remove the registration.

    `spech doctor` says more about an account that cannot be registered.

    Exit status: 0 registered, 2 wrong usage, 3 refused, or no answer.
    """
    if account is None:
        raise click.UsageError("give --account", ctx)
    if expires is not None:
        account = replace(account, expires=expires)

    async def main() -> None:
        async with open_phone(account, stun=stun) as phone:
            began = trio.current_time()
            try:
                await phone.registered(timeout)
            except (RegistrationFailed, ServerUnreachable) as error:
                status = getattr(error, "status", None)
                output.result("", event="failed", status=status, reason=str(error))
                raise
            _tell(phone, account, 1000.0 * (trio.current_time() - began), output)
            while keep:
                await phone.registration_changed()
                _tell(phone, account, None, output)

    with reported():
        run(main)


def _tell(phone: Phone, account: Account, took_ms: float | None, output: Output) -> None:
    """Print the present state of the registration."""
    found = phone.registration
    if found.state == "registered" and found.expires_at is not None:
        lifetime = round(found.expires_at - trio.current_time())
        took = "" if took_ms is None else f", after {took_ms:.0f} ms"
        output.result(
            f"registered as {account.address} for {lifetime} s{took}",
            event="registered",
            account=account.address,
            expires_s=lifetime,
            took_ms=None if took_ms is None else round(took_ms, 1),
        )
    elif found.state == "failed":
        why = " ".join(str(part) for part in (found.status, found.reason) if part)
        output.result(f"lost: {why}", event="failed", status=found.status, reason=found.reason)
