"""Digits to a real PBX and back, by each method and on each clock."""

from __future__ import annotations

import random
import socket
from typing import Any

import pytest
import trio

from spech import Account, Call, Phone, PortRange, open_phone
from spech.media.keypad import Method
from spech.testing.asterisk import Asterisk
from spech.testing.relay import Network, Path
from spech.testing.waiting import until

TYPED = "113*0d#"
READ = "113*0D"


async def typed_and_repeated(
    phone: Phone, pbx: Asterisk, codec: str, method: Method, **lengths: int
) -> Call:
    """Type into 602, which reads up to ``#`` and plays back what it read."""
    async with phone.call("602", codecs=[codec]) as call:
        await call.answered(timeout=5)
        await until(lambda: pbx.variable("status") == "reading")
        call.send_dtmf(TYPED, method=method, **lengths)
        await call.played()
        with trio.fail_after(15):
            await call.ended()
    assert pbx.variable("digits") == READ
    return call


@pytest.mark.parametrize("codec", ["PCMU", "G722", "L16/16000", "opus"])
async def test_telephone_events_on_the_clock_of_the_codec(
    account: Account, ports: PortRange, asterisk: Asterisk, pbx: Asterisk, codec: str
) -> None:
    """8, 8, 16 and 48 kHz (RFC 4733 section 2.1)."""
    async with open_phone(account, listen=("127.0.0.1", 0), ports=ports) as phone:
        call = await typed_and_repeated(phone, pbx, codec, "auto")
    assert call.digits_received == READ


def is_rtp(data: bytes) -> bool:
    """Neither SIP nor RTCP (RFC 5761 section 4)."""
    return len(data) > 1 and data[0] >> 6 == 2 and not 192 <= data[1] <= 223


@pytest.mark.parametrize("seed", range(3))
async def test_digits_survive_20_percent_loss_in_both_directions(
    account: Account,
    ports: PortRange,
    asterisk: Asterisk,
    pbx: Asterisk,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    there, back = (Path(Network(loss=0.2), random.Random(f"{seed}{way}")) for way in "ab")
    sendto, recvmsg = socket.socket.sendto, socket.socket.recvmsg

    def send(self: socket.socket, data: bytes, *rest: Any) -> int:
        if is_rtp(data) and not there.arrivals(0.0):
            return len(data)
        return sendto(self, data, *rest)

    def receive(self: socket.socket, *sizes: int) -> Any:
        while True:
            message = recvmsg(self, *sizes)
            if not is_rtp(message[0]) or back.arrivals(0.0):
                return message

    monkeypatch.setattr(socket.socket, "sendto", send)
    monkeypatch.setattr(socket.socket, "recvmsg", receive)
    async with open_phone(account, listen=("127.0.0.1", 0), ports=ports) as phone:
        call = await typed_and_repeated(phone, pbx, "PCMU", "rfc4733")
    assert call.digits_received == READ
    statistics = call.statistics
    assert 0.1 < statistics.lost / (statistics.lost + statistics.received) < 0.3


@pytest.mark.parametrize("method", ["auto", "info"])
async def test_digits_use_info_without_telephone_events(
    ports: PortRange, asterisk: Asterisk, pbx: Asterisk, method: Method
) -> None:
    account = Account(f"sip:info@{asterisk.domain}", register=False)
    async with open_phone(account, listen=("127.0.0.1", 0), ports=ports) as phone:
        call = await typed_and_repeated(phone, pbx, "PCMU", method)
        assert call.ladder().count("INFO sip:") >= len(TYPED)
    assert call.digits_received == READ


@pytest.mark.parametrize("codec", ["PCMU", "opus"])
async def test_a_long_press_arrives_as_one_digit(
    account: Account, ports: PortRange, asterisk: Asterisk, pbx: Asterisk, codec: str
) -> None:
    """At 48 kHz it needs two segments (RFC 4733 section 2.5.1.3)."""
    async with (
        open_phone(account, listen=("127.0.0.1", 0), ports=ports) as phone,
        phone.call("602", codecs=[codec]) as call,
    ):
        await call.answered(timeout=5)
        await until(lambda: pbx.variable("status") == "reading")
        with call.press("5"):
            await trio.sleep(2.0)
        call.send_dtmf("#")
        with trio.fail_after(10):
            await call.ended()
    assert pbx.variable("digits") == "5"


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
async def test_inband_digits_are_sent_and_detected(
    ports: PortRange, asterisk: Asterisk, pbx: Asterisk, codec: str
) -> None:
    """G.711 only: Asterisk detects tones in no other codec."""
    account = Account(f"sip:inband@{asterisk.domain}", register=False)
    async with open_phone(account, listen=("127.0.0.1", 0), ports=ports) as phone:
        call = await typed_and_repeated(phone, pbx, codec, "inband")
    assert call.digits_received == READ
