"""Measurements of a call: two Media on a simulated network with losses and delay."""

from __future__ import annotations

import dataclasses
import logging
import random

import pytest
import trio
import trio.testing

from spech import Call as PhoneCall
from spech import Phone, PortRange, open_phone
from spech.agreement import Agreed
from spech.media.statistics import QualitySample

from .conftest import Call

PORTS = PortRange(34_040, 34_059)


@pytest.fixture
async def call() -> Call:
    return Call()


async def test_a_good_call_gets_the_best_mos(call: Call) -> None:
    call.configure()
    call.tick(500)
    seen = call.right.media.monitor.statistics
    assert (seen.codec, seen.payload_type) == ("PCMU", 0)
    assert seen.sent_octets == seen.sent * 160
    assert seen.received_octets == seen.received * 160
    assert seen.mos_listening == pytest.approx(4.41, abs=0.005)
    assert seen.mos is not None
    assert 4.3 < seen.mos < seen.mos_listening
    assert seen.loss_percent == seen.total_loss_percent == seen.concealed_percent == 0.0
    assert seen.burst_ratio == 1.0
    assert [sample.at for sample in call.right.media.monitor.history] == list(range(1, 11))


async def test_loss_lowers_the_mos_for_five_seconds(call: Call) -> None:
    call.configure()
    call.tick(250)
    rng = random.Random(5)
    call.left.rtp.judge = lambda datagram: [] if rng.random() < 0.2 else [datagram]
    call.tick(500)
    bad = call.right.media.monitor.statistics
    assert bad.loss_percent == pytest.approx(20, abs=6)
    assert bad.concealed_percent == pytest.approx(bad.loss_percent, abs=3)
    assert bad.total_loss_percent == pytest.approx(13.3, abs=4)
    assert bad.burst_density_percent > 10
    assert bad.burst_ms > 1000
    assert bad.mos is not None
    assert bad.mos < 3.2
    assert bad.mos == pytest.approx(bad.mos_worst, abs=0.4)
    call.left.rtp.judge = lambda datagram: [datagram]
    call.tick(350)
    good = call.right.media.monitor.statistics
    assert good.loss_percent == 0.0
    assert good.mos is not None
    assert good.mos_mean is not None
    assert good.mos_worst is not None
    assert good.mos > 4.3 > good.mos_mean > good.mos_worst
    assert call.left.media.monitor.statistics.mos_worst == pytest.approx(4.35, abs=0.03)


async def test_nothing_is_rated_while_nothing_arrives(call: Call) -> None:
    call.configure()
    call.tick(100)
    call.left.configure(direction="recvonly")
    call.right.configure(direction="sendonly")
    call.tick(300)
    held = call.right.media.monitor.statistics
    assert (held.mos, held.mos_listening) == (None, None)
    assert held.mos_mean is not None
    assert call.right.media.monitor.history[-1].mos is None
    assert call.left.media.monitor.statistics.mos is not None


async def test_a_changed_codec_is_rated_by_its_own_scale(call: Call) -> None:
    call.configure()
    call.tick(100)
    call.configure("GSM")
    call.tick(100)
    seen = call.right.media.monitor.statistics
    assert seen.codec == "GSM"
    assert seen.mos_listening == pytest.approx(3.75, abs=0.1)


async def test_a_long_call_keeps_few_quality_samples(call: Call) -> None:
    call.configure()
    media = call.right.media
    for _ in range(7200):
        media.monitor.sample()
    history = media.monitor.history
    assert 300 <= len(history) <= 600
    ends = [sample.at for sample in history]
    assert ends == sorted(set(ends))
    assert ends[-1] > 7200 - 32
    assert set(dataclasses.asdict(history[0])) == {
        field.name for field in dataclasses.fields(QualitySample)
    }


async def test_both_ends_report_quality_to_each_other(call: Call) -> None:
    wanted = frozenset({"voip-metrics", "rcvr-rtt"})
    for side in (call.left, call.right):
        host, port = side.peer
        side.media.configure(
            Agreed(
                "PCMU",
                0,
                0,
                None,
                None,
                side.peer,
                (host, port + 1),
                "sendonly" if side is call.left else "recvonly",
                extended_reports=wanted,
            )
        )
    rng = random.Random(5)
    call.left.rtp.judge = lambda datagram: [] if rng.random() < 0.1 else [datagram]
    call.tick(1000)
    sender, listener = call.left.media.monitor.statistics, call.right.media.monitor.statistics
    assert listener.mos is not None
    assert sender.remote_mos == pytest.approx(listener.mos, abs=0.4)
    assert sender.remote_loss_percent == pytest.approx(10, abs=7)
    # The network delay is one tick, but reports are read five times a second.
    assert sender.round_trip_ms == pytest.approx(200, abs=210)
    assert listener.round_trip_ms == pytest.approx(200, abs=210)


async def test_two_phones_negotiate_extended_reports(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "spech")
    answered: list[PhoneCall] = []

    async def answer(phone: Phone) -> None:
        async for incoming in phone.incoming_calls():
            async with incoming.answer() as call:
                answered.append(call)
                await call.ended()

    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as bob,
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as alice,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(answer, bob)
        await trio.testing.wait_all_tasks_blocked()
        async with alice.call(f"sip:bob@127.0.0.1:{bob.address[1]}") as call:
            await call.answered()
            await trio.sleep(20)
        nursery.cancel_scope.cancel()
    for side, other in ((call, answered[0]), (answered[0], call)):
        seen = side.statistics
        assert seen.remote_mos is not None
        assert other.statistics.mos_worst is not None
        assert seen.remote_mos >= other.statistics.mos_worst - 0.05
        assert seen.remote_mos <= 4.4
        assert seen.remote_lost == 0
        assert seen.round_trip_ms is not None
        # Reports are read five times a second, and in virtual time there are no kernel timestamps.
        assert seen.round_trip_ms < 450
        assert seen.mos is not None
        assert seen.mos > 3.5
        assert [sample.at for sample in side.quality_history[:19]] == list(range(1, 20))
    ended = [record.getMessage() for record in caplog.records if "ended after" in record.message]
    assert len(ended) == 2
    assert all(" PCMU: MOS " in line for line in ended)
    assert all(line.startswith(f"call {call.call_id} ended after ") for line in ended)
