"""Encrypted calls from and to baresip, measured at both ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trio
from numpy.typing import NDArray

from spech import Phone
from spech.sip.description.media_security import Policy
from spech.testing.talk import hear_tone, talk
from spech.testing.waiting import first

from .. import ports
from . import baresip
from .conftest import RATE, SAID, assert_heard, await_bound

PORT = ports.reserve(24)

pytestmark = pytest.mark.usefixtures("baresip_installed")


CASES = [
    ("srtp", "optional", "SDES"),
    ("srtp-mand", "sdes", "SDES"),
    ("dtls_srtp", "dtls", "DTLS"),
    (None, "optional", None),
]


@pytest.mark.parametrize(("theirs", "ours", "outcome"), [*CASES, ("dtls_srtp", "off", "DTLS")])
async def test_an_encrypted_call_from_baresip_has_sound_in_both_directions(
    phone: Phone, tmp_path: Path, theirs: str | None, ours: Policy, outcome: str | None
) -> None:
    there: list[NDArray[np.int16]] = []
    dial = "sip:spech@{}:{}".format(*phone.address)

    async def other() -> None:
        there.append(await baresip.run(tmp_path, PORT, 3, dial=dial, encryption=theirs))

    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            incoming = await first(phone.incoming_calls())
            async with incoming.answer(encryption=ours) as call:
                with call.open_audio(RATE) as port:
                    await hear_tone(port, baresip.TONE_FREQUENCY, say=SAID)
                    await talk(port, SAID, 1)
                assert call.encrypted == outcome
                await call.ended()
    assert_heard(there[0])
    assert call.statistics.lost == 0


@pytest.mark.parametrize(("theirs", "ours", "outcome"), CASES)
async def test_a_call_to_baresip_has_sound_in_both_directions(
    phone: Phone, tmp_path: Path, theirs: str | None, ours: Policy, outcome: str | None
) -> None:
    there: list[NDArray[np.int16]] = []

    async def other() -> None:
        there.append(await baresip.run(tmp_path, PORT, 4, encryption=theirs))

    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            target = f"sip:baresip@127.0.0.1:{PORT}"
            await await_bound(PORT)
            async with phone.call(target, encryption=ours) as call:
                await call.answered(timeout=5)
                with call.open_audio(RATE) as port:
                    await hear_tone(port, baresip.TONE_FREQUENCY, say=SAID)
                    await talk(port, SAID, 1)
                assert call.encrypted == outcome
    assert_heard(there[0])
    assert call.statistics.lost == 0
