"""Calls from and to baresip, measured at both ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trio
from numpy.typing import NDArray

from spech import Phone
from spech.exchange import open_exchange
from spech.testing.talk import hear_tone, talk
from spech.testing.waiting import first, until

from .. import ports
from . import baresip
from .conftest import RATE, SAID, assert_heard, await_bound

PORT = ports.reserve(24)

pytestmark = pytest.mark.usefixtures("baresip_installed")


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
async def test_a_call_from_baresip_has_sound_in_both_directions(
    phone: Phone, tmp_path: Path, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    there: list[NDArray[np.int16]] = []
    dial = "sip:spech@{}:{}".format(*phone.address)

    async def other() -> None:
        there.append(await baresip.run(tmp_path, PORT, 3, dial=dial, codec=codec))

    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            incoming = await first(phone.incoming_calls())
            async with incoming.answer() as call:
                assert call.codec == codec
                with call.open_audio(RATE) as port:
                    await hear_tone(
                        port, baresip.TONE_FREQUENCY, say=SAID, level=baresip.TONE_LEVEL
                    )
                    await talk(port, SAID, 1)
                await call.ended()
    assert call.ended_by == "remote"
    assert_heard(there[0])
    # Its RTCP begins with APP, and ends with a BYE that is not a compound.
    assert call.statistics.dropped_invalid == 0
    assert not [record for record in caplog.records if "dropped" in record.getMessage()]


async def test_a_call_to_baresip_has_sound_in_both_directions(phone: Phone, tmp_path: Path) -> None:
    there: list[NDArray[np.int16]] = []

    async def other() -> None:
        there.append(await baresip.run(tmp_path, PORT, 4))

    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            await await_bound(PORT)
            async with phone.call(f"sip:baresip@127.0.0.1:{PORT}") as call:
                await call.answered(timeout=5)
                with call.open_audio(RATE) as port:
                    await hear_tone(port, baresip.TONE_FREQUENCY, say=SAID)
                    await talk(port, SAID, 1)
    assert_heard(there[0])


async def test_it_registers_at_an_exchange_that_offers_md5_alone(tmp_path: Path) -> None:
    async with (
        open_exchange(("127.0.0.1", 0), {"alice": "wonderland"}, md5_only=True) as exchange,
        trio.open_nursery() as nursery,
    ):
        account = f"sip:alice@127.0.0.1:{exchange.address[1]}"
        nursery.start_soon(baresip.register, tmp_path, account, "wonderland")
        registrar = exchange.registrar
        await until(lambda: bool(registrar.contacts("alice", trio.current_time())), within=10)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("ours", "theirs"), [(40, 60), (10, 20)])
async def test_each_side_sends_packets_of_the_length_that_the_other_requests(
    phone: Phone, tmp_path: Path, ours: int, theirs: int
) -> None:
    there: list[NDArray[np.int16]] = []

    dial = "sip:spech@{}:{}".format(*phone.address)

    async def other() -> None:
        there.append(await baresip.run(tmp_path, PORT, 4, dial=dial, ptime=theirs))

    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            incoming = await first(phone.incoming_calls())
            async with incoming.answer([f"PCMU;ptime={ours}"]) as call:
                with call.open_audio(RATE) as port:
                    await hear_tone(port, baresip.TONE_FREQUENCY, say=SAID)
                    await talk(port, SAID, 1.5)
    counted = call.statistics
    # Eight octets in a millisecond of PCMU. Its first packet may be shorter.
    assert counted.sent_octets / counted.sent == 8 * theirs
    assert counted.received_octets / counted.received == pytest.approx(8 * ours, rel=0.02)
    assert_heard(there[0])
