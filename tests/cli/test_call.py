"""``spech call`` against a phone on loopback, in virtual time."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from spech import IncomingCall, PortRange, ServerUnreachable, open_phone
from spech.cli.call import Order, place
from spech.cli.output import Output
from spech.cli.plan import Plan
from spech.cli.telling import CallResult, told
from spech.testing.waiting import first

PORTS = PortRange(37_500, 37_509)
QUIET = Output(quiet=True)


async def test_the_caller_and_header_fields_are_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    outcome = CallResult()
    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as peer,
        trio.open_nursery() as nursery,
    ):
        calls = peer.incoming_calls()
        order = Order(
            f"sip:bob@127.0.0.1:{peer.address[1]}",
            caller='"Carol" <sip:carol@192.0.2.1>',
            headers={"X-Customer": "42"},
        )
        nursery.start_soon(place, order, Plan(), outcome, QUIET)
        incoming: IncomingCall = await first(calls)
        assert (incoming.caller_number, incoming.display_name) == ("carol", "Carol")
        assert ("X-Customer", "42") in incoming.headers
        incoming.reject(486)
    assert (outcome.answered, outcome.status, outcome.reason) == (False, 486, "Busy Here")


@pytest.mark.parametrize("rings", [True, False])
async def test_a_server_without_any_answer_is_told_from_a_call_that_nobody_takes(
    autojump_clock: trio.testing.MockClock, rings: bool
) -> None:
    outcome = CallResult()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with open_phone(listen=("127.0.0.1", 0), ports=PORTS) as peer:
            peer.incoming_calls()
            port = peer.address[1] if rings else silent.getsockname()[1]
            order = Order(f"sip:bob@127.0.0.1:{port}", timeout=10.0)
            if rings:
                await place(order, Plan(), outcome, QUIET)
                assert (outcome.answered, outcome.status) == (False, 408)
            else:
                with pytest.raises(ServerUnreachable, match="does not answer"):
                    await place(order, Plan(), outcome, QUIET)


async def test_the_first_state_is_told_before_the_call_can_get_further(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as peer,
        open_phone(ports=PORTS) as phone,
        phone.call(f"sip:bob@127.0.0.1:{peer.address[1]}") as call,
        told(call, CallResult(), Output()),
    ):
        assert capsys.readouterr().out.endswith(": trying\n")
