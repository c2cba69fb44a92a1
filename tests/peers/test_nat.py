"""Calls through a real NAT: Linux, in network namespaces made for the test."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trio
from numpy.typing import NDArray

from spech import Call, Phone, open_phone
from spech.agreement import RTP
from spech.rtp.ice import IceState
from spech.sip.message.parser import parse
from spech.testing import network
from spech.testing.network import INSIDE, OUTSIDE, ROUTER, Networks
from spech.testing.plugin import unavailable
from spech.testing.stun import open_stun_server
from spech.testing.talk import hear_tone, talk
from spech.testing.waiting import first

from ..inside import stream_of
from . import baresip, coturn
from .conftest import RATE, SAID, assert_heard

STUN = f"stun:{OUTSIDE}"


@pytest.fixture(params=["cone", "symmetric"])
def networks(request: pytest.FixtureRequest) -> Iterator[Networks]:
    missing = network.why_not()
    if missing is not None:
        pytest.skip(missing)
    with network.nat(symmetric=request.param == "symmetric") as networks:
        yield networks


class Meeting:
    """Two programs, one in each network; the outer one starts first and ends last."""

    def __init__(self, networks: Networks) -> None:
        self.networks = networks
        self._ready = threading.Event()
        self._over = threading.Event()

    def run(self, outside: Callable[[], None], inside: Callable[[], None]) -> None:
        with ThreadPoolExecutor(1) as threads:
            outer = threads.submit(outside)
            outer.add_done_callback(lambda _: self._ready.set())
            try:
                assert self._ready.wait(10)
                inside()
            finally:
                self._over.set()
                outer.result()

    async def last(self) -> None:
        """Called by the outer program when it is ready: waits until the inner one ends."""
        self._ready.set()
        while not self._over.is_set():  # noqa: ASYNC110  # Another thread sets it.
            await trio.sleep(0.02)


async def echo(phone: Phone) -> None:
    incoming = await first(phone.incoming_calls())
    async with incoming.answer() as call:
        with call.open_audio(RATE) as port:
            async for frame in port:
                port.send(frame)


def answering(
    meeting: Meeting, ice: bool | None, *, stun: bool = True
) -> Callable[[], Awaitable[None]]:
    """A phone on the internet that echoes, next to our STUN server."""

    async def outside() -> None:
        async with (
            open_stun_server(OUTSIDE, 3478) if stun else nullcontext(),
            open_phone(listen=(OUTSIDE, 5060), ice=ice) as phone,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(echo, phone)
            await meeting.last()
            nursery.cancel_scope.cancel()

    return outside


async def hear_oneself(call: Call) -> None:
    with call.open_audio(RATE) as port:
        await hear_tone(port, 1200, say=SAID, level=-12)


@pytest.mark.parametrize(
    ("stun", "ours", "theirs"),
    [
        (None, False, False),  # The far end learns the source of our media.
        (STUN, False, False),
        (STUN, None, False),
        (STUN, None, True),
        (None, True, True),
    ],
)
def test_a_call_from_behind_a_nat_has_sound(
    networks: Networks, stun: str | None, ours: bool | None, theirs: bool
) -> None:
    async def inside() -> None:
        with trio.fail_after(20):
            async with (
                open_phone(listen=(INSIDE, 5060), stun=stun, ice=ours) as phone,
                phone.call(f"sip:echo@{OUTSIDE}:5060") as call,
            ):
                await call.answered(timeout=5)
                await hear_oneself(call)
                agent = stream_of(call).ice
                assert (agent is not None) is theirs
                if agent is not None:
                    assert agent.state is IceState.CONNECTED

    meeting = Meeting(networks)
    meeting.run(
        partial(networks.run, "outside", answering(meeting, theirs)),
        partial(networks.run, "inside", inside),
    )


def test_coturn_reports_our_public_address(networks: Networks, tmp_path: Path) -> None:
    if not coturn.available():
        unavailable("peers", "coturn is not installed; `make test-peers` installs it")

    async def inside() -> None:
        with trio.fail_after(20):
            async with (
                open_phone(listen=(INSIDE, 5060), stun=STUN) as phone,
                phone.call(f"sip:echo@{OUTSIDE}:5060") as call,
            ):
                await call.answered(timeout=5)
                await hear_oneself(call)
                offers = [parse(e.data).body for e in call.timeline if e.data][:1]
                assert f"{ROUTER} ".encode() in offers[0]
                assert b"typ srflx" in offers[0]

    meeting = Meeting(networks)
    with coturn.running(tmp_path, OUTSIDE, networks.within("outside")):
        meeting.run(
            partial(networks.run, "outside", answering(meeting, True, stun=False)),
            partial(networks.run, "inside", inside),
        )


async def talk_with_baresip(call: Call) -> None:
    with call.open_audio(RATE) as port:
        await hear_tone(port, baresip.TONE_FREQUENCY, say=SAID, level=baresip.TONE_LEVEL)
        await talk(port, SAID, 1)
    agent = stream_of(call).ice
    assert agent is not None
    assert agent.state is IceState.CONNECTED


@pytest.mark.usefixtures("baresip_installed")
@pytest.mark.parametrize("ice", [None, True])
def test_baresip_calls_from_behind_a_nat_with_ice(
    networks: Networks, tmp_path: Path, ice: bool | None
) -> None:
    meeting = Meeting(networks)

    async def outside() -> None:
        async with (
            open_stun_server(OUTSIDE, 3478),
            open_phone(listen=(OUTSIDE, 5060), ice=ice) as phone,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(meeting.last)
            with trio.fail_after(20):
                incoming = await first(phone.incoming_calls())
                async with incoming.answer() as call:
                    await talk_with_baresip(call)
                    agent = stream_of(call).ice
                    assert agent is not None
                    way = agent.destination(RTP)
                    assert way is not None
                    assert way[0] == ROUTER
                    await call.ended()

    async def inside() -> None:
        with trio.fail_after(20):
            heard = await baresip.run(
                tmp_path,
                5060,
                6,
                dial=f"sip:spech@{OUTSIDE}:5060",
                nat="ice",
                host=INSIDE,
                within=networks.within("inside"),
            )
        assert_heard(heard)

    meeting.run(partial(networks.run, "outside", outside), partial(trio.run, inside))


# Version 1.0 has no peer-reflexive candidates in this role, which a symmetric NAT needs.
@pytest.mark.parametrize("networks", ["cone"], indirect=True)
@pytest.mark.usefixtures("baresip_installed")
def test_we_call_baresip_from_behind_a_nat_with_ice(networks: Networks, tmp_path: Path) -> None:
    meeting = Meeting(networks)
    heard: list[NDArray[np.int16]] = []

    async def serve() -> None:
        async with open_stun_server(OUTSIDE, 3478):
            await meeting.last()

    async def other() -> None:
        within = networks.within("outside")
        heard.append(await baresip.run(tmp_path, 5060, 6, nat="ice", host=OUTSIDE, within=within))

    async def inside() -> None:
        with trio.fail_after(20):
            async with open_phone(listen=(INSIDE, 5060), stun=STUN) as phone:
                await trio.sleep(1)  # Wait until baresip is ready.
                async with phone.call(f"sip:baresip@{OUTSIDE}:5060") as call:
                    await call.answered(timeout=5)
                    await talk_with_baresip(call)

    def both() -> None:
        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(trio.run, other)
            networks.run("inside", inside)
            running.result()

    meeting.run(partial(networks.run, "outside", serve), both)
    assert_heard(heard[0])
