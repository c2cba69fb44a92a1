"""Wrong arguments raise errors that say what is expected."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from spech import Account, LocalProtocolError, PortRange, open_phone


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"account": "sip:a@b"}, TypeError, r"must be an Account, such as Account\('sip:a@b'\)"),
        ({"listen": "127.0.0.1"}, TypeError, r'\("127.0.0.1", 5060\), not'),
        ({"listen": ("127.0.0.1", "5060")}, TypeError, "a host and a port"),
        ({"listen": ("127.0.0.1", 70_000)}, LocalProtocolError, "0 to 65535, not 70000"),
        ({"ports": (1, 2)}, TypeError, r"such as PortRange\(10000, 19999\)"),
    ],
)
async def test_wrong_arguments_of_a_phone_are_refused(
    arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        async with open_phone(**arguments):
            pass


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"event": "mwi"}, "one of message-summary, dialog, presence, not 'mwi'"),
        ({"expires": -5}, "at least one second, not -5"),
        ({"expires": 0}, "at least one second"),
    ],
)
async def test_wrong_arguments_of_a_subscription_are_refused(
    arguments: dict[str, Any], says: str
) -> None:
    async with open_phone(listen=("127.0.0.1", 0), ports=PortRange(37_600, 37_609)) as phone:
        with pytest.raises(LocalProtocolError, match=says):
            async with phone.subscribe("sip:a@127.0.0.1", **arguments):
                pass


def test_an_account_needs_no_scheme() -> None:
    assert Account("alice@example.org:5070").address == "sip:alice@example.org:5070"
    assert str(Account("alice@example.org").uri) == "sip:alice@example.org"


@pytest.mark.parametrize("address", ["example.org", "tel:110", "@example.org", ""])
def test_an_account_needs_user_and_host(address: str) -> None:
    with pytest.raises(LocalProtocolError):
        Account(address)


def test_an_account_needs_a_positive_expiry() -> None:
    with pytest.raises(LocalProtocolError, match="at least one second, not -5"):
        Account("alice@example.org", expires=-5)


def test_a_phone_under_asyncio_raises_a_clear_error() -> None:
    async def main() -> None:
        async with open_phone():
            pass

    # In a separate thread, because asyncio may be running in this one.
    with ThreadPoolExecutor() as threads, pytest.raises(RuntimeError, match=r"spech.run\(main\)"):
        threads.submit(lambda: asyncio.run(main())).result()
