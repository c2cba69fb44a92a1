"""Digits in a call, end to end: as telephone events, and as tones in the sound."""

from __future__ import annotations

import random

import numpy as np
import pytest

from spech.agreement import Agreed
from spech.audio.dtmf import DigitDetector
from spech.audio.tones import digit
from spech.errors import LocalProtocolError

from .conftest import Call, speak


async def test_each_digit_arrives_once(call: Call) -> None:
    call.configure()
    call.left.media.speech.keypad.send("1234*0#55", duration_ms=60, gap_ms=60)
    call.tick(80)
    assert call.right.digits == "1234*0#55"


async def test_digits_survive_loss_duplication_and_reordering(call: Call) -> None:
    call.configure()
    rng = random.Random(7)
    held: list[bytes] = []

    def judge(datagram: bytes) -> list[bytes]:
        chance = rng.random()
        if chance < 0.2:
            return []
        if chance < 0.3:
            held.append(datagram)
            return []
        passed = [datagram] * (2 if chance > 0.9 else 1) + held
        held.clear()
        return passed

    call.left.rtp.judge = judge
    keys = "11223344556677889900**##"
    call.left.media.speech.keypad.send(keys)
    call.tick(300)
    assert call.right.digits == keys


@pytest.mark.parametrize(("burst", "duration"), [(1.0, 100), (2.0, 240)])
@pytest.mark.parametrize("codec", ["PCMU", "L16/16000", "opus"])
async def test_no_digit_is_lost_doubled_or_split_at_20_percent_loss(
    call: Call, codec: str, burst: float, duration: int
) -> None:
    """Independent losses, and bursts (Gilbert model, ``burst`` packets on average).

    Of an event of 100 ms there are 7 packets. One burst in a hundred is as long, so that where
    losses come in bursts a digit has to be longer.
    """
    call.configure(codec)
    rng = random.Random(f"{codec}{burst}")
    losing = False

    def judge(datagram: bytes) -> list[bytes]:
        nonlocal losing
        losing = rng.random() >= 1 / burst if losing else rng.random() < 0.25 / burst
        return [] if losing else [datagram]

    call.left.rtp.judge = judge
    keys = "".join(rng.choice("0123456789*#ABCD") * rng.randint(1, 2) for _ in range(100))
    call.left.media.speech.keypad.send(keys, duration_ms=duration)
    call.tick(len(keys) * (duration // 20 + 3) + 30)
    assert (
        0.15
        < call.right.media.monitor.statistics.lost / call.left.media.monitor.statistics.sent
        < 0.25
    )
    assert call.right.digits == keys


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722", "opus", "L16/8000", "L16/48000"])
async def test_tones_are_detected_without_telephone_events(call: Call, codec: str) -> None:
    call.configure(codec, event=None)
    keys = "1234567890*#ABCD" + "55"
    call.left.media.speech.keypad.send(keys, duration_ms=60, gap_ms=60)
    call.tick(len(keys) * 6 + 30)
    assert call.right.tones == keys
    assert call.right.digits == ""
    assert not call.right.media.speech.keypad.busy


@pytest.mark.parametrize("seed", range(5))
async def test_tones_survive_single_losses(call: Call, seed: int) -> None:
    """A concealed tick neither ends a digit nor begins one."""
    call.configure(event=None)
    rng = random.Random(seed)
    kept = 0

    def judge(datagram: bytes) -> list[bytes]:
        nonlocal kept
        if kept >= 2 and rng.random() < 0.4:
            kept = 0
            return []
        kept += 1
        return [datagram]

    call.left.rtp.judge = judge
    keys = "".join(rng.choice("0123456789*#ABCD") for _ in range(60))
    call.left.media.speech.keypad.send(keys, duration_ms=160, gap_ms=100)
    call.tick(len(keys) * 13 + 30)
    assert call.right.tones == keys


async def test_a_pause_without_packets_ends_a_tone(call: Call) -> None:
    call.configure(event=None)
    for _ in range(3):
        call.left.media.speech.keypad.send("5", gap_ms=0)
        call.tick(8)
        call.left.rtp.judge = lambda datagram: []  # The far end sends nothing for half a second.
        call.tick(25)
        call.left.rtp.judge = lambda datagram: [datagram]
    call.tick(10)
    assert call.right.tones == "555"


async def test_tones_are_detected_only_if_enabled(call: Call) -> None:
    call.configure()
    assert not call.right.media.detects_tones
    call.left.media.speech.keypad.send("1", method="inband")
    call.tick(30)
    assert call.right.tones == ""
    call.right.media.detects_tones = True
    call.left.media.speech.keypad.send("2", method="inband")
    call.tick(30)
    assert call.right.tones == "2"
    call.configure()
    assert call.right.media.detects_tones
    call.configure(event=None)
    call.configure()
    assert not call.right.media.detects_tones


async def test_a_digit_lasts_as_long_as_its_key_is_held(call: Call) -> None:
    call.configure()
    with call.left.media.speech.keypad.press("9"):
        call.tick(450)
        assert call.right.digits == "9"
    call.tick(10)
    call.left.media.speech.keypad.send("1")
    call.tick(20)
    assert call.right.digits == "91"
    ends = [packet for packet in call.left.packets() if packet.payload_type == 101][-14:-7]
    assert [packet.payload[1] >> 7 for packet in ends] == [0, 0, 0, 0, 1, 1, 1]


async def test_invalid_digits_and_digits_before_an_agreement_are_refused(call: Call) -> None:
    with pytest.raises(LocalProtocolError):
        call.left.media.speech.keypad.send("1")
    call.configure()
    for digits in ("1x", "12E"):
        with pytest.raises(LocalProtocolError):
            call.left.media.speech.keypad.send(digits)
    with pytest.raises(LocalProtocolError):
        call.left.media.speech.keypad.send("1", method="info")
    for digits in ("12", "", ","):
        with pytest.raises(LocalProtocolError), call.left.media.speech.keypad.press(digits):
            pass
    for duration, gap in ((0, 60), (100, -1)):
        with pytest.raises(ValueError, match="no key"):
            call.left.media.speech.keypad.send("1", duration_ms=duration, gap_ms=gap)
    with pytest.raises(ValueError, match="rfc4733, info, inband"):
        call.left.media.speech.keypad.send("1", method="rfc2833")  # type: ignore[arg-type]
    call.tick(10)
    assert all(packet.payload_type == 0 for packet in call.left.packets())


@pytest.mark.parametrize("sent", [96, 101])
async def test_digits_may_have_a_payload_type_for_each_direction(call: Call, sent: int) -> None:
    """We receive on the payload type of our description or, leniently, on that of theirs."""
    for side, send, receive in ((call.left, 96, 101), (call.right, sent, 96)):
        host, port = side.peer
        side.media.configure(Agreed("PCMU", 0, 0, send, receive, (host, port), (host, port + 1)))
    call.left.media.speech.keypad.send("12")
    call.right.media.speech.keypad.send("34")
    call.tick(40)
    assert (call.left.digits, call.right.digits) == ("34", "12")
    assert {packet.payload_type for packet in call.left.packets()} == {0, 96}
    assert {packet.payload_type for packet in call.right.packets()} == {0, sent}
    assert call.left.media.monitor.statistics.dropped_invalid == 0


async def test_in_band_digits_pass_the_codec(call: Call) -> None:
    call.configure("PCMA")
    sound = np.concatenate(
        [np.append(digit(key, 0.1, 8000), np.zeros(800, np.int16)) for key in "159#"]
    )
    heard = await speak(call, np.append(sound, np.zeros(1600, np.int16)), 8000)
    assert DigitDetector(8000).feed(heard) == "159#"


async def test_more_than_a_thousand_digits_do_not_wait(call: Call) -> None:
    call.configure()
    call.left.media.speech.keypad.send("1" * 999)
    with pytest.raises(LocalProtocolError, match="digits wait already"):
        call.left.media.speech.keypad.send("12")
