"""A call through Asterisk in each codec that it has a format for."""

from __future__ import annotations

import pytest
import trio

from spech import Account, Phone, PortRange, codecs, open_phone
from spech.testing.audio import assert_tone
from spech.testing.speech import SENTENCES, intelligibility, speak
from spech.testing.talk import listen, talk

RATE = 16000

#: Those that Asterisk encodes and decodes by itself, and those that it only carries.
CODED = ["PCMU", "PCMA", "G722", "opus", "GSM", "speex/8000", "speex/16000", "speex/32000"]
LINEAR = ["L16/8000", "L16/16000", "L16/24000", "L16/32000", "L16/44100", "L16/48000"]
CARRIED = ["G729", "iLBC/20", "iLBC/30"]


def need(name: str) -> None:
    info = next(info for info in codecs.describe() if info.name == name)
    if not info.available:
        pytest.skip(f"{info.package} is not installed")


@pytest.mark.parametrize("name", CODED + LINEAR + CARRIED)
async def test_speech_comes_back_and_a_tone_is_heard(
    account: Account, ports: PortRange, name: str
) -> None:
    """The echo sends our own payloads back, the tone was encoded by Asterisk; both at once."""
    need(name)
    said = speak(SENTENCES, RATE)[: 2 * RATE]

    async def echo(phone: Phone) -> None:
        async with phone.call("600", codecs=[name]) as call:
            await call.answered(timeout=5)
            assert call.codec == name
            with call.open_audio(RATE) as port:
                heard = await talk(port, said, 2.8)
            # In 2.8 seconds; Asterisk has iLBC with 30 ms.
            assert call.statistics.received > (80 if name.startswith("iLBC") else 100)
            assert call.statistics.dropped_invalid == 0
        assert intelligibility(said, heard, RATE) > 0.85

    async def tone(phone: Phone) -> None:
        async with phone.call("601", codecs=[name]) as call:
            await call.answered(timeout=5)
            with call.open_audio(RATE) as port:
                heard = await listen(port, 1.2)
        assert_tone(heard[-RATE // 2 :], RATE, 1004, tolerance=2, purity=0.8)

    async with (
        open_phone(account, listen=("127.0.0.1", 0), ports=ports) as phone,
        trio.open_nursery() as nursery,
    ):
        await phone.registered(timeout=5)
        nursery.start_soon(echo, phone)
        if name not in CARRIED:
            nursery.start_soon(tone, phone)
