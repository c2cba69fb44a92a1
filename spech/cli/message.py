"""``spech message``: sends a text message."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import click
import trio

from spech import Account, RequestFailed, ServerUnreachable, open_phone
from spech.cli.failure import Failure, reported
from spech.cli.options import own_account_option, read_text
from spech.cli.output import Output, output_options
from spech.phone.running import run

#: What a server answers that keeps a message until the recipient can be reached (RFC 3428 7).
_ACCEPTED: Final = 202


@click.command(short_help="Send a text message.")
@click.argument("target")
@click.argument("text", default="-", callback=read_text)
@own_account_option
@click.option("--caller", metavar="[NAME] USER|SIP:…", help="Whom it comes from.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up after this many seconds without an answer.",
)
@output_options
@click.pass_context
def message(
    ctx: click.Context,
    target: str,
    text: str,
    account: Account | None,
    caller: str | None,
    timeout: float,
    output: Output,
) -> None:
    """Send TEXT, at most 900 bytes, to TARGET, and print whether it has arrived.

    Without TEXT, or with -, the text is read from standard input.

    Exit status: 0 it has arrived, or a server keeps it for later, 1 it was refused, 2 wrong usage,
    3 could not reach the server.
    """
    own = None if account is None else replace(account, register=False)

    async def main() -> int:
        async with open_phone(own, drain=0.0) as phone:
            with trio.move_on_after(timeout):
                return await phone.send_message(target, text, caller=caller)
        raise ServerUnreachable(f"{target} did not answer within {timeout:g} s.")

    with reported():
        try:
            status = run(main)
        except RequestFailed as error:
            if not error.answered:
                raise ServerUnreachable(f"{target} does not answer.") from error
            _print(output, target, error.status, error.reason)
            raise
    if status is None:
        raise Failure("Stopped before there was an answer.")
    _print(output, target, status, "")


def _print(output: Output, target: str, status: int | None, reason: str) -> None:
    """Print what became of the message; a refusal for programs only, because it is an error."""
    delivery = "accepted" if status == _ACCEPTED else "delivered"
    text = "accepted, to be delivered later" if status == _ACCEPTED else "delivered"
    if reason:
        delivery, text = "refused", ""
    output.result(
        text, event="message", target=target, delivery=delivery, status=status, reason=reason
    )
