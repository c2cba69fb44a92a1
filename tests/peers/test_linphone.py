"""Calls with linphone, both ways: plain, SDES and DTLS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from numpy.typing import NDArray

from spech import Account, Call, open_phone
from spech.testing.audio import assert_tone, sounding
from spech.testing.plugin import unavailable
from spech.testing.talk import hear_tone, talk
from spech.testing.waiting import until

from .. import ports
from . import linphone
from .conftest import RATE, SAID

PORT = ports.reserve(6)
PATIENCE = 60

ENCRYPTIONS = pytest.mark.parametrize(
    ("theirs", "ours", "found"),
    [("none", "off", None), ("srtp", "sdes", "SDES"), ("dtls", "dtls", "DTLS")],
)


@pytest.fixture(autouse=True)
def installed() -> None:
    if not linphone.available():
        unavailable("peers", "linphone is not installed; `make test-peers` installs it")


def is_up() -> bool:
    tables = (Path("/proc/net/udp"), Path("/proc/net/udp6"))
    return any(f":{PORT:04X} " in table.read_text() for table in tables)


async def hear_each_other(call: Call, found: str | None) -> None:
    with call.open_audio(RATE) as port:
        await hear_tone(port, linphone.TONE_FREQUENCY, say=SAID)
        assert call.encrypted == found
        await talk(port, SAID, 2)


def assert_said(heard: NDArray[np.int16]) -> None:
    """linphone received our tone. It drops and repeats samples to follow its own clock."""
    sound = sounding(heard, RATE)
    assert_tone(
        sound[RATE // 2 : RATE], RATE, 1200, tolerance=2, level=-12, level_tolerance=3, purity=0.8
    )


@ENCRYPTIONS
async def test_outgoing_calls_have_sound_in_both_directions(
    theirs: str, ours: Any, found: str | None, tmp_path: Path
) -> None:
    account = Account("sip:spech@127.0.0.1", register=False, encryption=ours)
    heard: list[NDArray[np.int16]] = []

    async def other() -> None:
        heard.append(await linphone.run(tmp_path, PORT, 12, encryption=theirs))

    with trio.fail_after(PATIENCE):
        async with (
            open_phone(account, listen=("127.0.0.1", 0)) as phone,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(other)
            await until(is_up)
            async with phone.call(f"sip:linphone@127.0.0.1:{PORT}") as call:
                await call.answered(timeout=10)
                await hear_each_other(call, found)
    assert_said(heard[0])


@ENCRYPTIONS
async def test_incoming_calls_have_sound_in_both_directions(
    theirs: str, ours: Any, found: str | None, tmp_path: Path
) -> None:
    account = Account("sip:spech@127.0.0.1", register=False, encryption=ours)
    heard: list[NDArray[np.int16]] = []
    with trio.fail_after(PATIENCE):
        async with (
            open_phone(account, listen=("127.0.0.1", 0)) as phone,
            trio.open_nursery() as nursery,
        ):
            incoming = phone.incoming_calls()
            dial = f"sip:spech@127.0.0.1:{phone.address[1]}"

            async def other() -> None:
                heard.append(await linphone.run(tmp_path, PORT, 12, dial=dial, encryption=theirs))

            nursery.start_soon(other)
            async with (await anext(incoming)).answer() as call:
                await hear_each_other(call, found)
    assert_said(heard[0])
