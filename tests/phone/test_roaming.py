"""Calls continue when the machine moves to another network."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from spech import IncomingCall, Phone, PortRange, open_phone
from spech.agreement import RTP
from spech.sip.transport.hosts import LocalHosts

from ..inside import dialog_of, sessions_of, stream_of

PORTS = PortRange(37_300, 37_339)


@pytest.mark.parametrize("ice", [False, True])
@pytest.mark.parametrize("calling", [True, False])
async def test_a_call_continues_from_another_address(
    calling: bool,
    ice: bool,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A re-INVITE updates the far end, sound uses new ports, and the old ports are released.

    ICE restarts (RFC 8445 section 9).
    """
    here = "127.0.0.1"
    monkeypatch.setattr(LocalHosts, "_ask", staticmethod(lambda remote: here))

    async def answer(phone: Phone) -> None:
        async def serve(incoming: IncomingCall) -> None:
            async with incoming.answer() as call:
                await call.ended()

        async with trio.open_nursery() as nursery:
            async for incoming in phone.incoming_calls():
                nursery.start_soon(serve, incoming)

    async with (
        open_phone(listen=("0.0.0.0", 0), ports=PORTS, ice=ice) as mover,
        open_phone(listen=("127.0.0.2", 0), ports=PORTS, ice=ice) as stayer,
        trio.open_nursery() as nursery,
    ):
        caller, called = (mover, stayer) if calling else (stayer, mover)
        nursery.start_soon(answer, called)
        await trio.testing.wait_all_tasks_blocked()
        host = "127.0.0.2" if calling else "127.0.0.1"
        async with caller.call(f"sip:you@{host}:{called.address[1]}") as call:
            await call.answered(timeout=5)
            await trio.sleep(1)
            ends = [call, called.active_calls[0]]
            theirs = ends[1] if calling else ends[0]
            agent = stream_of(theirs).ice
            here = "127.0.0.9"
            await trio.sleep(6)
            assert dialog_of(theirs).target.host == "127.0.0.9"
            before = [end.statistics for end in ends]
            await trio.sleep(2)
            again = stream_of(theirs).ice
            if ice:
                assert agent is not again
                assert agent is not None
                assert again is not None
                assert (agent.destination(RTP) or "")[0] == "127.0.0.1"
                assert (again.destination(RTP) or "")[0] == "127.0.0.9"
            for end, earlier in zip(ends, before, strict=True):
                assert 90 <= end.statistics.received - earlier.received <= 110
                assert end.statistics.sent > earlier.sent
        await trio.sleep(1)
        assert not called.active_calls
        assert not sessions_of(mover)
        assert not sessions_of(stayer)
        nursery.cancel_scope.cancel()
