"""Encrypted calls to and from a real PBX: sound in both directions, and no plain RTP."""

from __future__ import annotations

import pytest

from spech import Account, CallFailed, PortRange, TlsSettings, open_phone
from spech.testing.asterisk import Asterisk
from spech.testing.audio import sine
from spech.testing.dialplan import PASSWORD
from spech.testing.talk import hear_tone, listen, talk
from spech.testing.waiting import first, until

from ..inside import begin_at, rtp_of, sequence_of

RATE = 8000
SAID = sine(700, RATE, 1, level=-18)


def account(pbx: Asterisk, user: str, encryption: str, *, tls: bool = False) -> Account:
    return Account(
        f"sip:{user}@{pbx.host}:{pbx.port + tls}",
        password=PASSWORD,
        transport="tls" if tls else "udp",
        tls=TlsSettings(ca_file=pbx.certificate_file) if tls else TlsSettings(),
        encryption=encryption,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("user", "encryption", "tls"),
    [
        ("sdes", "sdes", False),
        ("sdes", "required", True),
        ("sdes", "optional", False),
        ("dtls", "dtls", False),
        ("dtls", "required", False),
    ],
)
async def test_the_echo_works_in_an_encrypted_call(
    pbx: Asterisk, ports: PortRange, user: str, encryption: str, tls: bool
) -> None:
    ours = account(pbx, user, encryption, tls=tls)
    async with open_phone(ours, listen=("127.0.0.1", 0), ports=ports) as phone:
        await phone.registered(timeout=5)
        async with phone.call("600") as call:
            await call.answered(timeout=5)
            with call.open_audio(RATE) as port:
                await hear_tone(port, 700, say=SAID, level=-18)
            assert call.encrypted == user.upper()
            counted = call.statistics
    assert counted.lost == counted.dropped_unauthentic == counted.dropped_replayed == 0


@pytest.mark.parametrize("user", ["sdes", "dtls"])
async def test_an_encrypted_call_from_asterisk_is_answered(
    pbx: Asterisk, ports: PortRange, user: str
) -> None:
    """The policy "off" accepts encryption that the offer requires."""
    ours = account(pbx, user, "off")
    async with open_phone(ours, listen=("127.0.0.1", 0), ports=ports) as phone:
        await phone.registered(timeout=5)
        arrivals = (
            phone.incoming_calls()
        )  # Before the command, because the call may arrive at once.
        pbx.originate(user, "Milliwatt")
        incoming = await first(arrivals)
        async with incoming.answer() as call:
            with call.open_audio(RATE) as port:
                await hear_tone(port, 1004)
                assert call.encrypted == user.upper()
                call.hold()
                await until(lambda: call.ladder().count("200 OK (INVITE)") == 2)
                call.resume()
                await until(lambda: call.ladder().count("200 OK (INVITE)") == 3)
                await listen(port, 0.5)
                await hear_tone(port, 1004)
            assert call.encrypted == user.upper()


@pytest.mark.parametrize("user", ["sdes", "dtls"])
async def test_the_rollover_counter_survives_a_hold(
    pbx: Asterisk, ports: PortRange, user: str
) -> None:
    async with open_phone(account(pbx, user, user), listen=("127.0.0.1", 0), ports=ports) as phone:
        await phone.registered(timeout=5)
        async with phone.call("600") as call:
            begin_at(rtp_of(call), 65_500)
            await call.answered(timeout=5)
            with call.open_audio(RATE) as port:
                await hear_tone(port, 700, say=SAID, level=-18)
                await talk(port, SAID, 0.5)
                assert sequence_of(rtp_of(call)) < 1000
                call.hold()
                await until(lambda: call.ladder().count("200 OK (INVITE)") == 2)
                call.resume()
                await until(lambda: call.ladder().count("200 OK (INVITE)") == 3)
                await hear_tone(port, 700, say=SAID, level=-18)
            assert call.statistics.dropped_unauthentic == 0


async def test_optional_encryption_falls_back_to_an_unencrypted_call(
    pbx: Asterisk, ports: PortRange
) -> None:
    ours = account(pbx, "alice", "optional")
    async with open_phone(ours, listen=("127.0.0.1", 0), ports=ports) as phone:
        await phone.registered(timeout=5)
        async with phone.call("600") as call:
            await call.answered(timeout=5)
            with call.open_audio(RATE) as port:
                await hear_tone(port, 700, say=SAID, level=-18)
            assert call.encrypted is None


@pytest.mark.parametrize("encryption", ["sdes", "dtls"])
async def test_required_encryption_fails_if_the_peer_has_none(
    pbx: Asterisk, ports: PortRange, encryption: str
) -> None:
    ours = account(pbx, "alice", encryption)
    async with open_phone(ours, listen=("127.0.0.1", 0), ports=ports) as phone:
        await phone.registered(timeout=5)
        async with phone.call("600") as call:
            with pytest.raises(CallFailed) as failed:
                await call.answered(timeout=5)
            assert failed.value.status == 488
