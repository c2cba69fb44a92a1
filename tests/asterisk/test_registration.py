"""Registering at a real PBX."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import trio

from spech import Account, PortRange, RegistrationFailed, TlsSettings, open_phone
from spech.testing.asterisk import Asterisk
from spech.testing.audio import assert_tone, sine
from spech.testing.talk import talk


async def test_registration_succeeds_and_is_removed_on_exit(
    account: Account, pbx: Asterisk, ports: PortRange
) -> None:
    async with open_phone(account, listen=("127.0.0.1", 0), ports=ports) as phone:
        await phone.registered(timeout=5)
        assert phone.registration.state == "registered"
        assert phone.registration.status == 200
        host, port = phone.address
        assert f"sip:alice@{host}:{port}" in pbx.command("pjsip show aor alice")
    assert "sip:alice@" not in pbx.command("pjsip show aor alice")


@pytest.mark.parametrize(("transport", "above"), [("tcp", 0), ("tls", 1), ("ws", 2)])
async def test_calls_in_both_directions_use_one_connection(
    account: Account, pbx: Asterisk, ports: PortRange, transport: Any, above: int
) -> None:
    """Asterisk binds us to the connection, and sends its calls on it."""
    carried = dataclasses.replace(
        account,
        address=f"sip:alice@{pbx.host}:{pbx.port + above}",
        transport=transport,
        tls=TlsSettings(ca_file=pbx.certificate_file),
    )
    async with open_phone(carried, listen=("127.0.0.1", 0), ports=ports) as phone:
        await phone.registered(timeout=5)
        assert f"transport={transport}" in pbx.command("pjsip show aor alice").lower()
        async with phone.call("600") as call:
            await call.answered(timeout=5)
            with call.open_audio(8000) as port:
                heard = await talk(port, sine(700, 8000, 1, level=-18), 2)
            assert_tone(heard[-8000:], 8000, 700, tolerance=1)
        calls = phone.incoming_calls()
        pbx.originate("alice", "Echo")
        with trio.fail_after(5):
            async with (await anext(calls)).answer() as call:
                await trio.sleep(0.2)
                assert call.state == "answered"
    assert "sip:alice@" not in pbx.command("pjsip show aor alice")


async def test_a_wrong_password_is_refused(account: Account, ports: PortRange) -> None:
    wrong = dataclasses.replace(account, password="guessed")
    async with open_phone(wrong, listen=("127.0.0.1", 0), ports=ports) as phone:
        with pytest.raises(RegistrationFailed) as refused:
            await phone.registered(timeout=5)
        assert refused.value.status in (401, 403)
        assert phone.registration.state == "failed"


async def test_a_short_expiry_is_raised_to_the_registrars_minimum(
    account: Account, pbx: Asterisk, ports: PortRange
) -> None:
    """Asterisk answers 423 with Min-Expires 10 (RFC 3261 section 10.2.8)."""
    short = dataclasses.replace(account, expires=5)
    async with open_phone(short, listen=("127.0.0.1", 0), ports=ports) as phone:
        await phone.registered(timeout=5)
        assert phone.registration.state == "registered"
