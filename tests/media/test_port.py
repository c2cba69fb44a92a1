"""A program's microphone whose clock is not the server's, in virtual time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spech.codecs import Samples
from spech.media.playback import PlayQueue
from spech.media.port import AudioPort, PortBuffers
from spech.testing.audio import sine

RATE = 8000
FRAME = 160
TICK = 0.02
TONE = sine(400, RATE, TICK, level=-12)
STEEPEST = int(np.abs(np.diff(np.concatenate((TONE, TONE)).astype(int))).max())


def opened() -> tuple[AudioPort, PortBuffers]:
    """A port for a program, and what the media clock takes from and gives to it."""
    buffers = PortBuffers(RATE)
    return AudioPort(buffers, PlayQueue(RATE)), buffers


async def speak(
    port: AudioPort, buffers: PortBuffers, ticks: int, drift: float, jitter: float = 0.0
) -> list[Samples | None]:
    """A frame each 20 ms of a clock that runs ``drift`` slow, taken each 20 ms of ours."""
    rng = np.random.default_rng(1)
    said = 0
    late = rng.uniform(0, jitter)
    taken = []
    for tick in range(ticks):
        while said * TICK * (1 + drift) + late <= tick * TICK + 0.005:
            port.send(TONE.tobytes())
            said += 1
            late = rng.uniform(0, jitter)
        taken.append(buffers.take(RATE))
    return taken


@pytest.mark.parametrize("sound", [TONE, TONE.astype(float), "text", [1, 2]])
def test_only_bytes_are_sent(sound: Any) -> None:
    port, buffers = opened()
    with pytest.raises(TypeError, match="takes bytes of 16-bit samples, such as array"):
        port.send(sound)
    assert buffers.microphone == b""


@pytest.mark.parametrize("sound", [5, [1, 2]])
def test_only_pcm_is_played(sound: Any) -> None:
    port, _ = opened()
    with pytest.raises(TypeError, match="bytes or an array of int16, not"):
        port.play(sound)


@pytest.mark.parametrize("drift", [-200e-6, 200e-6])
async def test_clock_drift_causes_neither_gaps_nor_delay(drift: float) -> None:
    port, buffers = opened()
    taken = await speak(port, buffers, 45000, drift, jitter=0.03)
    assert port.dropped == 0
    # At the beginning it was not known that frames are late.
    assert sum(frame is None for frame in taken[1000:]) == 0
    assert sum(frame is None for frame in taken) <= 3
    sound = np.concatenate([frame for frame in taken[1000:] if frame is not None]).astype(int)
    assert np.abs(np.diff(sound)).max() <= 1.3 * STEEPEST
    assert len(buffers.microphone) <= 5 * 2 * FRAME


async def test_a_synchronous_microphone_is_not_stretched() -> None:
    port, buffers = opened()
    sound = (np.random.default_rng(2).standard_normal(500 * FRAME) * 3000).astype(np.int16)
    heard = []
    for at in range(0, len(sound), FRAME):
        port.send(sound[at : at + FRAME].tobytes())
        frame = buffers.take(RATE)
        assert frame is not None
        heard.append(frame)
    assert np.array_equal(np.concatenate(heard), sound)


async def test_pauses_between_words_keep_their_length() -> None:
    port, buffers = opened()
    lengths = []
    for _ in range(30):
        port.send(np.tile(TONE, 9).tobytes())
        length = 0
        while buffers.take(RATE) is not None:
            length += 1
        for _ in range(10):
            assert buffers.take(RATE) is None
        lengths.append(length)
    assert set(lengths) == {9}
