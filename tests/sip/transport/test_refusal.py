"""ICMP errors of closed UDP ports."""

from __future__ import annotations

import socket
import sys

import pytest
import trio

from spech import Account, CallFailed, PortRange, open_phone
from spech.errors import ServerUnreachable
from spech.sip.message.message import Request, response_to
from spech.testing.wire import FakeWire

from ..conftest import Pair

PORTS = PortRange(38_300, 38_399)


def closed_port() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.mark.skipif(sys.platform != "linux", reason="the error queue is Linux's")
async def test_a_closed_port_ends_registration_and_call_without_waiting_for_timers() -> None:
    account = Account(f"sip:alice@127.0.0.1:{closed_port()}")
    async with open_phone(account, listen=("127.0.0.1", 0), ports=PORTS) as phone:
        with trio.fail_after(8):  # The timers of a transaction take 32 s.
            with pytest.raises(ServerUnreachable):
                await phone.registered()
            with pytest.raises(CallFailed):
                async with phone.call("bob") as call:
                    await call.answered()


def test_only_an_exact_quotation_of_a_request_without_a_response_ends_it() -> None:
    pair = Pair(FakeWire(seed=3), bob_agent=False)
    session = pair.call()
    pair.wire.run(0.1)
    sent = pair.bob.take("INVITE")
    data, remote = bytes(sent), pair.bob.address
    layer, now = pair.alice.agent.layer, pair.wire.now
    forged = data.replace(b"branch=z9hG4bK", b"branch=z9hG4bKx")
    cut = data[: data.index(b"branch=") + 12]
    for quoted, at in (
        (forged, remote),
        (cut, remote),
        (b"", remote),
        (b"\xff" * 100, remote),
        (data, (remote[0], remote[1] + 1)),
        (data, ("192.0.2.1", remote[1])),
    ):
        assert not layer.receive_refusal(quoted, at, now)
    assert not session.is_over
    # A router's quotation may end shortly after the first line.
    assert layer.receive_refusal(data[: data.index(b"\r\nMax-Forwards") + 2], remote, now)
    assert session.ended is not None
    assert session.ended.status == 503
    assert not layer.receive_refusal(data, remote, now)


def test_an_icmp_error_after_a_response_is_ignored() -> None:
    pair = Pair(FakeWire(seed=3), bob_agent=False)
    session = pair.call()
    pair.wire.run(0.1)
    sent = pair.bob.take("INVITE")
    assert isinstance(sent, Request)
    pair.bob.send(response_to(sent, 180, to_tag="b1"), pair.alice)
    pair.wire.run(0.1)
    layer = pair.alice.agent.layer
    assert not layer.receive_refusal(bytes(sent), pair.bob.address, pair.wire.now)
    assert not session.is_over
