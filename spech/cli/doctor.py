"""``spech doctor``: proves an account's settings step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from spech import Account, SpechError, VaultError
from spech.cli.failure import Failure, reported, web_extra
from spech.cli.options import account_option, data_folder, data_option, verbose_option
from spech.cli.output import Output, json_option
from spech.phone.checkup import Step, open_checkup
from spech.phone.running import run

_UNSAVED: Final = "To check an account that is not saved: --account NAME|sip:USER@HOST[:PORT]"


@click.command(short_help="Check the settings of accounts step by step.")
@account_option
@data_option
@click.option(
    "--echo", metavar="NUMBER", help="Also call this echo test and check that a tone comes back."
)
@json_option
@verbose_option
@click.pass_context
def doctor(
    ctx: click.Context,
    account: Account | None,
    data: Path | None,
    echo: str | None,
    output: Output,
) -> None:
    """Check an account, or without --account all that are saved in the data folder.

    While `spech serve` uses the folder, it checks them itself, with its own registrations.

    Each step is printed as soon as it is decided: the server's name, the connection, the
    certificate (over TLS), the registration, OPTIONS, and the echo. A failed step says what to
    change, and ends the check of an account.

    Exit status: 0 all steps passed, 1 one failed, 2 wrong usage.
    """
    if account is not None and data is not None:
        raise click.UsageError("--account and --data exclude each other")
    report = _Report(output)
    with reported():
        if account is not None:
            _check([(account, ("PCMU", "PCMA"))], echo, report)
        else:
            _check_saved(data or data_folder(), echo, report)
    ctx.exit(0 if report.passed else 1)


class _Report:
    """Prints steps. ``passed`` says whether all passed so far."""

    def __init__(self, output: Output) -> None:
        self.passed = True
        self._output = output
        self._address = ""

    def begin(self, address: str) -> None:
        self._address = address
        if not self._output.as_json:
            self._output.console.print(address, markup=False)

    def add(self, step: Step) -> None:
        self.passed = self.passed and step.passed
        if self._output.as_json:
            self._output.result(
                "",
                account=self._address,
                name=step.name,
                passed=step.passed,
                text=step.text,
                advice=step.advice,
                status=step.status,
            )
            return
        console = self._output.console
        mark = "[green]ok    [/]" if step.passed else "[red]failed[/]"
        console.print(f"  {step.name:<13}{mark}  ", end="")
        console.print(step.text, markup=False)
        if step.advice:
            console.print(" " * 23 + step.advice, markup=False)


def _check(
    accounts: Sequence[tuple[Account, tuple[str, ...]]], echo: str | None, report: _Report
) -> None:
    """Check accounts, each with its codecs, with phones of our own."""

    async def main() -> bool:
        for account, codecs in accounts:
            report.begin(str(account.uri))
            async with open_checkup(account, echo=echo, codecs=codecs) as steps:
                async for step in steps:
                    report.add(step)
        return True

    if run(main) is None:
        raise click.Abort


def _check_saved(folder: Path, echo: str | None, report: _Report) -> None:
    with web_extra():
        from spech.web.admin import CheckAccount, Checked, ListAccounts, Listed, ask_server
        from spech.web.store import load_accounts
        from spech.web.trial import library_account

    replies = ask_server(folder, ListAccounts())
    try:
        saved = load_accounts(folder) if replies is None else ()
    except VaultError as error:
        raise Failure(str(error), _UNSAVED) from error
    listed = list(replies or ())
    if not saved and not listed:
        raise Failure(f"No account is saved in {folder}.", _UNSAVED)
    if saved:
        _check([(library_account(each), each.codecs) for _, each in saved], echo, report)
    for account in listed:
        assert isinstance(account, Listed)
        report.begin(account.address)
        steps = ask_server(folder, CheckAccount(account.id, echo, account.person))
        if steps is None:
            raise SpechError("The Spech server has ended.")
        for checked in steps:
            assert isinstance(checked, Checked)
            report.add(checked.step)
