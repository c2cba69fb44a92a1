"""The farewells of calls that a killed process left in its journal."""

from __future__ import annotations

import logging
from functools import partial
from typing import Final

import trio

from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.phone.binding import AccountBinding
from spech.phone.dialling import Dialling
from spech.phone.journal import Journal
from spech.sip.call.leftover import LeftoverCall
from spech.sip.endpoint import Endpoint

_log: Final = logging.getLogger(__name__)

#: Seconds for which the farewells wait for the registration.
_REGISTER_FIRST: Final = 2.0


async def take_over(
    journal: Journal, endpoint: Endpoint, dialling: Dialling, binding: AccountBinding | None
) -> None:
    """Send the farewells of the calls that a killed process left.

    Wait a short time for the registration: it opens the connection, and makes known the server
    that the account's credentials may be sent to. A phone that is closed meanwhile sends them at
    once.
    """
    if not journal.left:
        return
    _log.warning("sending farewells for %d calls of a killed process", len(journal.left))
    try:
        with trio.move_on_after(_REGISTER_FIRST):
            while binding is not None and binding.status.state == "registering":
                await binding.changed()
            await dialling.trust_server()
    finally:
        _send(journal, endpoint, dialling)


def _send(journal: Journal, endpoint: Endpoint, dialling: Dialling) -> None:
    for key, record in journal.left.items():
        with endpoint.command() as (agent, now):
            try:
                LeftoverCall(
                    agent,
                    record,
                    dialling.caller(None, endpoint.address),
                    endpoint.present,
                    now,
                    partial(journal.forget, key),
                    endpoint.lives,
                )
            except (RemoteProtocolError, LocalProtocolError) as error:
                _log.warning("skipped a call in the journal: %s", error)
                journal.write(key, None)
