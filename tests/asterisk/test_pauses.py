"""Silence suppression against a real PBX."""

from __future__ import annotations

import numpy as np
import pytest

from spech import Account, PortRange, open_phone
from spech.testing.speech import SENTENCES, intelligibility, speak
from spech.testing.talk import talk


@pytest.mark.parametrize("codec", ["PCMU", "opus"])
async def test_the_echo_works_with_silence_suppression(
    account: Account, ports: PortRange, codec: str
) -> None:
    """Without Asterisk's consent nothing is suppressed; Opus itself omits pauses.

    Asterisk counts what it missed of ours, and a pause must not look like a loss.
    """
    rate = 8000
    said = speak(SENTENCES.partition(".")[0], rate)
    pause = np.zeros(rate * 2, np.int16)
    async with (
        open_phone(
            account, listen=("127.0.0.1", 0), ports=ports, silence_suppression=True
        ) as phone,
        phone.call("600", codecs=[codec]) as call,
    ):
        await call.answered(timeout=5)
        with call.open_audio(rate) as port:
            await talk(port, said, len(said) / rate)
            before = call.statistics.sent
            await talk(port, pause, 2)
            in_pause = call.statistics.sent - before
            heard = await talk(port, np.append(said, pause[: rate // 2]), len(said) / rate + 0.5)
        assert intelligibility(said, heard, rate) > 0.8
        statistics = call.statistics
        assert statistics.lost == 0
        assert not statistics.remote_lost
    if codec == "opus":
        assert in_pause < 50
