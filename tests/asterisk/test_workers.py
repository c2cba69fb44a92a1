"""`spech bridge --workers 2` with an account at a real PBX."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from spech import Call, Phone, PortRange, open_phone
from spech.sip.transaction.flow import TransportName
from spech.testing.asterisk import Asterisk
from spech.testing.audio import sine
from spech.testing.dialplan import PASSWORD
from spech.testing.talk import hear_tone
from spech.testing.waiting import until

from ..bridge.asking import ask
from ..bridge.workers import WorkersBridge, udp_sockets, worker_processes, workers_bridge

PORTS = PortRange(34_900, 34_949)
RATE = 8000


@asynccontextmanager
async def bridge_at(
    pbx: Asterisk, data: Path, transport: TransportName = "udp"
) -> AsyncIterator[WorkersBridge]:
    """Two workers behind alice's account."""
    port = pbx.port + (transport == "tls")
    account = f"sip:alice@{pbx.host}:{port};transport={transport}"
    options = ("--account", account, "--listen", "127.0.0.1:0", "--rate", str(RATE))
    environment = {
        **os.environ,
        "SPECH_SIP_PASSWORD": PASSWORD,
        "XDG_DATA_HOME": str(data),
        "SSL_CERT_FILE": str(pbx.certificate_file),
    }
    async with workers_bridge(*options, environment=environment) as bridge:
        yield bridge


async def hear_echo(call: Call) -> None:
    with call.open_audio(RATE) as port:
        await hear_tone(port, 1000, say=sine(1000, RATE, 1))


@asynccontextmanager
async def bob_at(pbx: Asterisk) -> AsyncIterator[tuple[Phone, AsyncExitStack]]:
    async with (
        open_phone(pbx.account("bob"), listen=("127.0.0.1", 0), ports=PORTS) as phone,
        AsyncExitStack() as calls,
    ):
        yield phone, calls


async def place(phone: Phone, calls: AsyncExitStack) -> Call:
    call = await calls.enter_async_context(phone.call("alice"))
    await call.answered(timeout=5)
    return call


@pytest.mark.parametrize("transport", ["udp", "tls"])
async def test_calls_of_a_pbx_are_spread_and_carried(
    pbx: Asterisk, tmp_path: Path, transport: TransportName
) -> None:
    async with bridge_at(pbx, tmp_path, transport) as bridge, bob_at(pbx) as (bob, calls):
        up = [await place(bob, calls) for _ in range(4)]
        assert {udp_sockets(pid) for pid in worker_processes(bridge.process)} == {4}
        for call in up:
            await hear_echo(call)
        for record in await bridge.show("/v1/calls"):
            hang_up = f"{bridge.api}/v1/calls/{record['id']}/hangup"
            assert (await ask(hang_up, method="POST"))[0] == 204
        await until(lambda: all(call.ended_by == "remote" for call in up))


async def test_workers_call_a_pbx_that_asks_for_credentials(pbx: Asterisk, tmp_path: Path) -> None:
    pbx.command("dialplan set global codec alaw")
    async with bridge_at(pbx, tmp_path) as bridge:

        async def originate(to: str) -> str:
            status, body = await ask(f"{bridge.api}/v1/calls", {"to": to})
            assert status == 201, body
            return str(json.loads(body)["id"])

        async def order(call: str, what: str, body: object = None) -> None:
            answer = await ask(f"{bridge.api}/v1/calls/{call}/{what}", body, "POST")
            assert answer[0] == 204

        menu, tone = await originate("602"), await originate("610")
        await bridge.record(menu, state="answered")
        assert {udp_sockets(pid) for pid in worker_processes(bridge.process)} == {2}
        await order(menu, "dtmf", {"digits": "42#"})
        record = await bridge.record(menu, state="ended")
        assert (record["digits"], record["cause"]) == ("xx", "hangup")
        # The PBX has sent a re-INVITE meanwhile.
        await bridge.record(tone, state="answered", codec="PCMA")
        await order(tone, "hangup")
        await bridge.record(tone, state="ended")


async def test_a_restarted_worker_ends_the_calls_that_the_pbx_has(
    pbx: Asterisk, tmp_path: Path
) -> None:
    async with bridge_at(pbx, tmp_path) as bridge, bob_at(pbx) as (bob, calls):
        up = [await place(bob, calls) for _ in range(2)]
        for call in up:
            await hear_echo(call)
        os.kill(worker_processes(bridge.process)[0], signal.SIGKILL)
        await until(lambda: "ended" in [call.state for call in up], within=10)
        (alive,) = [call for call in up if call.state == "answered"]
        (dead,) = [call for call in up if call is not alive]
        assert dead.ended_by == "remote"
        await hear_echo(alive)
        await hear_echo(await place(bob, calls))
        states = [record["state"] for record in await bridge.show("/v1/calls")]
        assert sorted(states) == ["answered", "answered", "ended"]
