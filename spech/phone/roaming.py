"""Keeps calls up when this machine moves to another network."""

from __future__ import annotations

import ipaddress
import logging
from typing import Final

import trio

from spech.errors import PortsExhausted
from spech.phone.calls import Calls

_log: Final = logging.getLogger(__name__)
#: Seconds between checks of our addresses.
_LOOK_AROUND: Final = 5.0


async def roam(calls: Calls) -> None:
    """Send our new address to the far end of each call, by re-INVITE, until cancelled."""
    endpoint = calls.endpoint
    while True:
        await trio.sleep(_LOOK_AROUND)
        for driver in calls.drivers:
            session, dialog = driver.session, driver.session.dialog
            if not session.is_up or dialog is None or not endpoint.moved(dialog.flow):
                continue
            before, here = dialog.flow.local[0], endpoint.present(dialog.flow).local[0]
            # Without a network there is only loopback; wait for the next network.
            lost = ipaddress.ip_address(here).is_loopback
            if lost and not ipaddress.ip_address(before).is_loopback:
                continue
            try:
                driver.move(here, calls.lease(here))
            except (OSError, PortsExhausted) as error:
                _log.warning("call %s keeps its old address: %s", session.call_id, error)
