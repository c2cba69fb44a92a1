"""Calls that go on when this machine comes into another network."""

from __future__ import annotations

import ipaddress
import logging
import random
from collections.abc import Callable, Iterable
from typing import Final

import trio

from spech.errors import PortsExhausted
from spech.phone.call import Call
from spech.rtp.ports import PortRange, lease
from spech.sip.endpoint import Endpoint

_log: Final = logging.getLogger(__name__)
#: Seconds between two looks at our addresses.
_LOOK_AROUND: Final = 5.0


async def roam(
    endpoint: Endpoint, calls: Callable[[], Iterable[Call]], ports: PortRange, rng: random.Random
) -> None:
    """Tell the far end of each call that is up where we are now, by re-INVITE, until cancelled."""
    while True:
        await trio.sleep(_LOOK_AROUND)
        for call in tuple(calls()):
            dialog = call.session.dialog
            if not call.session.is_up or dialog is None or not endpoint.moved(dialog.flow):
                continue
            before, here = dialog.flow.local[0], endpoint.present(dialog.flow).local[0]
            # No network at all looks like this one; the next one will come.
            lost = ipaddress.ip_address(here).is_loopback
            if lost and not ipaddress.ip_address(before).is_loopback:
                continue
            try:
                call.move(here, lease(here, ports, rng))
            except (OSError, PortsExhausted) as error:
                _log.warning("call %s stays where it was: %s", call.call_id, error)
