"""Through a proxy that records its route, by any transport: Kamailio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
import trio

from spech import Account, CallEnded, IncomingCall, Phone, PortRange, open_phone
from spech.testing import kamailio
from spech.testing.audio import assert_tone, sine
from spech.testing.plugin import unavailable
from spech.testing.talk import talk

PORT = 38_900
PORTS = PortRange(38_200, 38_299)
RATE = 8000


@pytest.fixture(scope="module", autouse=True)
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if not kamailio.available():
        unavailable("asterisk", "Kamailio is not installed; `make test` does it")
    with kamailio.running(tmp_path_factory.mktemp("kamailio"), PORT):
        yield


def account(user: str, transport: str) -> Account:
    return Account(f"sip:{user}@127.0.0.1:{PORT}", transport=transport)


async def echo(phone: Phone) -> None:
    async def serve(incoming: IncomingCall) -> None:
        async with incoming.answer() as call:
            with suppress(CallEnded), call.open_audio(RATE) as port:
                async for frame in port:
                    port.send(frame)

    async with trio.open_nursery() as nursery:
        async for incoming in phone.incoming_calls():
            nursery.start_soon(serve, incoming)


@pytest.mark.parametrize(
    ("ours", "theirs"), [("udp", "tcp"), ("tcp", "ws"), ("ws", "udp"), ("ws", "ws")]
)
async def test_a_call_across_transports(ours: str, theirs: str) -> None:
    async with (
        open_phone(account("bob", theirs), listen=("127.0.0.1", 0), ports=PORTS) as bob,
        open_phone(account("alice", ours), listen=("127.0.0.1", 0), ports=PORTS) as alice,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(echo, bob)
        await bob.registered(timeout=5)
        await alice.registered(timeout=5)
        async with alice.call("bob") as call:
            await call.answered(timeout=5)
            with call.open_audio(RATE) as port:
                heard = await talk(port, sine(700, RATE, 1, level=-18), 2)
            assert_tone(heard[-RATE:], RATE, 700, tolerance=1)
        with trio.fail_after(5):
            while bob.active_calls:  # noqa: ASYNC110 - Nobody tells of the other phone's end.
                await trio.sleep(0.05)
        assert call.ended_by == "local"
        nursery.cancel_scope.cancel()
