"""Talking and listening on a call's audio port, for tests."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spech.testing.audio import Pcm, Tone, assert_tone

#: Seconds of sound that a tone is looked for in at a time, and in how many of them.
_WINDOW = 0.5
_WINDOWS = 12


class Port(Protocol):
    """What :meth:`spech.Call.open_audio` gives."""

    @property
    def rate(self) -> int: ...
    @property
    def frame_samples(self) -> int: ...
    def send(self, pcm: bytes) -> None: ...
    async def receive(self) -> bytes: ...


async def talk(port: Port, pcm: Pcm, seconds: float) -> NDArray[np.int16]:
    """Say ``pcm``, over and over, for ``seconds``, and return what was heard meanwhile.

    The port's own pace is kept: a frame is said for each one heard. An empty ``pcm`` says nothing.
    """
    said = bytes(pcm) if isinstance(pcm, (bytes, bytearray)) else pcm.tobytes()
    size = port.frame_samples * 2
    heard = bytearray()
    position = 0
    while len(heard) < int(seconds * port.rate) * 2:
        if said:
            frame = said[position : position + size]
            frame += said[: size - len(frame)]
            position = (position + size) % len(said)
            port.send(frame)
        heard += await port.receive()
    return np.frombuffer(bytes(heard), dtype="<i2")


async def listen(port: Port, seconds: float) -> NDArray[np.int16]:
    """What is heard in ``seconds``, while nothing is said."""
    return await talk(port, b"", seconds)


async def hear_tone(
    port: Port, frequency: float, *, say: Pcm = b"", level: float | None = None
) -> Tone:
    """Assert that a clean tone of ``frequency`` Hz is heard before long, and return it.

    Half a second of it is enough, within six seconds: sound takes its time to get through, and a
    busy machine may lose a frame.

    Args:
        say: what to say meanwhile, over and over.
        level: its level in dBFS; None for any.
    """
    for _ in range(_WINDOWS):
        heard = await talk(port, say, _WINDOW)
        try:
            return assert_tone(heard, port.rate, frequency, tolerance=2, level=level)
        except AssertionError as error:
            failure = error
    raise failure
