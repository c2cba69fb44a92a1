"""Calls that go on when this machine comes into another network."""

from __future__ import annotations

import ipaddress
import logging
from typing import Final

import trio

from spech.errors import PortsExhausted
from spech.phone.calls import Calls

_log: Final = logging.getLogger(__name__)
#: Seconds between two looks at our addresses.
_LOOK_AROUND: Final = 5.0


async def roam(calls: Calls) -> None:
    """Tell the far end of each call that is up where we are now, by re-INVITE, until cancelled."""
    endpoint = calls.endpoint
    while True:
        await trio.sleep(_LOOK_AROUND)
        for driver in calls.drivers:
            session, dialog = driver.session, driver.session.dialog
            if not session.is_up or dialog is None or not endpoint.moved(dialog.flow):
                continue
            before, here = dialog.flow.local[0], endpoint.present(dialog.flow).local[0]
            # A machine without any network sees only loopback; the next network will come.
            lost = ipaddress.ip_address(here).is_loopback
            if lost and not ipaddress.ip_address(before).is_loopback:
                continue
            try:
                driver.move(here, calls.lease(here))
            except (OSError, PortsExhausted) as error:
                _log.warning("call %s stays where it was: %s", session.call_id, error)
