"""Encrypted calls between two phones on loopback, in virtual time."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
import trio.testing
from numpy.typing import NDArray

from spech import (
    Account,
    Call,
    CallEnded,
    CallFailed,
    LocalProtocolError,
    Phone,
    PortRange,
    TlsSettings,
    open_phone,
)
from spech.errors import RemoteProtocolError
from spech.media.port import AudioPort
from spech.rtp import packet as rtp
from spech.rtp.dtls import Certificate
from spech.sip.description.media_security import Policy
from spech.sip.message.framing import StreamFramer
from spech.sip.message.message import Request, response_to
from spech.sip.message.parser import parse
from spech.testing.audio import assert_silence, assert_tone, sine
from spech.testing.certificates import self_signed
from spech.testing.talk import hear_tone, listen, talk
from spech.testing.waiting import first, until

from ..inside import begin_at, rtp_of, sequence_of, stream_of

LOOPBACK = ("127.0.0.1", 0)
PORTS = PortRange(37_240, 37_279)
RATE = 8000
ALICE = sine(700, RATE, 1, level=-18)
BOB = sine(1200, RATE, 1, level=-18)


async def talk_back(phone: Phone, policy: Policy, answered: list[Call]) -> None:
    """Answer one call and send Bob's tone until it ends."""
    incoming = await first(phone.incoming_calls())
    with suppress(RemoteProtocolError):
        async with incoming.answer(encryption=policy) as call:
            answered.append(call)
            with suppress(CallEnded), call.open_audio(RATE) as port:
                while True:
                    await talk(port, BOB, 0.1)


async def both(port: AudioPort, there: AudioPort) -> NDArray[np.int16]:
    """What the other end receives while Alice sends her tone for a second."""
    heard: list[NDArray[np.int16]] = []

    async def hear() -> None:
        heard.append(await listen(there, 1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hear)
        await talk(port, ALICE, 1)
    return heard[0]


@asynccontextmanager
async def a_call(ours: Policy, theirs: Policy) -> AsyncIterator[tuple[Call, list[Call]]]:
    """Alice's call to Bob, and the list that his end of it comes into."""
    answered: list[Call] = []
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS) as bob,
        open_phone(listen=LOOPBACK, ports=PORTS) as alice,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(talk_back, bob, theirs, answered)
        target = f"sip:bob@127.0.0.1:{bob.address[1]}"
        async with alice.call(target, encryption=ours) as call:
            yield call, answered


@pytest.mark.parametrize(
    ("ours", "theirs", "outcome"),
    [
        ("off", "off", None),
        ("optional", "off", None),
        ("optional", "sdes", "SDES"),
        ("sdes", "off", "SDES"),
        ("dtls", "off", "DTLS"),
        ("required", "optional", "DTLS"),
    ],
)
async def test_each_hears_the_other(
    ours: Policy, theirs: Policy, outcome: str | None, autojump_clock: trio.testing.MockClock
) -> None:
    async with a_call(ours, theirs) as (call, answered):
        await call.answered(5)
        with call.open_audio(RATE) as port:
            await hear_tone(port, 1200, say=ALICE, level=-18)
            with answered[0].open_audio(RATE) as there:
                heard = await both(port, there)
            assert_tone(heard[-RATE // 2 :], RATE, 700, level=-18, tolerance=2)
        assert call.encrypted == answered[0].encrypted == outcome


@pytest.mark.parametrize(("ours", "theirs"), [("off", "sdes"), ("sdes", "dtls")])
async def test_required_encryption_refuses_unencrypted_calls(
    ours: Policy, theirs: Policy, autojump_clock: trio.testing.MockClock
) -> None:
    async with a_call(ours, theirs) as (call, answered):
        with pytest.raises(CallFailed) as failed:
            await call.answered(5)
        assert failed.value.status == 488
    assert answered == []


async def test_sound_continues_after_a_hold_with_a_wrapped_sequence(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The rollover counter is at one when the re-INVITE comes, and stays there."""
    async with a_call("sdes", "sdes") as (call, answered):
        await call.answered(5)
        await until(lambda: answered)
        for one in (call, answered[0]):
            begin_at(rtp_of(one), 65_530)
        with call.open_audio(RATE) as port:
            await hear_tone(port, 1200, say=ALICE, level=-18)
            for _ in range(2):
                call.hold()
                await talk(port, ALICE, 0.3)
                assert_silence(await talk(port, ALICE, 0.3))
                call.resume()
                await hear_tone(port, 1200, say=ALICE, level=-18)
        for one in (call, answered[0]):
            assert sequence_of(rtp_of(one)) < 1000
            assert one.encrypted == "SDES"
            counted = one.statistics
            assert counted.dropped_unauthentic == counted.dropped_replayed == counted.lost == 0


async def test_replayed_packets_of_a_stranger_are_not_heard(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """From another address: recorded packets, and its own ones."""
    async with a_call("sdes", "sdes") as (call, answered):
        await call.answered(5)
        await until(lambda: answered)
        recorded: list[bytes] = []
        stream = stream_of(call)
        pair = stream._pair
        seal = stream.protection.seal

        def record(packet: bytes) -> bytes | None:
            sealed = seal(packet)
            assert sealed is not None
            recorded.append(sealed)
            return sealed

        stream.protection.seal = record  # type: ignore[method-assign]
        target = stream_of(answered[0])._pair.rtp.getsockname()
        with call.open_audio(RATE) as port, socket.socket(type=socket.SOCK_DGRAM) as stranger:
            stranger.bind(LOOPBACK)
            await talk(port, ALICE, 0.5)
            heard = answered[0].statistics.received
            for packet in recorded:
                stranger.sendto(packet, target)
                stranger.sendto(rtp.build(0, False, 1, 160, 7, bytes(160)), target)
            count = len(recorded)
            await talk(port, ALICE, 0.5)
        counted = answered[0].statistics
        assert counted.dropped_replayed == counted.dropped_unauthentic == count
        assert counted.received >= heard + 20
        assert stream_of(answered[0])._source.destination == pair.rtp.getsockname()


async def test_a_handshake_lasts_for_the_whole_call(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_call("dtls", "dtls") as (call, answered):
        await call.answered(5)
        with call.open_audio(RATE) as port:
            await hear_tone(port, 1200, say=ALICE, level=-18)
            keys = stream_of(call).protection._sound.keys
            call.hold()
            await talk(port, ALICE, 0.3)
            assert_silence(await talk(port, ALICE, 0.3))
            call.resume()
            await hear_tone(port, 1200, say=ALICE, level=-18)
        assert stream_of(call).protection._sound.keys is keys is not None
        assert "inline" not in call.ladder()
        for one in (call, answered[0]):
            counted = one.statistics
            assert counted.dropped_unauthentic == counted.dropped_replayed == counted.lost == 0


async def test_encryption_works_on_the_path_found_by_ice() -> None:
    """In real time, because the checks use the kernel's timestamps."""
    for policy in ("sdes", "dtls"):
        answered: list[Call] = []
        with trio.fail_after(15):
            async with (
                open_phone(listen=LOOPBACK, ports=PORTS, ice=True) as bob,
                open_phone(listen=LOOPBACK, ports=PORTS, ice=True) as alice,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(talk_back, bob, policy, answered)
                target = f"sip:bob@127.0.0.1:{bob.address[1]}"
                async with alice.call(target, encryption=policy) as call:  # type: ignore[arg-type]
                    await call.answered(5)
                    with call.open_audio(RATE) as port:
                        await hear_tone(port, 1200, say=ALICE, level=-18)
                    assert stream_of(call).ice is not None
                    assert call.encrypted == answered[0].encrypted == policy.upper()


async def test_a_false_certificate_ends_the_call(autojump_clock: trio.testing.MockClock) -> None:
    """Neither side hears anything, and the call ends for both."""
    async with a_call("dtls", "dtls") as (call, answered):
        stream_of(call).protection._certificate = Certificate
        await call.answered(5)
        await call.ended()
        assert call.ended_by == "remote"
        assert "certificate" in answered[0].reason
        assert call.statistics.received == answered[0].statistics.received == 0
        assert call.encrypted is answered[0].encrypted is None


async def test_a_call_without_a_handshake_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_call("dtls", "dtls") as (call, answered):
        await call.answered(5)
        for one in (call, *answered):
            stream_of(one).protection._sound.association.receive_datagram = (  # type: ignore[union-attr,method-assign]
                lambda *_: True
            )
        with call.open_audio(RATE) as port, suppress(CallEnded):
            while True:
                assert_silence(await talk(port, ALICE, 0.5))
        await call.ended()
        assert "handshake" in call.reason or "handshake" in answered[0].reason
        assert call.statistics.received == 0


async def test_an_account_has_its_own_encryption_policy(
    autojump_clock: trio.testing.MockClock,
) -> None:
    account = Account("sip:alice@127.0.0.1", register=False, encryption="sdes")
    async with open_phone(account, listen=LOOPBACK, ports=PORTS) as alice:
        async with alice.call("sip:bob@127.0.0.1:9") as call:
            assert "RTP/SAVP" in call.ladder()
        async with alice.call("sip:bob@127.0.0.1:9", encryption="off") as call:
            assert "RTP/AVP" in call.ladder()


@pytest.mark.parametrize(("policy", "leaves"), [("required", False), ("sdes", True)])
async def test_required_keys_do_not_follow_a_redirection_to_plain_signalling(
    policy: Policy, leaves: bool, tmp_path: Path
) -> None:
    """From TLS to UDP; the policy "sdes" sends them nevertheless."""
    certificate, key = self_signed("127.0.0.1")
    (tmp_path / "c.pem").write_bytes(certificate)
    (tmp_path / "k.pem").write_bytes(key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
    target = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
    await target.bind(LOOPBACK)

    async def redirect(stream: trio.SSLStream[trio.SocketStream]) -> None:
        framer = StreamFramer()
        moved = f"<sip:carol@127.0.0.1:{target.getsockname()[1]};transport=udp>"
        with suppress(trio.BrokenResourceError):
            async for data in stream:
                for message in framer.receive_data(bytes(data)):
                    request = parse(message)
                    if isinstance(request, Request) and request.method == "INVITE":
                        assert b"a=crypto" in request.body
                        response = response_to(request, 302, headers=[("Contact", moved)])
                        await stream.send_all(bytes(response))

    with target, trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            listeners: list[Any] = await trio.open_ssl_over_tcp_listeners(
                0, context, host="127.0.0.1"
            )
            port = listeners[0].transport_listener.socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, redirect, listeners)
            account = Account(
                f"sip:alice@127.0.0.1:{port}",
                transport="tls",
                tls=TlsSettings(ca_file=tmp_path / "c.pem"),
                register=False,
                encryption=policy,
            )
            async with (
                open_phone(account, listen=LOOPBACK, ports=PORTS, drain=0.2) as phone,
                phone.call("bob") as call,
            ):
                if leaves:
                    assert b"a=crypto" in await target.recv(65_536)
                else:
                    with pytest.raises(CallFailed, match="503"):
                        await call.answered(5)
                    with pytest.raises(trio.TooSlowError), trio.fail_after(0.2):
                        await target.recv(65_536)
            nursery.cancel_scope.cancel()


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="off, optional, required, sdes, dtls"):
        Account("sip:alice@127.0.0.1", encryption="sometimes")  # type: ignore[arg-type]
