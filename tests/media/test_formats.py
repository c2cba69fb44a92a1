"""Formats and telephone-events that the peer may send without a further offer (RFC 3264 6.1)."""

from __future__ import annotations

import numpy as np
import pytest

from spech.agreement import Agreed, ReceiveFormat
from spech.audio.level import dbfs
from spech.audio.tones import tone
from spech.codecs import create

from .conftest import Call, collect, frequency, noise, speak

NUMBERS = {"PCMU": 0, "PCMA": 8, "G722": 9, "GSM": 3}


def agree(call: Call, name: str, *others: str) -> None:
    """Right sends ``name`` and accepts all; left sends nothing."""
    host, port = call.right.peer
    formats = [(NUMBERS.get(one, 110 + at), one) for at, one in enumerate((name, *others))]
    call.right.media.configure(
        Agreed(
            name,
            formats[0][0],
            formats[0][0],
            101,
            101,
            (host, port),
            (host, port + 1),
            receive_formats=tuple(ReceiveFormat(number, one) for number, one in formats),
            receive_events=((101, 8000), (102, 48000), (120, 16000)),
        )
    )


async def send(call: Call, name: str, number: int, seconds: float = 1.0) -> np.ndarray:
    """Left sends a tone of 1000 Hz in one format, and what right hears of it."""
    host, port = call.left.peer
    call.left.media.configure(
        Agreed(name, number, number, 101, 101, (host, port), (host, port + 1))
    )
    rate = create(name).rate
    listen = call.right.media.rate
    return await speak(call, tone((1000,), seconds, rate), rate, listen_rate=listen)


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("PCMU", ["PCMA"]),
        ("PCMU", ["PCMA", "GSM"]),
        ("PCMU", ["G722"]),  # the same RTP clock, twice the samples
        ("G722", ["PCMA"]),
        ("opus", ["PCMU", "G722"]),  # another RTP clock
        ("PCMA", ["opus"]),
        ("L16/16000", ["L16/8000", "opus"]),
    ],
)
async def test_the_peer_may_switch_among_all_formats_of_the_answer(
    call: Call, name: str, others: list[str]
) -> None:
    agree(call, name, *others)
    numbers = {one: NUMBERS.get(one, 110 + at) for at, one in enumerate((name, *others))}
    rate = call.right.media.rate
    for one in (name, *others, name):
        heard = (await send(call, one, numbers[one]))[rate // 4 :]
        assert frequency(heard, rate) == pytest.approx(1000, abs=4)
        assert noise(heard, rate, 1000) > 18
        assert dbfs(heard) == pytest.approx(-12, abs=1.5)
    statistics = call.right.media.monitor.statistics
    assert statistics.dropped_invalid == 0
    assert statistics.late <= 2 * len(numbers)


async def test_the_peer_may_begin_with_another_format_than_the_first(call: Call) -> None:
    agree(call, "PCMU", "PCMA")
    heard = await send(call, "PCMA", 8)
    assert noise(heard[2000:], 8000, 1000) > 25


async def test_a_loss_is_concealed_by_the_codec_that_the_peer_sends(call: Call) -> None:
    agree(call, "PCMU", "PCMA")
    await send(call, "PCMA", 8)
    sent = 0

    def judge(datagram: bytes) -> list[bytes]:
        nonlocal sent
        sent += 1
        return [] if sent % 10 == 0 else [datagram]

    call.left.rtp.judge = judge
    heard = await send(call, "PCMA", 8, 2.0)
    assert noise(heard[4000:-4000], 8000, 1000) > 15
    assert call.right.media.monitor.statistics.lost > 5


async def test_a_format_outside_the_answer_is_dropped(call: Call) -> None:
    agree(call, "PCMU", "PCMA")
    heard = await send(call, "GSM", 3)
    assert not heard.any()
    assert call.right.media.monitor.statistics.dropped_invalid == 50


@pytest.mark.parametrize("number", [101, 102, 120])
async def test_every_offered_telephone_event_is_accepted(call: Call, number: int) -> None:
    agree(call, "PCMU", "opus")
    host, port = call.left.peer
    call.left.media.configure(Agreed("PCMU", 0, 0, number, number, (host, port), (host, port + 1)))
    call.left.media.speech.keypad.send("159")
    await collect(call, 60)
    assert call.right.digits == "159"
    assert call.right.media.monitor.statistics.dropped_invalid == 0


@pytest.mark.parametrize(("clock", "duration"), [(8000, 800), (None, 4800)])
async def test_digit_durations_use_the_clock_of_their_events(
    call: Call, clock: int | None, duration: int
) -> None:
    """telephone-event/8000 beside Opus counts durations at 8 kHz (RFC 4733 2.1)."""
    for side in (call.left, call.right):
        host, port = side.peer
        side.media.configure(
            Agreed(
                "opus",
                111,
                111,
                101,
                101,
                (host, port),
                (host, port + 1),
                telephone_event_clock=clock,
            )
        )
    call.left.media.speech.keypad.send("5")
    call.tick(20)
    events = [packet for packet in call.left.packets() if packet.payload_type == 101]
    assert len({packet.timestamp for packet in events}) == 1
    assert int.from_bytes(events[-1].payload[2:4]) == duration
    assert call.right.digits == "5"
