"""Tries an account before it is stored, with a real REGISTER from a phone of its own.

Only the answer of a SIP server is reported. A closed port, a silent one and a server of another
kind look the same and take the same time: otherwise a page could scan the ports of the machines
that this one reaches.
"""

from __future__ import annotations

import logging
from typing import Final, cast

import trio

import spech
from spech.errors import RegistrationFailed, ServerUnreachable, SpechError
from spech.sip.transaction.flow import TransportName
from spech.web.messages import Refused
from spech.web.store import StoredAccount
from spech.web.texts import first_of

#: The longest wait for the answer to a REGISTER, and for the phone that sent it to close: together
#: under the five seconds that a person is made to wait.
TRIAL_SECONDS = 4.3
TRIAL_DRAIN = 0.5

_CHECK = "Check the server, the port and the network."

_log: Final = logging.getLogger(__name__)


def library_account(account: StoredAccount) -> spech.Account:
    """The account as the library takes it."""
    return spech.Account(
        account.address,
        password=account.password,
        transport=cast(TransportName, account.transport),
        encryption=account.encryption,
    )


async def try_account(account: StoredAccount, host: str) -> None:
    """Register with the account once, from any port of the local address ``host``.

    Raises:
        Refused: ``wrong_password``, ``unknown_host``, ``server_silent`` or ``refused``, in words.
    """
    silent = Refused("server_silent", f"{account.server} does not answer.", _CHECK)
    verdict: Refused | None = silent
    until = trio.current_time() + TRIAL_SECONDS
    try:
        async with spech.open_phone(
            library_account(account),
            listen=(host, 0),
            codecs=account.codecs,
            drain=TRIAL_DRAIN,
        ) as phone:
            with trio.move_on_after(TRIAL_SECONDS):
                try:
                    await phone.registered()
                    verdict = None
                except RegistrationFailed as error:
                    if error.status != 408:
                        verdict = _registration_refused(error)
                except ServerUnreachable as error:
                    if error.unknown_host:
                        verdict = Refused(
                            "unknown_host",
                            f"There is no host named {account.server}.",
                            "Check the spelling of the server.",
                        )
                    else:
                        _log.info("the server of %s does not answer: %s", account.address, error)
    except* (SpechError, OSError) as group:
        verdict = Refused("refused", f"The account cannot be tried: {first_of(group)}.")
    if verdict is silent:
        await trio.sleep_until(until)
    if verdict is not None:
        raise verdict


def _registration_refused(error: RegistrationFailed) -> Refused:
    if error.status in (401, 403, 407):
        return Refused(
            "wrong_password",
            "The server does not accept this user and password.",
            "Check both; capitals matter.",
        )
    return Refused("refused", f"The server refused: {error.status} {error.reason}.")
