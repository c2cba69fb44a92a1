"""Tries an account before it is stored: a check-up with a phone of its own.

The administrator sees each step while it happens. Other people learn only what a SIP server has
answered. A closed port, a silent one and a server of another kind look the same to them and take
the same time: otherwise they could scan the ports of the machines that this one reaches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, cast

import trio

import spech
from spech.errors import SpechError
from spech.phone.checkup import Step, open_checkup
from spech.sip.transaction.flow import TransportName
from spech.web.messages.command import Refused
from spech.web.store import StoredAccount
from spech.web.texts import first_of

#: Seconds for the answer to REGISTER, and for the one to OPTIONS.
PATIENCE: Final = 4.0
#: The longest wait for the answer to REGISTER where steps are withheld, and the time until such a
#: failure is told: the phone that has sent the REGISTER is closed by then.
TRIAL_SECONDS = 3.8
TOLD_AFTER = 1.0

_CHECK = "Check the server, the port and the network."
#: The codes of failed steps, besides the registration's.
_CODES: Final = {
    "name": "unknown_host",
    "connection": "server_silent",
    "certificate": "untrusted",
}

#: Is told each step of a check-up.
StepReport = Callable[[Step], None]


def library_account(account: StoredAccount) -> spech.Account:
    """The account as the library takes it."""
    return spech.Account(
        account.address,
        password=account.password or None,
        transport=cast(TransportName, account.transport),
        encryption=account.encryption,
        auth_user=account.auth_user or None,
        display_name=account.display_name or None,
        proxy=account.proxy_uri,
        numbers=account.number_rules,
    )


async def try_account(
    account: StoredAccount, host: str, report: StepReport | None = None, *, discreet: bool = False
) -> None:
    """Register with the account once, from any port of the local address ``host``.

    Args:
        account: what is tried.
        host: the local address.
        report: is told the steps.
        discreet: tell only what a SIP server has answered.

    Raises:
        Refused: ``wrong_password``, ``unknown_host``, ``server_silent``, ``untrusted`` or
            ``refused``, in words.
    """
    silent = Refused("server_silent", f"{account.server} does not answer.", _CHECK)
    verdict: Refused | None = silent
    withheld: list[Step] = []
    began = trio.current_time()
    try:
        with trio.move_on_after(TRIAL_SECONDS if discreet else math.inf):
            async with open_checkup(
                library_account(account),
                codecs=account.codecs,
                listen=(host, 0),
                patience=PATIENCE,
            ) as steps:
                async for step in steps:
                    withheld.append(step)
                    if discreet and not _is_an_answer(step):
                        continue
                    for each in withheld:
                        if report is not None:
                            report(each)
                    withheld.clear()
                    # A server that ignores OPTIONS can be used.
                    if step.name == "registration" or (not step.passed and step.name != "options"):
                        verdict = _verdict(step)
    except* (SpechError, OSError) as group:
        verdict = Refused("refused", "The account cannot be tried.", str(first_of(group)))
    if verdict is silent:
        await trio.sleep_until(began + TRIAL_SECONDS + TOLD_AFTER)
    if verdict is not None:
        raise verdict


def _is_an_answer(step: Step) -> bool:
    """Whether the step tells nothing about the network beyond what a SIP server has answered."""
    match step.name:
        case "name" | "options":
            return True
        case "registration":
            return step.passed or step.status is not None
    return False


def _verdict(step: Step) -> Refused | None:
    """What a step means for the account, None if it may be stored."""
    if step.passed:
        return None
    code = _CODES.get(step.name, "refused")
    if step.name == "registration":
        if step.status is None or step.status == 408:
            code = "server_silent"
        elif step.status in (401, 403, 407):
            code = "wrong_password"
    return Refused(code, step.text, step.advice)
