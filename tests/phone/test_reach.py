"""Calls by STUN and ICE between phones on loopback, over real sockets."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import trio

from spech import (
    Account,
    Call,
    IncomingCall,
    LocalProtocolError,
    PeerUnreachable,
    Phone,
    PortRange,
    open_phone,
)
from spech.agreement import RTP
from spech.rtp import stun
from spech.rtp.ice import IceState
from spech.rtp.stun import Attribute, Kind
from spech.sip.description import sdp
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.parser import parse
from spech.sip.transaction.flow import Flow
from spech.testing.audio import sine
from spech.testing.stun import StunServer, open_stun_server
from spech.testing.talk import hear_tone
from spech.testing.waiting import first, until

from ..inside import stream_of

RATE = 8000
SAID = sine(1200, RATE, 1, level=-12)
PORTS = PortRange(33800, 33899)
_BINDING_REQUEST = b"\x00\x01"


@asynccontextmanager
async def phones(
    ours: bool | None = None, theirs: bool | None = None, *, stun: str | None = None
) -> AsyncIterator[tuple[Phone, Phone]]:
    """A caller and a phone that echoes, on two addresses of this machine."""
    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS, ice=ours, stun=stun) as caller,
        open_phone(listen=("127.0.0.2", 0), ports=PORTS, ice=theirs) as callee,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(echo, callee.incoming_calls())
        yield caller, callee
        nursery.cancel_scope.cancel()


async def echo(arrivals: AsyncIterator[IncomingCall]) -> None:
    incoming = await first(arrivals)
    async with incoming.answer() as call:
        with call.open_audio(RATE) as port:
            async for frame in port:
                port.send(frame)


@asynccontextmanager
async def called(caller: Phone, callee: Phone) -> AsyncIterator[Call]:
    with trio.fail_after(20):
        async with caller.call("sip:callee@{}:{}".format(*callee.address)) as call:
            await call.answered(timeout=5)
            yield call


async def hear_oneself(call: Call) -> None:
    with call.open_audio(RATE) as port:
        await hear_tone(port, 1200, say=SAID, level=-12)


def descriptions(call: Call, *, sent: bool) -> list[sdp.SessionDescription]:
    """The session descriptions that the caller sent or received."""
    found = []
    for entry in call.timeline:
        if entry.data and entry.sent is sent:
            message = parse(entry.data)
            assert isinstance(message, Request | Response)
            if message.body:
                found.append(sdp.parse(message.body))
    return found


@pytest.mark.parametrize(
    ("ours", "theirs", "lite"), [(True, None, True), (True, True, False), (None, True, False)]
)
async def test_a_call_uses_ice(ours: bool | None, theirs: bool | None, lite: bool) -> None:
    async with phones(ours, theirs) as pair, called(*pair) as call:
        await hear_oneself(call)
        answer = descriptions(call, sent=False)[0]
        offered = descriptions(call, sent=True)[0].media[0].attribute("ice-ufrag") is not None
        assert offered is bool(ours)
        assert (answer.media[0].attribute("ice-ufrag") is not None) is bool(ours)
        assert (answer.attribute("ice-lite") is not None) is lite
        agent = stream_of(call).ice
        assert (agent is not None) is bool(ours)
        if agent is not None:
            assert agent.state is IceState.CONNECTED
        assert call.statistics.dropped_invalid == call.statistics.dropped_foreign == 0


async def test_a_call_uses_ice_over_ipv6() -> None:
    async with (
        open_phone(listen=("::1", 0), ports=PORTS, ice=True) as caller,
        open_phone(listen=("::1", 0), ports=PORTS, ice=True) as callee,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(echo, callee.incoming_calls())
        with trio.fail_after(20):
            async with caller.call(f"sip:callee@[::1]:{callee.address[1]}") as call:
                await call.answered(timeout=5)
                await hear_oneself(call)
                agent = stream_of(call).ice
                assert agent is not None
                assert (agent.destination(RTP) or "")[0] == "::1"
        nursery.cancel_scope.cancel()


async def test_a_call_to_a_peer_without_ice_works() -> None:
    async with phones(True, False) as pair, called(*pair) as call:
        await hear_oneself(call)
        assert stream_of(call).ice is None


@pytest.mark.parametrize("ours", [True, False], ids=["by ICE", "plain"])
async def test_checks_of_strangers_are_ignored_and_counted(ours: bool) -> None:
    async with phones(ours, True) as pair, called(*pair) as call:
        await hear_oneself(call)
        media = descriptions(call, sent=True)[0].media[0]
        name = media.attribute("ice-ufrag") or "nobody"
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as stranger:
            await stranger.bind(("127.0.0.66", 0))
            attributes = [(Attribute.USERNAME, f"{name}:x".encode())]
            for password in (None, b"guessed"):
                check = stun.build(Kind.REQUEST, bytes(12), attributes, password)
                await stranger.sendto(check, ("127.0.0.1", media.port))
            await until(lambda: call.statistics.dropped_invalid == 2)
            with trio.move_on_after(0.2):
                raise AssertionError(await stranger.recv(2048))
        await hear_oneself(call)


async def test_hold_and_resume_keep_the_selected_pair() -> None:
    async with phones(True, True) as pair, called(*pair) as call:
        await hear_oneself(call)
        agent = stream_of(call).ice
        call.hold()
        await call.changed()
        call.resume()
        await call.changed()
        await hear_oneself(call)
        assert stream_of(call).ice is agent


async def test_the_public_address_is_offered() -> None:
    async with open_stun_server() as server:
        server.sees = lambda source: ("198.51.100.1", 20000 + 3 * source[1] % 30000)
        async with phones(stun=server.uri) as (caller, callee):
            with trio.fail_after(5):
                async with caller.call("sip:callee@{}:{}".format(*callee.address)) as call:
                    await call.changed()
                    offer = descriptions(call, sent=True)[0]
        assert len(server.asked) == 2
        seen = [server.sees(source) for source in server.asked]
        media = offer.media[0]
        assert offer.connection == "198.51.100.1"
        assert {(offer.connection, media.port), (offer.connection, media.rtcp_port)} == set(seen)
        kinds = [
            value.split()[7] for name, value in media.attributes if name == "candidate" and value
        ]
        assert kinds == ["host", "host", "srflx", "srflx"]


async def test_the_direct_path_is_found_behind_a_nat_without_hairpinning() -> None:
    """The public address is unusable here, which the checks detect."""
    async with open_stun_server() as server:
        server.sees = lambda source: ("127.0.0.9", source[1])
        async with phones(None, True, stun=server.uri) as pair, called(*pair) as call:
            await hear_oneself(call)


@pytest.mark.parametrize("uri", ["stun:127.0.0.1:33899", "stun:nowhere.invalid"])
async def test_a_silent_stun_server_delays_a_call_briefly(
    uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with phones(stun=uri) as (caller, callee):
        before = trio.current_time()
        async with called(caller, callee) as call:
            assert trio.current_time() - before < 2
            assert "STUN server" in caplog.text
            await hear_oneself(call)


@pytest.mark.parametrize(
    "uri", ["127.0.0.1", "stun:", "turn:host", "stun:host:0", "stun:host:99999", "stun:a b"]
)
async def test_an_invalid_stun_uri_is_refused(uri: str) -> None:
    with pytest.raises(LocalProtocolError, match="stun:host"):
        async with open_phone(listen=("127.0.0.1", 0), stun=uri):
            pass


async def test_a_call_without_connectivity_ends_with_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recvmsg = socket.socket.recvmsg

    def behind_a_firewall(self: socket.socket, *sizes: int) -> Any:
        while True:
            message = recvmsg(self, *sizes)
            if message[0][:2] != _BINDING_REQUEST:
                return message

    monkeypatch.setattr("spech.rtp.ice.ICE_TIMEOUT", 0.6)
    monkeypatch.setattr(socket.socket, "recvmsg", behind_a_firewall)
    reasons: list[str] = []

    @contextmanager
    def telling() -> Iterator[None]:
        try:
            yield
        except PeerUnreachable as error:
            reasons.append(str(error))

    async def answer(arrivals: AsyncIterator[IncomingCall]) -> None:
        incoming = await first(arrivals)
        with telling():
            async with incoming.answer() as call:
                await call.ended()

    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS, ice=True) as caller,
        open_phone(listen=("127.0.0.2", 0), ports=PORTS, ice=True) as callee,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(answer, callee.incoming_calls())
        with telling():
            async with called(caller, callee) as call:
                await call.ended()
        assert call.state == "ended"
    assert "no connectivity check" in reasons[0]  # The side that notices first has hung up.


async def test_traces_contain_no_ice_passwords() -> None:
    async with phones(True, True) as pair, called(*pair) as call:
        await hear_oneself(call)
        for described in descriptions(call, sent=True) + descriptions(call, sent=False):
            password = described.media[0].attribute("ice-pwd")
            assert password
            assert password not in call.ladder()
            assert password.encode() not in call.capture()
        assert password is not None
        assert b"a=ice-pwd:" + b"*" * len(password) in call.capture()


def test_a_stun_server_answers_only_requests() -> None:
    server = StunServer(("127.0.0.1", 3478))
    assert server.answer(b"", ("127.0.0.1", 1)) is None
    assert server.answer(b"\x01\x01" + bytes(18), ("127.0.0.1", 1)) is None


@pytest.mark.parametrize(
    ("switch", "given", "offered"),
    [(None, None, False), (True, None, True), (False, True, True), (True, False, False)],
)
async def test_the_ice_setting_of_the_phone_overrides_the_account(
    switch: bool | None, given: bool | None, offered: bool
) -> None:
    """The phone's argument takes precedence."""
    offers: list[str] = []

    def look(request: Request, flow: Flow, now: float) -> Response | None:
        offers.append(request.body.decode())
        return response_to(request, 486, to_tag="s")

    async with open_phone(listen=("127.0.0.1", 0), screen=look) as server:
        account = Account(f"sip:a@127.0.0.1:{server.address[1]}", register=False, ice=switch)
        async with (
            open_phone(account, listen=("127.0.0.1", 0), ice=given) as phone,
            phone.call("600") as call,
        ):
            await call.ended()
    assert ("a=ice-ufrag" in offers[0]) is offered
