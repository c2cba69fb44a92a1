"""``spech ping``: asks a server again and again whether it is there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from statistics import fmean

import click
import trio

from spech import Account, Phone, RequestFailed, open_phone
from spech.cli.failure import Failure, reported
from spech.cli.options import own_account_option
from spech.cli.output import Output, output_options
from spech.phone.running import run


@dataclass
class Tally:
    """The answers so far: how long each took, in milliseconds."""

    sent: int = 0
    took_ms: list[float] = field(default_factory=list)

    def print(self, output: Output) -> None:
        """Print the summary."""
        answered = len(self.took_ms)
        lost = 100.0 * (self.sent - answered) / self.sent if self.sent else 0.0
        times = None
        text = f"{self.sent} sent, {answered} answered, {lost:.0f} % lost"
        if self.took_ms:
            times = min(self.took_ms), fmean(self.took_ms), max(self.took_ms)
            text += "; {:.1f} ms at least, {:.1f} ms on average, {:.1f} ms at most".format(*times)
        least, average, most = (None, None, None) if times is None else times
        output.result(
            text,
            event="summary",
            sent=self.sent,
            answered=answered,
            lost_percent=round(lost, 1),
            min_ms=_rounded(least),
            mean_ms=_rounded(average),
            max_ms=_rounded(most),
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


@click.command(short_help="Ask a server or a phone whether it is there (OPTIONS).")
@click.argument("target", required=False)
@own_account_option
@click.option(
    "-c",
    "--count",
    type=click.IntRange(min=1),
    metavar="N",
    help="Stop after this many requests.  [default: Ctrl-C stops it]",
)
@click.option(
    "-i",
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="From one request to the next.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for each answer.",
)
@output_options
@click.pass_context
def ping(
    ctx: click.Context,
    target: str | None,
    account: Account | None,
    count: int | None,
    interval: float,
    timeout: float,
    output: Output,
) -> None:
    """Send OPTIONS (RFC 3261 11) to TARGET, or to the account's server, and print the answers.

    Any answer counts, a refusal too. TARGET is a number at the account's server, or a SIP address
    such as sip:pbx.example.org. Nothing is registered.

    Exit status: 0 answered at least once, 1 never, 2 wrong usage, 3 the host is unknown.
    """
    own = None
    if account is not None:
        own = replace(account, register=False)
        target = target or str(replace(account.uri, user=None))
    if target is None:
        raise click.UsageError("give TARGET, or --account, or both", ctx)
    asked = target
    tally = Tally()

    async def main() -> None:
        # No farewell has to be confirmed.
        async with open_phone(own, drain=0.0) as phone:
            while True:
                due = trio.current_time() + interval
                await ask(phone, asked, timeout, tally, output)
                if tally.sent == count:
                    return
                await trio.sleep_until(due)

    with reported():
        run(main)
    tally.print(output)
    if not tally.took_ms:
        raise Failure("There was no answer.")


async def ask(phone: Phone, target: str, timeout: float, tally: Tally, output: Output) -> None:
    """Send one OPTIONS, and print and note its answer.

    Raises:
        ServerUnreachable: the host is unknown.
        LocalProtocolError: ``target`` is neither a number nor a SIP address.
    """
    tally.sent += 1
    number, began = tally.sent, trio.current_time()
    try:
        with trio.fail_after(timeout):
            found = await phone.options(target)
    except trio.TooSlowError:
        output.tell(f"{number}: no answer within {timeout:g} s", event="timeout", number=number)
        return
    except RequestFailed as error:  # The network says that nobody is there.
        output.tell(
            f"{number}: nobody is there",
            event="failed",
            number=number,
            status=error.status,
            reason=error.reason,
        )
        return
    took = 1000.0 * (trio.current_time() - began)
    tally.took_ms.append(took)
    output.tell(
        f"{number}: {found.status} {found.reason}, {took:.1f} ms",
        event="answer",
        number=number,
        status=found.status,
        reason=found.reason,
        took_ms=round(took, 3),
    )
