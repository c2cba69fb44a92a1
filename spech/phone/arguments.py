"""Checks the arguments of a program, so that mistakes raise clear errors early."""

from __future__ import annotations

from typing import get_args

from spech.errors import LocalProtocolError
from spech.phone.account import Account
from spech.phone.correspondence import EventPackage
from spech.phone.rules import CallRules
from spech.rtp.ports import PortRange
from spech.scopes import require_trio


def check_phone(
    account: object, listen: object, ports: object, rules: object, drain: float
) -> None:
    """Check arguments of :func:`spech.open_phone`.

    Raises:
        TypeError: an argument has the wrong type.
        LocalProtocolError: the port is out of range, or the drain negative.
        RuntimeError: this is not a task of Trio.
    """
    require_trio()
    if account is not None and not isinstance(account, Account):
        raise TypeError(f"the account must be an Account, such as Account({account!r})")
    if not (
        isinstance(listen, tuple)
        and len(listen) == 2
        and isinstance(listen[0], str)
        and isinstance(listen[1], int)
    ):
        raise TypeError(f'listen must be a host and a port, ("127.0.0.1", 5060), not {listen!r}')
    if not 0 <= listen[1] <= 65535:
        raise LocalProtocolError(f"listen must name a port from 0 to 65535, not {listen[1]}")
    if not isinstance(ports, PortRange):
        raise TypeError(
            f"ports must be a PortRange, such as PortRange(10000, 19999), not {ports!r}"
        )
    if not isinstance(rules, CallRules):
        raise TypeError(f"rules must be CallRules, such as CallRules(), not {rules!r}")
    if drain < 0:
        raise LocalProtocolError(f"drain must be a number of seconds from 0, not {drain!r}")


def check_subscription(event: object, expires: object) -> None:
    """Check arguments of :meth:`spech.Phone.subscribe`.

    Raises:
        LocalProtocolError: ``event`` is not a known package, or ``expires`` is not a positive
            number of seconds.
    """
    packages = get_args(EventPackage)
    if event not in packages:
        raise LocalProtocolError(f"event must be one of {', '.join(packages)}, not {event!r}")
    if not isinstance(expires, int) or expires < 1:
        raise LocalProtocolError(f"expires must be at least one second, not {expires!r}")


def check_refusal(status: int) -> None:
    """Check the status that rejects a call or a transfer.

    A 1xx would not end the INVITE, a 2xx would answer it, and a 3xx needs a Contact.

    Raises:
        LocalProtocolError: ``status`` is not a failure from 400 to 699.
    """
    if not 400 <= status <= 699:
        raise LocalProtocolError(f"status must be a failure from 400 to 699, not {status!r}")
