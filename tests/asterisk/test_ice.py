"""Calls with ICE to and from a real PBX, with measurements of their sound."""

from __future__ import annotations

import pytest

from spech import Account, Call, PortRange, open_phone
from spech.agreement import RTCP, RTP
from spech.rtp.ice import IceState
from spech.testing.asterisk import Asterisk
from spech.testing.audio import sine
from spech.testing.dialplan import PASSWORD
from spech.testing.stun import open_stun_server
from spech.testing.talk import hear_tone
from spech.testing.waiting import first, until

from ..inside import stream_of

RATE = 8000
SAID = sine(700, RATE, 1, level=-18)


def account(pbx: Asterisk, user: str) -> Account:
    return Account(
        f"sip:{user}@{pbx.domain}",
        password=PASSWORD,
        encryption="dtls" if user == "all" else "off",
    )


def check(call: Call, *, muxed: bool = False) -> None:
    agent = stream_of(call).ice
    assert agent is not None
    assert agent.state is IceState.CONNECTED
    assert agent.destination(RTP) is not None
    assert (agent.destination(RTCP) is None) is muxed
    assert call.statistics.dropped_foreign == 0


@pytest.mark.parametrize("user", ["ice", "all"])
async def test_the_echo_works_in_a_call_with_ice(
    pbx: Asterisk, ports: PortRange, user: str
) -> None:
    ours = account(pbx, user)
    async with (
        open_stun_server() as server,
        open_phone(ours, listen=("127.0.0.1", 0), ports=ports, stun=server.uri) as phone,
    ):
        await phone.registered(timeout=5)
        async with phone.call("600") as call:
            await call.answered(timeout=5)
            with call.open_audio(RATE) as port:
                await hear_tone(port, 700, say=SAID, level=-18)
            check(call, muxed=user == "all")
            await until(lambda: call.statistics.round_trip_ms is not None, within=12)
    assert call.statistics.lost == 0


@pytest.mark.parametrize("ice", [None, True], ids=["lite", "full"])
@pytest.mark.parametrize("user", ["ice", "all"])
async def test_a_call_from_asterisk_uses_ice(
    pbx: Asterisk, ports: PortRange, user: str, ice: bool | None
) -> None:
    ours = account(pbx, user)
    async with open_phone(ours, listen=("127.0.0.1", 0), ports=ports, ice=ice) as phone:
        await phone.registered(timeout=5)
        arrivals = (
            phone.incoming_calls()
        )  # Before the command, because the call may arrive at once.
        pbx.originate(user, "Echo")
        incoming = await first(arrivals)
        async with incoming.answer() as call:
            with call.open_audio(RATE) as port:
                await hear_tone(port, 700, say=SAID, level=-18)
            check(call, muxed=user == "all")


async def test_hold_and_resume_keep_ice(pbx: Asterisk, ports: PortRange) -> None:
    ours = account(pbx, "ice")
    async with open_phone(ours, listen=("127.0.0.1", 0), ports=ports, ice=True) as phone:
        await phone.registered(timeout=5)
        async with phone.call("600") as call:
            await call.answered(timeout=5)
            with call.open_audio(RATE) as port:
                await hear_tone(port, 700, say=SAID, level=-18)
                call.hold()
                call.resume()
                await hear_tone(port, 700, say=SAID, level=-18)
            check(call)


async def test_a_call_with_a_pbx_without_ice_works(pbx: Asterisk, ports: PortRange) -> None:
    ours = account(pbx, "alice")
    async with open_phone(ours, listen=("127.0.0.1", 0), ports=ports, ice=True) as phone:
        await phone.registered(timeout=5)
        async with phone.call("600") as call:
            await call.answered(timeout=5)
            with call.open_audio(RATE) as port:
                await hear_tone(port, 700, say=SAID, level=-18)
            assert stream_of(call).ice is None
