"""Calls with PJSIP, both ways: its codecs, SRTP, hold, digits and transfers."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio

from spech import Account, Call, Phone, open_phone
from spech.testing.audio import assert_silence, assert_tone, sine, sounding
from spech.testing.plugin import unavailable
from spech.testing.talk import hear_tone, listen
from spech.testing.waiting import until

from .. import ports
from . import pjsip

PORT = ports.reserve(20)
RATE = 8000
SAID = sine(1000, RATE, 1)
PATIENCE = 90
#: PJSIP's names of the codecs in its wheel, and ours.
CODECS = {
    "PCMU/8000/1": "PCMU",
    "PCMA/8000/1": "PCMA",
    "G722/16000/1": "G722",
    "GSM/8000/1": "GSM",
    "iLBC/8000/1": "iLBC/30",
    "speex/8000/1": "speex/8000",
    "speex/16000/1": "speex/16000",
    "speex/32000/1": "speex/32000",
    # It sends nothing where 20 ms are asked for: 1,764 bytes do not fit into its packets.
    "L16/44100/1": "L16/44100",
}


@pytest.fixture(autouse=True)
def installed() -> None:
    if not pjsip.program().exists():
        unavailable("peers", "PJSIP is not installed; `make test-peers` installs it")


def open_ours(
    codec: str = "PCMU", encryption: Any = "off", user: str = "spech"
) -> AbstractAsyncContextManager[Phone]:
    account = Account(f"sip:{user}@127.0.0.1", register=False, encryption=encryption)
    return open_phone(account, listen=("127.0.0.1", 0), codecs=[codec])


def address(phone: Phone, user: str = "spech") -> str:
    return f"sip:{user}@127.0.0.1:{phone.address[1]}"


async def hear_each_other(call: Call, peer: pjsip.Pjsip) -> None:
    """Each end receives the other's tone."""
    with call.open_audio(RATE) as port:
        async with trio.open_nursery() as nursery:

            async def speak() -> None:
                while True:
                    port.send(SAID.tobytes())
                    await trio.sleep(1)

            nursery.start_soon(speak)
            # The tone of a vocoder is only clean enough to check its frequency.
            await hear_tone(port, pjsip.TONE_FREQUENCY)
            heard, rate = await peer.heard(2)
            nursery.cancel_scope.cancel()
        call.flush()
    assert_tone(sounding(heard, rate)[-rate // 2 :], rate, 1000, tolerance=5, purity=0.6)


async def exchange_digits(call: Call, peer: pjsip.Pjsip) -> None:
    call.send_dtmf("159#")
    await until(lambda: peer.digits == "159#")
    await peer.do("dial", "260*")
    assert await call.collect_digits(4, timeout=10) == "260*"


@pytest.mark.parametrize("theirs", CODECS)
async def test_outgoing_calls_have_sound_in_both_directions(theirs: str, tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with (
            pjsip.running(tmp_path, PORT, theirs) as peer,
            open_ours(CODECS[theirs]) as phone,
            phone.call(peer.address) as call,
        ):
            await call.answered(timeout=10)
            await peer.media(active=True)
            await hear_each_other(call, peer)
            await exchange_digits(call, peer)
            await peer.do("hang_up")
            await call.ended()
            assert call.ended_by == "remote"


@pytest.mark.parametrize("theirs", CODECS)
async def test_incoming_calls_have_sound_in_both_directions(theirs: str, tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with (
            pjsip.running(tmp_path, PORT, theirs) as peer,
            open_ours(CODECS[theirs]) as phone,
        ):
            incoming = phone.incoming_calls()
            await peer.do("call", address(phone))
            async with (await anext(incoming)).answer() as call:
                await peer.media(active=True)
                await hear_each_other(call, peer)
                await exchange_digits(call, peer)
            await peer.state("DISCONNECTED")


@pytest.mark.parametrize("we_call", [True, False])
async def test_srtp_calls_have_sound_in_both_directions(we_call: bool, tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with (
            pjsip.running(tmp_path, PORT, "PCMU/8000/1", encryption="sdes") as peer,
            open_ours(encryption="sdes") as phone,
        ):
            if we_call:
                async with phone.call(peer.address) as call:
                    await call.answered(timeout=10)
                    await peer.media(active=True)
                    assert call.encrypted == "SDES"
                    await hear_each_other(call, peer)
            else:
                incoming = phone.incoming_calls()
                await peer.do("call", address(phone))
                async with (await anext(incoming)).answer() as call:
                    await peer.media(active=True)
                    assert call.encrypted == "SDES"
                    await hear_each_other(call, peer)


async def test_hold_from_both_sides(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with (
            pjsip.running(tmp_path, PORT, "PCMU/8000/1") as peer,
            open_ours() as phone,
            phone.call(peer.address) as call,
        ):
            await call.answered(timeout=10)
            await peer.media(active=True)
            since = len(peer.events)
            call.hold()
            await peer.media(active=False, held=True, since=since)
            with call.open_audio(RATE) as port:
                await listen(port, 0.5)
                assert_silence(await listen(port, 0.5))
            since = len(peer.events)
            call.resume()
            await peer.media(active=True, since=since)
            await hear_each_other(call, peer)

            await peer.do("hold")
            await until(lambda: call.held)
            since = len(peer.events)
            await peer.do("resume")
            await until(lambda: not call.held)
            await peer.media(active=True, since=since)
            await hear_each_other(call, peer)


async def say(phone: Phone, frequency: float) -> None:
    """Answer one call and send a tone until it ends."""
    async with (await anext(phone.incoming_calls())).answer() as call:
        with call.open_audio(RATE) as port:
            sound = sine(frequency, RATE, 0.02).tobytes()
            async for _ in port:
                port.send(sound)


async def assert_it_hears(peer: pjsip.Pjsip, frequency: float) -> None:
    """Its newest call receives this tone soon."""
    for attempt in range(6):
        heard, rate = await peer.heard(1)
        try:
            assert_tone(heard[-rate // 2 :], rate, frequency, tolerance=5)
        except AssertionError:
            if attempt == 5:
                raise
        else:
            return


async def test_pjsip_follows_a_blind_transfer(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with (
            pjsip.running(tmp_path, PORT, "PCMU/8000/1") as peer,
            open_ours() as phone,
            open_ours(user="third") as third,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(say, third, 1400)
            async with phone.call(peer.address) as call:
                await call.answered(timeout=10)
                await call.transfer(address(third, "third"))
            await assert_it_hears(peer, 1400)
            await peer.do("hang_up")


async def test_pjsip_follows_an_attended_transfer(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with (
            pjsip.running(tmp_path, PORT, "PCMU/8000/1") as peer,
            open_ours() as phone,
            open_ours(user="third") as third,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(say, third, 1400)
            async with phone.call(peer.address) as call, phone.call(address(third)) as other:
                await call.answered(timeout=10)
                await other.answered(timeout=10)
                await call.transfer_to(other)
            await assert_it_hears(peer, 1400)
            await peer.do("hang_up")


async def test_we_follow_a_blind_transfer_by_pjsip(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with (
            pjsip.running(tmp_path, PORT, "PCMU/8000/1") as peer,
            open_ours() as phone,
            open_ours(user="third") as third,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(say, third, 1400)
            async with phone.call(peer.address) as call:
                await call.answered(timeout=10)
                requests = call.transfers()
                await peer.do("transfer", address(third, "third"))
                async with (await anext(requests)).follow() as new:
                    await new.answered(timeout=10)
                    with new.open_audio(RATE) as port:
                        await hear_tone(port, 1400)
                    await peer.until(lambda event: event.get("status") == 200 and "final" in event)


async def test_an_attended_transfer_by_pjsip_moves_our_call(tmp_path: Path) -> None:
    """It calls both of us and connects us: the third phone's call replaces its own."""
    with trio.fail_after(PATIENCE):
        async with (
            pjsip.running(tmp_path, PORT, "PCMU/8000/1") as peer,
            open_ours() as phone,
            open_ours(user="third") as third,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(say, third, 1400)
            incoming = phone.incoming_calls()
            await peer.do("call", address(phone))
            async with (await anext(incoming)).answer() as call:
                requests = call.transfers()
                await peer.do("call", address(third, "third"))
                await until(lambda: [e.get("state") for e in peer.events].count("CONFIRMED") == 2)
                await peer.do("connect")
                async with (await anext(requests)).follow() as new:
                    await new.answered(timeout=10)
                    with new.open_audio(RATE) as port:
                        await hear_tone(port, 1400)
