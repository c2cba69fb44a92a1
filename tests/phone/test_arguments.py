"""Wrong arguments raise errors that say what is expected."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from spech import Account, LocalProtocolError, PortRange, open_phone, run


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"account": "sip:a@b"}, TypeError, r"must be an Account, such as Account\('sip:a@b'\)"),
        ({"listen": "127.0.0.1"}, TypeError, r'\("127.0.0.1", 5060\), not'),
        ({"listen": ("127.0.0.1", "5060")}, TypeError, "a host and a port"),
        ({"listen": ("127.0.0.1", 70_000)}, LocalProtocolError, "0 to 65535, not 70000"),
        ({"ports": (1, 2)}, TypeError, r"such as PortRange\(10000, 19999\)"),
        ({"rules": {}}, TypeError, r"such as CallRules\(\), not {}"),
        ({"drain": -1.0}, LocalProtocolError, "from 0, not -1.0"),
        ({"codecs": "PCMU"}, TypeError, r"such as \['PCMU'\], not 'PCMU'"),
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


@pytest.mark.parametrize(
    ("target", "arguments", "error", "says"),
    [
        (600, {}, TypeError, 'such as "600", not 600'),
        ("", {}, LocalProtocolError, "'' is neither a number nor a name"),
        ("sip:a@127.0.0.1", {"caller": 5}, TypeError, 'such as "600", not 5'),
        ("sip:a@127.0.0.1", {"caller": "b:c@d"}, LocalProtocolError, "must not contain a password"),
        ("sip:a@127.0.0.1", {"headers": [("X-A", "b")]}, TypeError, "text by name"),
        ("sip:a@127.0.0.1", {"headers": {"X-A": 5}}, TypeError, r"not {'X-A': 5}"),
        ("sip:a@127.0.0.1", {"encryption": "yes"}, LocalProtocolError, "'yes': it is one of off"),
        ("sip:a@127.0.0.1", {"codecs": "PCMU"}, TypeError, r"such as \['PCMU'\]"),
    ],
)
async def test_wrong_arguments_of_a_call_are_refused(
    target: Any, arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    async with open_phone(listen=("127.0.0.1", 0), ports=PortRange(37_600, 37_609)) as phone:
        with pytest.raises(error, match=says):
            async with phone.call(target, **arguments):
                pass


async def test_a_message_must_be_text() -> None:
    async with open_phone(listen=("127.0.0.1", 0), ports=PortRange(37_600, 37_609)) as phone:
        with pytest.raises(TypeError, match="must be text, not int"):
            await phone.send_message("sip:a@127.0.0.1", cast(Any, 5))


@pytest.mark.parametrize("name", ["address", "password", "proxy"])
def test_an_account_is_made_of_text(name: str) -> None:
    given: dict[str, Any] = {"address": "sip:a@b", name: 5}
    with pytest.raises(TypeError, match=f"{name} must be text, not int"):
        Account(**given)


def test_ports_are_numbers() -> None:
    with pytest.raises(TypeError, match="not '1' and '2'"):
        PortRange(cast(Any, "1"), cast(Any, "2"))


def test_a_program_is_run_as_a_function() -> None:
    async def main() -> None:
        raise AssertionError

    with pytest.raises(TypeError, match=r"spech.run\(main\), not main\(\)"):
        run(cast(Any, main()))


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
